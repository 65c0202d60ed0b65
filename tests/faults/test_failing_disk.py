"""A disk that is full or broken at any one write or sync: nothing is lost, nothing doubled, and it recovers by itself.

A failed sync is fatal to its handle: what was written before it counts as clean for the kernel, and may never
reach the disk. So each run ends with a power cut that takes all such pages.
"""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from outboxes import UNSYNCED, open_outbox, record, take
from power_cut import after_all
from watched_disk import Disk, Failure, in_memory

from edgeagent.errors import StorageFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Draft, Priority

ROUNDS, RECORDS_A_ROUND = 5, 4
ROUND_NS = 100 * NS_PER_S


class Receiver:
    """What an upstream has got, by id."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def deliver(self, outbox: Outbox, count: int) -> None:
        taken = take(outbox, "fleet", count, 100_000)
        self.numbers |= {queued.id: record(queued).body["n"] for queued in taken}
        outbox.settle("fleet", [queued.row for queued in taken], {})


def live_through(disk: Disk) -> tuple[Writer, Receiver]:
    """Make, commit and deliver while the disk fails, until all is durable."""
    writer = Writer(lambda seq: open_outbox(disk.folder, first_seq=seq, large_bytes=650), flush_s=1.0)
    receiver, dice = Receiver(), random.Random(5)
    for round_ in range(ROUNDS):
        start = round_ * RECORDS_A_ROUND
        batch = [
            Draft("event", n, dice.choice(list(Priority)), {"n": n, "pad": bytes(dice.randrange(600))})
            for n in range(start, start + RECORDS_A_ROUND)
        ]
        writer.put(batch, round_ * ROUND_NS)
        writer.flush(round_ * ROUND_NS, UNSYNCED)
        with suppress(StorageFault):
            writer.use(lambda outbox: receiver.deliver(outbox, 3), round_ * ROUND_NS)
    tries = 0
    while not writer.flush((ROUNDS + tries) * ROUND_NS, UNSYNCED):
        tries += 1
        assert tries < 20
    return writer, receiver


def count_calls(folder: Path) -> int:
    disk = Disk(folder)
    with disk.watching():
        live_through(disk)[0].close()
    return disk.calls


@pytest.mark.slow
@pytest.mark.parametrize(("number", "calls"), [(errno.ENOSPC, 1), (errno.EIO, 1), (errno.EIO, 6)])
def test_a_failure_at_any_write_or_sync_loses_and_doubles_nothing(
    number: Literal[28, 5], calls: int, tell: Callable[[str], None]
) -> None:
    with in_memory() as folder:
        places = count_calls(folder / "counted")
        assert places > 50
        for at in range(places):
            disk = Disk(folder / f"at-{at}")
            disk.failure = Failure(at, calls, number)
            with disk.watching():
                writer, receiver = live_through(disk)
                after_all(disk.log).write(folder / "wreck")
                writer.close()
            outbox = open_outbox(folder / "wreck")
            assert outbox.set_aside is None
            receiver.deliver(outbox, 1000)
            outbox.close()
            assert Counter(receiver.numbers.values()) == Counter(range(ROUNDS * RECORDS_A_ROUND)), (
                f"call {at}"
            )
    tell(f"{errno.errorcode[number]} at each of {places} writes and syncs, {calls} in a row")

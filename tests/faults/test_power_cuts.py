"""Power cuts, simulated: nothing durable is lost, nothing settled comes again, and every start succeeds.

`EDGEAGENT_CRASH_STATES` says how many states are looked at (`make test-crashes`: a million).
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from outbox_at_work import counted_bytes, faults_found, work
from outboxes import UNSYNCED, drafts, drain, open_outbox
from power_cut import states
from schema_1 import old_outbox
from watched_disk import Create, Disk, Sync, SyncFolder, Write, in_memory

from edgeagent.outbox.files import NAME

STATES = int(os.environ.get("EDGEAGENT_CRASH_STATES", "10000"))
STATES_A_LOG = 200
STEPS = 15
ROOMY_BYTES, TIGHT_BYTES = 100_000_000, 100_000


class Work(NamedTuple):
    """One workload whose power is cut."""

    seed: int
    states: int
    synchronous: str
    max_bytes: int

    def faults(self) -> list[str]:
        """What is wrong with the outboxes that the cuts leave."""
        dice = random.Random(self.seed)
        with in_memory() as folder:
            disk, wreck = Disk(folder / "disk", synchronous=self.synchronous), folder / "wreck"
            with disk.watching():
                work(disk, dice, STEPS, max_bytes=self.max_bytes)
            faults = []
            for state in states(disk.log, self.states, dice):
                state.write(wreck)
                faults += faults_found(wreck, state.promise, max_bytes=self.max_bytes)
        return faults


def cut_power(count: int, synchronous: str = "FULL") -> list[str]:
    """The faults of that many states, of roomy and of tight outboxes."""
    works = [
        Work(
            seed, min(STATES_A_LOG, count - done), synchronous, TIGHT_BYTES if seed % 3 == 0 else ROOMY_BYTES
        )
        for seed, done in enumerate(range(0, count, STATES_A_LOG))
    ]
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as workers:
        return [fault for faults in workers.map(Work.faults, works) for fault in faults]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_power_cut_loses_or_doubles_anything(tell: Callable[[str], None]) -> None:
    assert cut_power(STATES) == []
    tell(f"{STATES} power cuts: unsynced writes kept, dropped, cut, shuffled, torn")


@pytest.mark.slow
def test_the_same_cuts_lose_durable_records_when_synchronous_is_normal(
    tell: Callable[[str], None],
) -> None:
    """Or the simulator would prove nothing."""
    faults = [fault for fault in cut_power(500, synchronous="NORMAL") if "are lost" in fault]
    assert len(faults) > 10
    tell(f"the same with synchronous = NORMAL: {len(faults)} of 500 cuts lose durable records")


def test_the_work_that_is_cut_sends_refuses_expires_and_keeps_files(tmp_path: Path) -> None:
    """Or the cuts would prove little."""
    counted, files, sent_bytes = Counter[str](), 0, 0
    for seed in range(20):
        disk = Disk(tmp_path / str(seed))
        work(disk, random.Random(seed), STEPS, max_bytes=ROOMY_BYTES)
        outbox = open_outbox(disk.folder)
        counters = outbox.counters()
        counted.update(delivered=counters.delivered, rejected=counters.rejected, evicted=counters.evicted)
        files += len(list(disk.folder.glob("*.record")))
        sent_bytes += counted_bytes(outbox)
        outbox.close()
    assert min(counted.values(), default=0) > 30, counted
    assert files > 12
    assert sent_bytes > 100_000


def test_no_power_cut_while_an_older_outbox_is_upgraded_loses_or_doubles_anything() -> None:
    dice = random.Random(1)
    with in_memory() as folder:
        disk, wreck = Disk(folder / "disk"), folder / "wreck"
        old_outbox(disk.folder)
        file = disk.folder / NAME
        disk.log += [Create(str(file)), Write(str(file), 0, file.read_bytes()), Sync(str(file)), SyncFolder()]
        disk.note(0)
        with disk.watching():
            outbox = open_outbox(disk.folder)
            outbox.append(drafts(4), UNSYNCED)
            disk.note(4)
            outbox.close()
        looked_at = 0
        for state in states(disk.log, 400, dice):
            if state.promise is not None:
                state.write(wreck)
                found = open_outbox(wreck)
                assert found.set_aside is None
                ids = [record.id.rpartition("/")[2] for record in drain(found)]
                found.close()
                assert ids in ([*"123"], [*"1234567"])
                assert len(ids) >= 3 + state.promise
                looked_at += 1
    assert looked_at > 200

"""`kill -9` of a process that runs the real outbox: nothing durable is lost, nothing settled comes again.

Records become too old meanwhile, the newest of some go first, large ones go up in pieces, and bytes are counted.
`EDGEAGENT_KILLS` says how many times (`make test-kills`: a thousand).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from time import process_time
from typing import NamedTuple

import pytest
from outbox_loop import too_old
from outboxes import open_outbox, take

from edgeagent.outbox.outbox import Outbox

KILLS = int(os.environ.get("EDGEAGENT_KILLS", "12"))
HERE = Path(__file__).parent
MOST_COMMITS, LONGEST_S = 80, 0.01
STARTS_WITHIN_S = 5.0


class Said(NamedTuple):
    """What the process could still say."""

    durable: set[str]
    sent: dict[str, int]
    """And of how many records that became too old each tells."""
    settled: set[str]
    least_bytes: int
    most_bytes: int


def killed(folder: Path, run: str, commits: int, after_s: float) -> Said:
    """Run the loop, and kill it some time after so many commits: never sooner, however slow the machine is."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "outbox_loop.py"), str(folder), run],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout
    lines = []
    while commits:
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended by itself"
        commits -= lines[-1].startswith("A ")
    killer = Timer(after_s, process.kill)
    killer.start()
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    killer.join()
    assert process.returncode == -9
    return understood([line for line in lines if line.endswith("\n")], run)


def understood(lines: list[str], run: str) -> Said:
    newest = least_bytes = most_bytes = 0
    sent, settled = dict[str, int](), set[str]()
    for line in lines:
        match line.split():
            case "A", value:
                newest = int(value)
            case "B", value:
                most_bytes = int(value)
            case "D", one, told:
                sent[one] = int(told)
            case "S", value:
                settled |= sent.keys()
                least_bytes = int(value)
    durable = {f"press-07/{run}/{n}" for n in range(1, newest + 1)}
    return Said(durable, sent, settled, least_bytes, most_bytes)


def deliver_all(outbox: Outbox) -> list[tuple[str, int]]:
    """The ids of all that waits, and of how many that became too old each tells; each is a whole record."""
    received = []
    while taken := take(outbox, "fleet", 1000, 10**7):
        received += [(queued.id, too_old(queued)) for queued in taken]
        outbox.settle("fleet", [queued.row for queued in taken], {})
    return received


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_lose_and_double_nothing_and_the_counters_agree(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    dice = random.Random(7)
    records = expired = sent_bytes = 0
    slowest_s = 0.0
    for kill in range(KILLS):
        said = killed(tmp_path, f"{kill:012x}", dice.randrange(1, MOST_COMMITS), dice.uniform(0, LONGEST_S))
        began_s = process_time()
        outbox = open_outbox(tmp_path, run="f" * 12)
        slowest_s = max(slowest_s, process_time() - began_s)
        assert outbox.set_aside is None
        waited = outbox.counters().waiting
        arrived = deliver_all(outbox)
        counters, counted_bytes = outbox.counters(), sum(outbox.sent_bytes("fleet").values())
        outbox.close()
        received = dict(arrived)
        assert waited == len(arrived) == len(received)
        assert not said.settled & received.keys()
        told = said.sent | received
        expired += sum(told.values())
        assert counters.evicted == expired, "what is not delivered stands in a gap record that is"
        assert len(said.durable - told.keys()) <= sum(told.values())
        assert counters.waiting == 0
        assert counters.made == counters.delivered + counters.evicted >= records + len(said.durable)
        assert max(said.least_bytes, sent_bytes) <= counted_bytes <= max(said.most_bytes, sent_bytes)
        assert list(tmp_path.glob("*.record")) == []
        records += len(said.durable)
        sent_bytes = counted_bytes
    assert records > 30 * KILLS
    assert expired
    assert slowest_s < STARTS_WITHIN_S
    tell(
        f"{KILLS} times kill -9 of the outbox's process: {records} durable records, of which {expired} became too"
        f" old and are told of, all others delivered once; {sent_bytes / 1e6:.0f} MB counted as sent;"
        f" slowest start {slowest_s:.2f} s"
    )

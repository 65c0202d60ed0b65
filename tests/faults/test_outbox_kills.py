"""`kill -9` of a process that runs the real outbox: nothing durable is lost, nothing settled comes again.

`EDGEAGENT_KILLS` says how many times (`make test-kills`: a thousand).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from threading import Timer
from typing import NamedTuple

import pytest
from outboxes import open_outbox, record

from edgeagent.outbox.outbox import Outbox

KILLS = int(os.environ.get("EDGEAGENT_KILLS", "12"))
HERE = Path(__file__).parent
LONGEST_S = 0.3


class Said(NamedTuple):
    """What the process could still say."""

    durable: set[str]
    sent: set[str]
    settled: set[str]


def killed(folder: Path, run: str, after_s: float) -> Said:
    """Run the loop, and kill it some time after its first commit."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "outbox_loop.py"), str(folder), run],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout
    lines = [process.stdout.readline()]
    killer = Timer(after_s, process.kill)
    killer.start()
    lines += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    killer.join()
    assert process.returncode == -9
    return understood([line for line in lines if line.endswith("\n")], run)


def understood(lines: list[str], run: str) -> Said:
    newest, sent, settled = 0, set[str](), set[str]()
    for line in lines:
        match line.split():
            case "A", value:
                newest = int(value)
            case "D", value:
                sent.add(value)
            case _:
                settled |= sent
    return Said({f"press-07/{run}/{n}" for n in range(1, newest + 1)}, sent, settled)


def deliver_all(outbox: Outbox) -> list[str]:
    """The ids of all that waits; each is a whole record."""
    ids = []
    while taken := outbox.take("fleet", 1000, 10**7):
        ids += [record(queued).id for queued in taken]
        outbox.settle("fleet", [queued.row for queued in taken], {})
    return ids


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_lose_and_double_nothing_and_the_counters_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dice = random.Random(7)
    records = 0
    for kill in range(KILLS):
        said = killed(tmp_path, f"{kill:012x}", dice.uniform(0.0, LONGEST_S))
        outbox = open_outbox(tmp_path, run="f" * 12)
        assert outbox.set_aside is None
        waited = outbox.counters().waiting
        received = deliver_all(outbox)
        counters = outbox.counters()
        outbox.close()
        assert waited == len(received) == len(set(received))
        assert said.durable <= said.sent | set(received)
        assert not said.settled & set(received)
        assert counters.waiting == 0
        assert counters.made == counters.delivered >= records + len(said.durable)
        assert list(tmp_path.glob("*.record")) == []
        records += len(said.durable)
    assert records > 30 * KILLS
    with capsys.disabled():
        print(
            f"\n{KILLS} times kill -9 of the outbox's process: {records} durable records, all delivered once"
        )

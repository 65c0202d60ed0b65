from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest
from outboxes import open_outbox

LOOP = Path(__file__).parent / "outbox_loop.py"
KILLS = 12


def killed(folder: Path, run: str, after_s: float) -> list[str]:
    """Run the loop, kill it some time after its first commit, and give back what it said."""
    process = subprocess.Popen(
        [sys.executable, str(LOOP), str(folder), run], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    said = [process.stdout.readline()]
    killer = Timer(after_s, process.kill)
    killer.start()
    said += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    killer.join()
    assert process.returncode == -9
    return [line for line in said if line.endswith("\n")]


@pytest.mark.slow
def test_a_dozen_kills_lose_nothing_durable_and_the_counters_agree_with_the_rows(tmp_path: Path) -> None:
    dice = random.Random(7)
    durable: set[str] = set()
    delivered: set[str] = set()
    for kill in range(KILLS):
        run = f"{kill:012x}"
        said = [line.split() for line in killed(tmp_path, run, dice.uniform(0.01, 0.3))]
        newest = max(int(value) for what, value in said if what == "A")
        durable |= {f"press-07/{run}/{n}" for n in range(1, newest + 1)}
        delivered |= {value for what, value in said if what == "D"}

        outbox = open_outbox(tmp_path, run="f" * 12)
        waiting = [q.id for q in outbox.take("fleet", 10**6, 10**9)]
        counters = outbox.counters()
        outbox.close()
        assert outbox.set_aside is None
        assert len(set(waiting)) == len(waiting) == counters.waiting
        assert counters.made == counters.delivered + counters.waiting
        assert counters.made >= len(durable)
        assert durable <= delivered | set(waiting)
    assert len(durable) > 100 * KILLS

"""How long an agent is without predictions when its worker crashes or hangs; and what a hot swap costs.

Ten windows a second. What is measured is seen from outside, over the control socket, every few milliseconds.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench.agent import PATIENCE_S, Running, running, scratch, write_config
from bench.figure import Figure
from edgeagent.agent.control import ask
from edgeagent.inference.bundle import own_bundles
from edgeagent.outbox.parcels import find_records
from edgeagent.records import Record

HOP_S = 0.1
ROUNDS = 3
BEFORE = 90  # windows without a swap, about as many as with
DEADLINE_S = 2.0  # inference.deadline, as it is if nobody sets it
MAX_CRASH_S, MAX_HANG_S = 1.0, DEADLINE_S + 1.0


def measure() -> Iterator[Figure]:
    for what, number, floor_s in (
        ("crashed", signal.SIGSEGV, MAX_CRASH_S),
        ("hung", signal.SIGSTOP, MAX_HANG_S),
    ):
        took_s = [_recovery_s(number) for _ in range(ROUNDS)]
        yield Figure(
            f"from a {what} worker to the next prediction",
            f"{max(took_s):.2f} s",
            floor=f"<= {floor_s:g} s",
            met=max(took_s) <= floor_s,
        )
        yield Figure(f"  median of {ROUNDS}", f"{median(took_s):.2f} s")
    yield from _swaps()


def _recovery_s(number: int) -> float:
    with scratch() as folder, running(write_config(folder, hop=f"{HOP_S} s")) as agent:
        agent.wait_for_model()
        _until_predicted(agent, 5)
        worker = agent.status()["models"]["activity"]["pid"]
        began = time.monotonic()
        os.kill(worker, number)
        while time.monotonic() - began < PATIENCE_S:
            model, motion = (agent.status()[part] for part in ("models", "pipelines"))
            if model["activity"]["restarts"] and motion["motion"]["skipped"] is None:
                return time.monotonic() - began
            time.sleep(0.005)
    raise TimeoutError(f"no prediction within {PATIENCE_S:g} s")


def _swaps() -> Iterator[Figure]:
    with scratch() as folder:
        other = _other_version(folder)
        with running(write_config(folder, hop=f"{HOP_S} s")) as agent:
            agent.wait_for_model()
            _until_predicted(agent, BEFORE)
            before, began_ns, took_s = agent.status()["counts"], time.monotonic_ns(), []
            for _ in range(ROUNDS):
                for command, arguments in (("swap", {"bundle": str(other)}), ("rollback", {})):
                    start = time.monotonic()
                    ask(agent.run_folder, command, PATIENCE_S, model="activity", **arguments)
                    took_s.append(time.monotonic() - start)
                    _until_predicted(agent, 5)
            after = agent.status()["counts"]
        bodies = _predictions(folder)
    swaps, made = 2 * ROUNDS, after["windows"]["motion"] - before["windows"]["motion"]
    lost = after["windows_unpredicted"].get("motion", 0) - before["windows_unpredicted"].get("motion", 0)
    yield Figure(f"windows lost in {swaps} hot swaps", f"{lost}", f"{made}", "", "0", lost == 0)
    late_ms = [body["latency_ns"] / 1e6 for body in bodies if body["t_end_ns"] >= began_ns]
    usual_ms = [body["latency_ns"] / 1e6 for body in bodies if body["t_end_ns"] < began_ns]
    yield Figure(
        "  longest from a read to its prediction; without",
        f"{max(late_ms):.1f} ms",
        f"{max(usual_ms):.1f} ms",
        f"{max(late_ms) / max(usual_ms):.1f}",
        f"<= raw + {HOP_S * 1000:g} ms",
        max(late_ms) - max(usual_ms) <= HOP_S * 1000,
    )
    yield Figure("  median", f"{median(late_ms):.1f} ms", f"{median(usual_ms):.1f} ms")
    yield Figure("  from the command to its answer, longest", f"{max(took_s):.2f} s")


def _until_predicted(agent: Running, count: int) -> None:
    """Return when so many more windows have been predicted."""

    def predicted() -> int:
        motion = agent.status()["pipelines"]["motion"]
        return int(motion["windows"] - motion["unpredicted"])

    wanted, deadline = predicted() + count, time.monotonic() + PATIENCE_S
    while predicted() < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {count} predictions within {PATIENCE_S:g} s")
        time.sleep(0.01)


def _other_version(folder: Path) -> Path:
    other = folder / "activity-9.9"
    shutil.copytree(own_bundles() / "activity", other, ignore=shutil.ignore_patterns("recording", "*.py"))
    text = (other / "bundle.yaml").read_text()
    (other / "bundle.yaml").write_text(re.sub(r"^version: .*$", 'version: "9.9"', text, flags=re.MULTILINE))
    return other


def _predictions(folder: Path) -> list[dict[str, Any]]:
    """The bodies of the prediction records that wait in the outbox of an agent that has ended."""
    with closing(sqlite3.connect(folder / "state" / "outbox" / "outbox.db")) as db:
        parcels = db.execute("SELECT payload FROM record WHERE kind = 'prediction'").fetchall()
    payloads = [payload for (parcel,) in parcels for payload in find_records(parcel)]
    return [msgspec.msgpack.decode(payload, type=Record).body for payload in payloads]

"""`edgeagent demo` as one runs it: all of it, in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent.state import read_status
from edgeagent.demo.summary import Summary

pytestmark = pytest.mark.slow

SPEED = "4"  # not the usual 10: a busy machine may hold the model up for longer than a window waits then
_PATIENCE_S = 90.0


def demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    """At 4 times the real speed, forty seconds of the demo's time."""
    command = [
        "demo",
        "--fast",
        "--json",
        "--seconds",
        "40",
        "--speed",
        SPEED,
        "--data",
        str(folder),
        *options,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "edgeagent", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def summary_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The last line, when it has ended well."""
    out, err = process.communicate(timeout=_PATIENCE_S)
    assert process.returncode == 0, err + out
    summary: dict[str, Any] = json.loads(out.splitlines()[-1])
    return summary


def record_ids(dataset: Path) -> list[str]:
    lines = [line for file in (dataset / "records").glob("*.jsonl") for line in file.read_text().splitlines()]
    return [json.loads(line)["id"] for line in lines]


def test_the_demo_ends_with_every_key_of_the_summary_and_exact_counts(tmp_path: Path) -> None:
    summary = summary_of(demo(tmp_path))
    assert tuple(summary) == Summary.__struct_fields__
    assert 0.5 < summary["accuracy"] <= 1.0, "the recording's first 40 s are right to two thirds"
    assert 35 <= summary["windows"] <= 40
    assert summary["windows_unpredicted"] == 0
    assert 0.9 * 40 * (50 + 20) < summary["samples"] < 1.05 * 40 * (50 + 20)
    assert summary["samples_missing"] == 0
    assert summary["rules_fired"] >= 2
    assert summary["relay_switched"] >= 2
    ids = record_ids(tmp_path / "dataset")
    assert len(ids) == len(set(ids))
    assert len(ids) == summary["records_made"] == summary["records_acknowledged"]
    assert summary["records_in_dataset"] == len(ids) > summary["windows"]
    assert summary["bytes_sent"] > 10_000
    assert 7.0 < summary["outage_s"] < 12.0, "a fifth of the time"
    assert 0.0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"] < 2000.0
    assert summary["dataset"] == str(tmp_path / "dataset")


def test_an_agent_killed_in_mid_demo_ends_with_records_made_delivered_and_held_the_same(
    tmp_path: Path,
) -> None:
    process = demo(tmp_path)
    status = _status_after_records(tmp_path / "state" / "run", 15)
    os.kill(status["pid"], signal.SIGKILL)
    summary = summary_of(process)
    assert summary["records_made"] == summary["records_acknowledged"] == summary["records_in_dataset"]
    assert summary["records_made"] > status["outbox"]["made"]
    runs = {record_id.split("/")[1] for record_id in record_ids(tmp_path / "dataset")}
    assert len(runs) == 2
    assert status["run"] in runs


def _status_after_records(folder: Path, made: int) -> dict[str, Any]:
    deadline_s = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline_s:
        status = read_status(folder)
        if status is not None and status["outbox"].get("made", 0) >= made:
            return status
        time.sleep(0.1)
    raise AssertionError(f"the agent did not make {made} records in {_PATIENCE_S:g} s")

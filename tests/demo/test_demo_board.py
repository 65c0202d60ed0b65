"""The demo's board is C where there is a compiler, else Python, and nobody can tell by what it measures."""

from __future__ import annotations

import os
import select
import time
import tty
from pathlib import Path

import numpy as np
import pytest

from edgeagent.agent.clock import ScaledClock
from edgeagent.demo.board import RATE_HZ, board_at
from firmware_bridge.link import Burst, Link

SPEED = 20.0
SAMPLES = 25 * RATE_HZ  # of which 7.5 s are a swell
PATIENCE_S = 90.0


def samples_of(folder: Path) -> tuple[str, dict[int, tuple[int, ...]]]:
    """The firmware's name, and its samples by their number: (t_us, temperature, current)."""
    folder.mkdir()
    port, clock = folder / "board", ScaledClock(SPEED, time.monotonic_ns())
    link, rows = Link(), dict[int, tuple[int, ...]]()
    with (folder / "log").open("wb") as log, board_at(port, clock, log):
        fd = os.open(port, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        end_s = time.monotonic() + PATIENCE_S
        while len(rows) < SAMPLES:
            assert time.monotonic() < end_s
            os.write(fd, link.poll(clock.now_ns()))
            if select.select([fd], [], [], 0.005)[0]:
                for event in link.receive(os.read(fd, 65536), clock.now_ns()):
                    if isinstance(event, Burst):
                        keep(event, rows)
        os.close(fd)
    assert not port.exists()
    assert link.hello is not None
    assert [(c.name, c.unit, c.scale, c.rate_hz) for c in link.hello.channels] == [
        ("temperature", "Cel", 0.01, 20.0),
        ("current", "A", 0.01, 20.0),
    ]
    return link.hello.firmware, rows


def keep(burst: Burst, rows: dict[int, tuple[int, ...]]) -> None:
    first = burst.samples
    counts = np.frombuffer(first.data, "<i2").reshape(first.count, 2)
    for k, (temperature, current) in enumerate(counts):
        t_us = first.t_us + k * 1_000_000 // RATE_HZ
        rows[first.seq + k] = t_us, int(temperature), int(current)


def test_the_c_firmware_and_the_python_one_measure_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c_name, c_rows = samples_of(tmp_path / "c")
    monkeypatch.setenv("PATH", str(tmp_path))
    python_name, python_rows = samples_of(tmp_path / "python")
    assert (c_name, python_name) == ("host-motor", "virtual-motor")
    both = sorted(c_rows.keys() & python_rows.keys())
    assert len(both) > SAMPLES * 0.9
    # One count of rounding: round() goes to even, lround() away from zero.
    assert np.abs(np.array([np.subtract(c_rows[k], python_rows[k]) for k in both])).max() <= 1

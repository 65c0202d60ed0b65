"""Frames of firmware_bridge at the pace of 921600 baud, from descriptor to block, against the bare poll and read."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from statistics import median

from bench.figure import Figure
from bench.serial_lines import MOST_OF_A_CORE, RATE_B_S, ROUND_S, ROUNDS, bare_share
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.bridge import Options, build

SETTLE_S = 0.6  # at first the link asks for the board's time eight times
PATIENCE_S = 1.0


def measure() -> Iterator[Figure]:
    bare, rounds = zip(*[(bare_share(), _round()) for _ in range(ROUNDS)], strict=True)  # in turns
    raw, share = median(bare), median(share for share, _, _ in rounds)
    lost = sum(sent - got for _, sent, got in rounds)
    yield Figure(
        "bridge frames of 64 x 6 int16 at 92 kB/s, of a core",
        f"{share:.1%}",
        f"{raw:.1%}",
        f"{share / raw:.1f}",
        f"<= {MOST_OF_A_CORE:.0%}",
        share <= MOST_OF_A_CORE,
    )
    quiet = min(s for s, _, _ in rounds)
    yield Figure(
        f"  the quietest of {ROUNDS} rounds", f"{quiet:.1%}", f"{min(bare):.1%}", f"{quiet / min(bare):.1f}"
    )
    yield Figure("  samples lost", str(lost), floor="0", met=lost == 0)


def _round() -> tuple[float, int, int]:
    """Processor time of the reading thread as a share of one core; samples sent and read."""
    board_fd, host_fd = pty.openpty()
    tty.setraw(host_fd)
    command = [
        sys.executable,
        "-m",
        "bench.fast_board",
        str(board_fd),
        str(RATE_B_S),
        str(SETTLE_S + ROUND_S),
    ]
    with subprocess.Popen(command, pass_fds=[board_fd], stdout=subprocess.PIPE, text=True) as board:
        assert board.stdout is not None
        board.stdout.readline()  # it is ready
        clock = RealClock()
        sensor = build("motor", Options(port=os.ttyname(host_fd), baud=921600), Context(clock, Buses(clock)))
        sensor.open()
        got = _read(sensor, clock, time.monotonic() + SETTLE_S)
        start_s, start_cpu_s = time.monotonic(), time.thread_time()
        got += _read(sensor, clock, start_s + ROUND_S)
        share = (time.thread_time() - start_cpu_s) / (time.monotonic() - start_s)
        got += _read(sensor, clock, time.monotonic() + PATIENCE_S)
        sensor.close()
        sent = int(board.communicate(timeout=20)[0])
    os.close(board_fd)
    os.close(host_fd)
    return share, sent, got


def _read(sensor: Sensor, clock: RealClock, until_s: float) -> int:
    rows = 0
    while time.monotonic() < until_s:
        clock.sleep_s((sensor.due_ns() - clock.now_ns()) / NS_PER_S)
        block = sensor.read()
        rows += len(block.values) if block is not None else 0
    return rows

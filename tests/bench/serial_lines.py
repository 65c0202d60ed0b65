"""Text lines at the pace of 921600 baud, from the descriptor to the parsed block, against the bare poll and read."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

from bench.figure import Figure
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context
from edgeagent.sensors.lines import Column
from edgeagent.sensors.serial_text import Options, build

LINE = b",".join([b"-1.2345"] * 7) + b"\n"
RATE_B_S = 92_000
COALESCE_S = 0.010
ROUNDS, ROUND_S = 5, 1.5
MOST_OF_A_CORE = 0.03

# A child, so that the device costs the reader neither its interpreter nor its processor time.
DEVICE = f"""
import os, sys, time
fd, line, sent, start = int(sys.argv[1]), {LINE!r}, 0, time.monotonic()
while sent < {ROUND_S * RATE_B_S:.0f}:
    time.sleep(0.001)
    due = int((time.monotonic() - start) * {RATE_B_S}) - sent
    sent += os.write(fd, (line * 99)[sent % len(line):][:due])
os.write(fd, b"\\n")
print(-(-sent // len(line)))
"""


class Round(NamedTuple):
    """Processor time of the reading thread as a share of one core, and lines printed and read."""

    share: float
    printed: int
    read: int


def measure() -> Iterator[Figure]:
    rounds = [(_round(_bare), _round(_parsed)) for _ in range(ROUNDS)]  # in turns: a busy machine slows both
    raw, share = (median(r[side].share for r in rounds) for side in (0, 1))
    lost = sum(parsed.printed - parsed.read for _, parsed in rounds)
    yield Figure(
        "56-byte lines at 92 kB/s, of a core",
        f"{share:.1%}",
        f"{raw:.1%}",
        f"{share / raw:.1f}",
        f"<= {MOST_OF_A_CORE:.0%}",
        share <= MOST_OF_A_CORE,
    )
    quiet_raw, quiet = (min(r[side].share for r in rounds) for side in (0, 1))
    yield Figure(
        f"  the quietest of {ROUNDS} rounds", f"{quiet:.1%}", f"{quiet_raw:.1%}", f"{quiet / quiet_raw:.1f}"
    )
    yield Figure("  lines lost", str(lost), floor="0", met=lost == 0)


def bare_share() -> float:
    """What the bare poll and read cost at this pace, of a core."""
    return _round(_bare).share


def _round(read: Callable[[str, float], int]) -> Round:
    device_fd, host_fd = pty.openpty()
    tty.setraw(host_fd)
    command = [sys.executable, "-c", DEVICE, str(device_fd)]
    with subprocess.Popen(command, pass_fds=[device_fd], stdout=subprocess.PIPE, text=True) as device:
        start_s, start_cpu_s = time.monotonic(), time.thread_time()
        lines = read(os.ttyname(host_fd), start_s + ROUND_S + 0.5)
        share = (time.thread_time() - start_cpu_s) / (time.monotonic() - start_s)
        printed = int(device.communicate()[0])
    os.close(device_fd)
    os.close(host_fd)
    return Round(share, printed, lines)


def _bare(path: str, until_s: float) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    poll, lines = select.poll(), 0
    poll.register(fd, select.POLLIN)
    while time.monotonic() < until_s:
        if poll.poll(50):
            lines += os.read(fd, 4096).count(b"\n")
            time.sleep(COALESCE_S)
    os.close(fd)
    return lines


def _parsed(path: str, until_s: float) -> int:
    clock = RealClock()
    columns = [Column(name=name, unit="A", scale=0.01) for name in "abcdefg"]
    options = Options(port=path, channels=columns, baud=921600, rate=RATE_B_S / len(LINE), latency=COALESCE_S)
    sensor = build("press", options, Context(clock, Buses(clock)))
    sensor.open()
    rows = 1  # what comes first may be half a line, and is left out
    while time.monotonic() < until_s:
        clock.sleep_s((sensor.due_ns() - clock.now_ns()) / NS_PER_S)
        block = sensor.read()
        rows += len(block.values) if block is not None else 0
    sensor.close()
    return rows

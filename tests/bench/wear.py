"""Bytes written to the disk for a byte of payload, with rolling delivery: records, and samples as rows and as files.

By the kernel's count of what this process has dirtied (/proc/self/io); the file system's own journal is not in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.agent import scratch
from bench.figure import Figure
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall

SECONDS = 60
WALL = Wall(0, synced=True)


class Load(NamedTuple):
    """What is made: so many records a commit, of so many bytes; `floor` bytes written for a byte at most."""

    name: str
    bytes: int
    a_commit: int
    commits: int
    large_bytes: int = 16_000
    floor: float | None = None


LOADS = (
    Load("100 B at 100/s, flush: 200 ms", 100, 20, 5 * SECONDS, floor=14),
    Load("100 B at 100/s, flush: 1 s (the default)", 100, 100, SECONDS, floor=5.5),
    Load("100 B at 100/s, flush: 5 s", 100, 500, SECONDS // 5, floor=3.5),
    Load("20 kB samples as files, 5 a commit", 20_000, 5, SECONDS, floor=1.6),
    Load("  as rows", 20_000, 5, SECONDS, large_bytes=10**9),
    Load("  as files, 1 a commit", 20_000, 1, SECONDS),
    Load("  as rows, 1 a commit", 20_000, 1, SECONDS, large_bytes=10**9),
)


def measure() -> Iterator[Figure]:
    for load in LOADS:
        with scratch() as folder:
            ratio = written_a_byte(folder, load)
        yield Figure(
            load.name,
            f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}",
            floor=f"<= {load.floor:g}" if load.floor else "",
            met=ratio <= load.floor if load.floor else None,
        )


def written_a_byte(folder: Path, load: Load) -> float:
    dice = random.Random(1)
    outbox = Outbox(
        folder,
        "bench",
        "0" * 12,
        "boot",
        {"fleet": []},
        max_bytes=10**11,
        large_bytes=load.large_bytes,
    )
    payload_bytes, before = 0, _written_bytes()
    for _ in range(load.commits):
        batch = [
            Draft("sample", 0, Priority.BULK, {"data": dice.randbytes(load.bytes)})
            for _ in range(load.a_commit)
        ]
        outbox.append(batch, WALL)
        taken = outbox.take("fleet", 500, 10**7)
        outbox.settle("fleet", taken, {})
        payload_bytes += sum(map(len, taken.values()))
    outbox.close()
    return (_written_bytes() - before) / payload_bytes


def _written_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes")).split()[1])

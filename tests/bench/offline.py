"""72 hours without a network at 10 records/s, in virtual time, then drained, in a process that may have 128 MB.

Once with room for all and once without. Minutes long: `make bench-offline`.
The drain is held against the time in which the records were made.
"""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import msgspec

from bench.figure import Figure
from bench.outbox import MEMORY
from bench.pss import alone_mb

sys.path.append(str(Path(__file__).parents[1] / "outbox"))

HOURS = int(os.environ.get("EDGEAGENT_OFFLINE_HOURS", "72"))
A_SECOND = 10
LIMIT_BYTES = 128_000_000
ROOMY_BYTES, TIGHT_BYTES = 10**10, 100_000_000
MIN_TIMES, MAX_GROWTH = 500, 0.05


class Lived(msgspec.Struct):
    """What the process says at its end."""

    made: int
    arrived: int
    missing: int
    doubled: int
    make_s: float
    drain_s: float
    least_mb: float
    most_mb: float


def measure() -> Iterator[Figure]:
    for name, max_bytes in (("room for all", ROOMY_BYTES), ("100 MB of room", TIGHT_BYTES)):
        lived = _in_a_process(max_bytes)
        times = HOURS * 3600 / lived.drain_s
        whole = lived.made == lived.arrived + lived.missing and not lived.doubled
        growth = (lived.most_mb - lived.least_mb) / (lived.most_mb + lived.least_mb)
        yield Figure(
            f"{HOURS} h offline, {name}: made, arrived",
            f"{lived.made:,}",
            f"{lived.arrived:,}",
            "",
            "rest in gaps",
            whole,
        )
        yield Figure(
            "  drained: times real time", f"{times:,.0f}", floor=f">= {MIN_TIMES}", met=times >= MIN_TIMES
        )
        yield Figure(
            "  drained, made a second",
            f"{lived.arrived / lived.drain_s:,.0f}/s",
            f"{lived.made / lived.make_s:,.0f}/s",
        )
        yield Figure(
            "  memory, from the least to the most",
            f"{lived.least_mb:.1f} MB",
            f"{lived.most_mb:.1f} MB",
            f"±{growth:.1%}",
            f"±{MAX_GROWTH:.0%}",
            growth <= MAX_GROWTH,
        )


def _in_a_process(max_bytes: int) -> Lived:
    with TemporaryDirectory(dir=MEMORY if MEMORY.exists() else None) as folder:
        command = [sys.executable, "-m", "bench.offline", folder, str(max_bytes)]
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
    return msgspec.json.decode(said, type=Lived)


def live(folder: Path, max_bytes: int) -> Lived:
    """In the process whose memory is limited."""
    from outage import HOUR_S, Outage, Receiver

    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    outage = Outage(folder, max_bytes)
    receiver = Receiver(HOURS * HOUR_S * A_SECOND + 10_000)
    memory_mb: list[float] = []
    start_s = perf_counter()
    for hour, _ in enumerate(outage.last(HOURS * HOUR_S, 1, A_SECOND)):
        if hour:  # the first fills SQLite's cache
            memory_mb.append(_memory_mb())
    made_s = perf_counter()
    for batch, _ in enumerate(outage.drain(receiver)):
        if batch % 100 == 99:
            memory_mb.append(_memory_mb())
    drained_s = perf_counter()
    counters = outage.counters()
    outage.close()
    return Lived(
        counters.made,
        counters.delivered,
        receiver.missing.total(),
        receiver.doubled,
        made_s - start_s,
        drained_s - made_s,
        min(memory_mb),
        max(memory_mb),
    )


def _memory_mb() -> float:
    gc.collect()
    return alone_mb([os.getpid()])


if __name__ == "__main__":
    print(msgspec.json.encode(live(Path(sys.argv[1]), int(sys.argv[2]))).decode())

"""From the fsynced outbox by HTTP into the collector, another process here; raw is the same bodies, ready."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import urllib3

from bench.figure import Figure
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import http
from edgeagent.upstream.codec import encode_batch
from edgeagent.upstream.sync import LIMITS, sync_once

RECORDS, COMMIT = 40_000, 1000
FLOOR = 20_000
WALL = Wall(0, synced=True)
BODY = {"label": "running", "scores": [0.1, 0.8, 0.1], "latency_ms": 4.5}


def measure() -> Iterator[Figure]:
    with TemporaryDirectory() as name, collector(Path(name) / "dataset") as url:
        drain_s, bodies = _drain(Path(name) / "state", url)
        raw_s = _post(url, bodies)
    rate, raw = RECORDS / drain_s, RECORDS / raw_s
    yield Figure(
        "drain by HTTP into the collector",
        f"{rate:,.0f} /s",
        f"{raw:,.0f} /s",
        f"{rate / raw:.2f}",
        f">= {FLOOR:,}",
        rate >= FLOOR,
    )


@contextmanager
def collector(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "edgeagent", "collector", "--data", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield next(word for line in process.stdout for word in line.split() if word.startswith("http:"))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def _drain(folder: Path, url: str) -> tuple[float, list[bytes]]:
    """Seconds to deliver all, and the bodies of as many records under other ids."""
    outbox = _filled(folder, "0" * 12)
    sink = http.build("fleet", http.Options(url=url), "bench")
    start_s = perf_counter()
    while sync_once("fleet", outbox, sink, "boot", WALL).sent:
        pass
    drain_s = perf_counter() - start_s
    assert outbox.counters().delivered == RECORDS
    sink.close()
    outbox.close()
    again = _filled(folder.with_name("again"), "1" * 12)
    bodies = []
    while taken := again.take("fleet", *LIMITS):
        bodies.append(encode_batch(list(taken.values())))
    again.close()
    return drain_s, bodies


def _filled(folder: Path, run: str) -> Outbox:
    outbox = Outbox(folder, "bench", run, "boot", {"fleet": ()}, max_bytes=10**10)
    drafts = [Draft("prediction", 1, Priority.PREDICTION, BODY)] * COMMIT
    for _ in range(RECORDS // COMMIT):
        outbox.append(drafts, WALL)
    return outbox


def _post(url: str, bodies: list[bytes]) -> float:
    """Seconds to hand all over, without an outbox."""
    pool = urllib3.PoolManager(maxsize=1)
    start_s = perf_counter()
    for body in bodies:
        assert pool.request("POST", url + http.PATH, body=body).status == 200
    return perf_counter() - start_s

"""The outbox against raw SQLite, from 10³ to 10⁶ records that wait, and its start with them.

Raw is `executemany` of the same records, ready, a row each, into the same table, WAL and `synchronous=FULL`, in the
same batches: without parcels, ids, times, counters and a look at the room that is left.
"""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from bench.agent import scratch
from bench.figure import Figure
from bench.pss import alone_mb
from edgeagent.outbox.files import NAME
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.parcels import PRIORITY_SHIFT
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall

MEMORY = Path("/dev/shm")  # where rates can be compared: a sync of a shared disk waits for other people's too
BATCH, ROUNDS = 100, 60
SIZES = (1_000, 10_000, 100_000, 1_000_000)
TURNS = 100
MIN_APPEND, MIN_ENCODED = 0.8, 0.5
MAX_START_S = 1.0
FLAT = 0.7  # of the best rate, at any size
WALL = Wall(0, synced=True)


def measure() -> Iterator[Figure]:
    with scratch() as folder:
        yield from _against_raw(folder)
    with TemporaryDirectory(dir=MEMORY if MEMORY.exists() else None) as name:
        yield from _by_size(Path(name))


def opened(folder: Path) -> Outbox:
    return Outbox(folder, "bench", "0" * 12, "boot", {"fleet": []}, max_bytes=10**11)


def drafts(many: int) -> list[Draft]:
    """Records of about 200 bytes, as a pipeline makes them."""
    return [Draft("event", n, Priority.PREDICTION, {"label": "walking", "score": 0.93}) for n in range(many)]


def _against_raw(folder: Path) -> Iterator[Figure]:
    """In turns, batch by batch, so that whatever else this machine does falls on all alike."""
    outbox, ready, raw = opened(folder / "a"), _Ready(folder / "b"), _raw(folder / "raw")
    batch = drafts(BATCH)
    payloads = [outbox._record(draft, n, WALL) for n, draft in enumerate(batch)]
    raw_s, append_s, encoded_s = [], [], []
    for _ in range(ROUNDS):
        raw_s.append(_seconds(lambda: raw(payloads)))
        append_s.append(_seconds(lambda: ready.append(batch, WALL)))
        encoded_s.append(_seconds(lambda: outbox.append(batch, WALL)))
    base = median(raw_s)
    for name, times_s, floor in (
        (f"append, already encoded, {BATCH} a commit", append_s, MIN_APPEND),
        ("  encoding included", encoded_s, MIN_ENCODED),
    ):
        ratio = base / median(times_s)
        yield Figure(
            name,
            f"{BATCH / median(times_s):,.0f}/s",
            f"{BATCH / base:,.0f}/s",
            f"{ratio:.2f}",
            f">= {floor:.0%} of raw",
            ratio >= floor,
        )


class _Ready(Outbox):
    """An outbox whose records are encoded beforehand."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "bench", "1" * 12, "boot", {"fleet": []}, max_bytes=10**11)
        self._payload = super()._record(drafts(1)[0], 1, WALL)

    def _record(self, draft: Draft, seq: int, wall: Wall) -> bytes:
        del draft, seq, wall
        return self._payload


def _raw(folder: Path) -> Callable[[list[bytes]], None]:
    """The outbox's own file, written to behind its back."""
    opened(folder).close()
    db = sqlite3.connect(folder / NAME, isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA synchronous = FULL")
    numbers = count(Priority.PREDICTION << PRIORITY_SHIFT)

    def insert(payloads: list[bytes]) -> None:
        rows = [(next(numbers), "event", 2, payload) for payload in payloads]
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO record VALUES (?, ?, ?, 0, ?, NULL, 1)", rows)
        db.execute("COMMIT")

    return insert


def _by_size(folder: Path) -> Iterator[Figure]:
    """Rates, memory and start-up with ever more records that wait; the rates in turns."""
    opened(folder / "empty").close()
    empty_s = _start_s(folder / "empty")
    memory_mb, start_s = [], []
    for size in SIZES:
        outbox = opened(folder / str(size))
        _fill(outbox, size)
        gc.collect()
        memory_mb.append(alone_mb([os.getpid()]))
        outbox.close()
        start_s.append(_start_s(folder / str(size)))
    outboxes = [opened(folder / str(size)) for size in SIZES]
    rounds = [[_rates(outbox) for outbox in outboxes] for _ in range(TURNS)]
    rates = [(median(r[at][0] for r in rounds), median(r[at][1] for r in rounds)) for at in range(len(SIZES))]
    for size, (insert, drain), mb, s in zip(SIZES, rates, memory_mb, start_s, strict=True):
        yield Figure(
            f"{size:>9,} waiting: in, out; memory, start",
            f"{insert:,.0f}/s",
            f"{drain:,.0f}/s",
            "",
            f"{mb:.1f} MB, {s:.2f} s",
        )
    for name, each in zip(("insert", "drain"), zip(*rates, strict=True), strict=True):
        least = min(each) / max(each)
        yield Figure(
            f"{name} rate, slowest over quickest", f"{least:.2f}", floor=f">= {FLAT}", met=least >= FLAT
        )
    growth_mb = memory_mb[-1] - memory_mb[0]
    yield Figure("memory from 10³ to 10⁶", f"{growth_mb:+.1f} MB", floor="<= 4 MB", met=growth_mb <= 4)
    yield Figure(
        "start with 10⁶ waiting, raw: empty",
        f"{start_s[-1]:.2f} s",
        f"{empty_s:.2f} s",
        "",
        f"<= {MAX_START_S:g} s more",
        start_s[-1] - empty_s <= MAX_START_S,
    )


def _start_s(folder: Path) -> float:
    return _seconds(lambda: opened(folder).close())


def _fill(outbox: Outbox, size: int) -> None:
    many = drafts(1000)
    while (short := size - outbox.counters().waiting) > 0:
        outbox.append(many[:short], WALL)


def _rates(outbox: Outbox) -> tuple[float, float]:
    """Records a second of one batch in and one out."""
    in_s = _seconds(lambda: outbox.append(drafts(BATCH), WALL))
    return BATCH / in_s, BATCH / _seconds(lambda: _deliver(outbox))


def _deliver(outbox: Outbox) -> None:
    outbox.settle("fleet", outbox.take("fleet", BATCH, 10**7), {})


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start

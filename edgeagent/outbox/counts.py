"""Counters that are committed with what they count, so that no power cut makes them differ."""

from __future__ import annotations

import sqlite3
from collections import Counter

import msgspec

Key = tuple[str, str, str]
"""What is counted, of which upstream, of which kind of record; "" where it is not of one."""


class Counters(msgspec.Struct, frozen=True):
    """The outbox in numbers, since it was begun.

    `made` counts the records made durable, `delivered` those that at least one upstream has acknowledged,
    `rejected` the refusals (quarantined), `evicted` the records given up for want of room, `waiting` the
    records that are still there. With one upstream made = delivered + rejected + evicted + waiting.
    `used_bytes` is the room taken on the disk, `limit_bytes` how much that may become now, and `limited_by` the option
    of the config that says so. `unwanted` counts the records, of this run, that no upstream's
    `kinds` asks for. `by_kind` has the same names a kind; `by_upstream` has delivered, rejected, evicted
    and waiting of each.
    """

    made: int
    delivered: int
    rejected: int
    evicted: int
    waiting: int
    unwanted: int
    used_bytes: int
    limit_bytes: int
    limited_by: str
    by_kind: dict[str, dict[str, int]]
    by_upstream: dict[str, dict[str, int]]


class Counts:
    """All counters in memory, and the changes that the transaction under way has to write."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._now: Counter[Key] = Counter()
        for what, upstream, kind, n in db.execute("SELECT what, upstream, kind, n FROM counter"):
            self._now[what, upstream, kind] = n
        self._change: Counter[Key] = Counter()

    def add(self, what: str, kind: str, upstream: str = "", n: int = 1) -> None:
        self._change[what, upstream, kind] += n

    def get(self, what: str, kind: str = "", upstream: str = "") -> int:
        """A counter as it is committed."""
        return self._now[what, upstream, kind]

    def by_kind(self, what: str, upstream: str) -> dict[str, int]:
        """A counter of an upstream as it is committed, by kind."""
        return {kind: n for (its, name, kind), n in self._now.items() if (its, name) == (what, upstream)}

    def write(self) -> None:
        """Write the changes, inside the transaction."""
        self._db.executemany(
            "REPLACE INTO counter VALUES (?, ?, ?, ?)",
            [(*key, self._now[key] + n) for key, n in self._change.items() if n],
        )

    def committed(self) -> None:
        for key, n in self._change.items():
            self._now[key] += n
        self._change.clear()

    def rolled_back(self) -> None:
        self._change.clear()

    def by(self, whats: tuple[str, ...], *, upstream: bool) -> dict[str, dict[str, int]]:
        """The counters of some names, a kind (or an upstream) each."""
        table: dict[str, dict[str, int]] = {}
        for (what, name, kind), n in sorted(self._now.items()):
            if what in whats and bool(name) == upstream:
                row = table.setdefault(name if upstream else kind, dict.fromkeys(whats, 0))
                row[what] += n
        return table

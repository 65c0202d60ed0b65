"""Which upstreams wait for a record: a mask in its row, a bit an upstream."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from edgeagent.errors import StorageFault
from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.counts import Counts
from edgeagent.records import Kind

Kinds = Mapping[str, Collection[Kind]]
"""The upstreams by name, and the kinds of records that each wants; none means all."""

NONE: Kinds = MappingProxyType({})

UNCLAIMED = 1
"""Bit 0: nobody waits for the record, because there was no upstream, or the one there was is gone."""

MAX_UPSTREAMS = 62


class Routes:
    """The upstreams that there are, and their bits. Its changes are made inside the outbox's transaction."""

    def __init__(self, db: sqlite3.Connection, counts: Counts, blobs: Blobs) -> None:
        self._db, self._counts, self._blobs = db, counts, blobs
        self._bits: dict[str, int] = {
            name: 1 << bit for bit, name in db.execute("SELECT bit, name FROM upstream ORDER BY bit")
        }
        self._kinds: dict[str, frozenset[Kind]] = {name: frozenset() for name in self._bits}

    def __iter__(self) -> Iterator[str]:
        return iter(self._bits)

    def bit(self, name: str) -> int:
        return self._bits[name]

    def mask(self, kind: Kind) -> int:
        """Who waits for a new record of a kind; 0 if there are upstreams and none wants it."""
        if not self._bits:
            return UNCLAIMED
        return sum(bit for name, bit in self._bits.items() if self._wants(name, kind))

    def names(self, mask: int) -> list[str]:
        return [name for name, bit in self._bits.items() if mask & bit]

    def give_up(self, kind: str, mask: int, n: int) -> None:
        """So many records that these wait for are no more: count them, for each."""
        for upstream in ("", *self.names(mask)):
            self._counts.add("evicted", kind, upstream, n)
            self._counts.add("waiting", kind, upstream, -n)

    def filter(self, upstreams: Kinds) -> bool:
        """Take the kinds that each upstream wants, and say whether `change` has something to write."""
        if len(upstreams) > MAX_UPSTREAMS:
            raise StorageFault(f"{len(upstreams)} upstreams", expected=f"{MAX_UPSTREAMS} at most")
        self._kinds = {name: frozenset(kinds) for name, kinds in upstreams.items()}
        return self._bits.keys() != upstreams.keys()

    def change(self) -> None:
        """Drop the upstreams that are gone, and let the new ones claim what nobody waits for."""
        for name in self._bits.keys() - self._kinds.keys():
            self._drop(name, self._bits.pop(name))
        for name in self._kinds.keys() - self._bits.keys():
            self._add(name)
        self._db.execute("UPDATE record SET waiting = waiting & ~1 WHERE waiting & 1 AND waiting <> 1")

    def _add(self, name: str) -> None:
        number = next(n for n in range(1, MAX_UPSTREAMS + 1) if 1 << n not in self._bits.values())
        bit = self._bits[name] = 1 << number
        self._db.execute("INSERT INTO upstream VALUES (?, ?)", (number, name))
        for kind, n in self._count("waiting & 1"):
            if self._wants(name, kind):
                self._counts.add("waiting", kind, name, n)
                self._db.execute(
                    "UPDATE record SET waiting = waiting | ? WHERE waiting & 1 AND kind = ?", (bit, kind)
                )

    def _drop(self, name: str, bit: int) -> None:
        self._db.execute("DELETE FROM upstream WHERE name = ?", (name,))
        for kind, n in self._count("waiting & ?", bit):
            self._counts.add("waiting", kind, name, -n)
        for kind, n in self._count("waiting = ? AND accepted", bit):
            self._counts.add("waiting", kind, n=-n)
        query = "DELETE FROM record WHERE waiting = ? AND accepted RETURNING file"
        files = self._db.execute(query, (bit,)).fetchall()
        self._blobs.release(file for (file,) in files)
        self._db.execute("UPDATE record SET waiting = ? WHERE waiting = ?", (UNCLAIMED, bit))
        self._db.execute("UPDATE record SET waiting = waiting & ~? WHERE waiting & ?", (bit, bit))

    def _count(self, condition: str, *values: int) -> list[tuple[str, int]]:
        query = f"SELECT kind, sum(n) FROM record WHERE {condition} GROUP BY kind"  # noqa: S608 (our own words)
        return self._db.execute(query, values).fetchall()

    def _wants(self, name: str, kind: str) -> bool:
        return not self._kinds[name] or kind in self._kinds[name]

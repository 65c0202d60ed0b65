"""Room on the disk: when it is short, what is worth least goes first, and a gap record says so."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple

from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.parcels import Parcels, stratum
from edgeagent.outbox.routes import Routes
from edgeagent.records import Draft, Priority

FLOOR_BYTES = 4_000_000  # what may be used however little `keep_free` leaves: events have to wait somewhere
_EVICT_PARCELS = 1000


class Limit(NamedTuple):
    """How large the outbox may be, and which option of the config says so."""

    used_bytes: int
    cause: str


class Room:
    """Keeps the outbox, its database and its files, below its limits.

    Args:
        folder: On the disk that `keep_free_bytes` is about.
        max_bytes: How large it may grow.
        keep_free_bytes: It grows no further once less of the disk is free; it is not made smaller.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        routes: Routes,
        blobs: Blobs,
        parcels: Parcels,
        folder: Path,
        max_bytes: int,
        keep_free_bytes: int,
    ) -> None:
        self._db, self._routes, self._blobs, self._parcels = db, routes, blobs, parcels
        self._folder, self._max_bytes, self._keep_free_bytes = folder, max_bytes, keep_free_bytes
        self._page_bytes = self._pragma("page_size")
        self._pages = self._pragma("page_count")

    def used_bytes(self) -> int:
        """What is taken of the room, the free pages of the file left out."""
        return self._all_bytes() - self._pragma("freelist_count") * self._page_bytes

    def _all_bytes(self) -> int:
        self._pages = self._pragma("page_count")
        return self._pages * self._page_bytes + self._blobs.used_bytes

    def limit(self) -> Limit:
        """How large the outbox may be. To be asked before the transaction lets it grow."""
        disk = os.statvfs(self._folder)
        spare_bytes = max(disk.f_bavail * disk.f_frsize - self._keep_free_bytes, 0)
        now_bytes = self._pages * self._page_bytes + self._blobs.used_bytes  # as the last one left it
        allowed_bytes = max(now_bytes + spare_bytes, FLOOR_BYTES)
        return min(Limit(allowed_bytes, "keep_free"), Limit(self._max_bytes, "max_size"))

    def make(self, limit: Limit, mono_ns: int, in_flight: Callable[[], AbstractSet[int]]) -> Draft | None:
        """Evict until the limit holds, inside the outbox's transaction, after its inserts: what has just come
        may be what is worth least. Returns the gap record's draft.

        Parcels of which a record is in flight stay: an upstream may have it already.
        """
        if self._all_bytes() <= limit.used_bytes or self.used_bytes() <= limit.used_bytes:
            return None
        files = self._db.execute("SELECT file FROM quarantine").fetchall()
        self._db.execute("DELETE FROM quarantine")
        self._blobs.release(file for (file,) in files)
        target_bytes = limit.used_bytes - limit.used_bytes // 64  # some in advance: one gap for many
        flying = {parcel.row for parcel in self._parcels.holding(in_flight())}
        strata: dict[str, Counter[str]] = {}
        while (excess_bytes := self.used_bytes() - target_bytes) > 0:
            if not self._evict(excess_bytes, flying, strata):
                break
        if not strata:
            return None
        body = {
            "type": "evicted",
            "cause": limit.cause,
            "records": sum(kinds.total() for kinds in strata.values()),
            "strata": {name: dict(kinds) for name, kinds in strata.items()},
        }
        return Draft("gap", mono_ns, Priority.EVENT, body)

    def _evict(self, excess_bytes: int, flying: Collection[int], strata: dict[str, Counter[str]]) -> bool:
        query = "SELECT row, kind, waiting, length(payload), file, n FROM record ORDER BY row LIMIT ?"
        victims: dict[int, str | None] = {}
        for row, kind, waiting, payload_bytes, file, n in self._db.execute(
            query, (_EVICT_PARCELS + len(flying),)
        ):
            if excess_bytes <= 0:
                break
            if row not in flying:
                excess_bytes -= payload_bytes + (self._blobs.size(file) if file else 0)
                victims[row] = file
                strata.setdefault(stratum(row), Counter())[kind] += n
                self._routes.give_up(kind, waiting, n)
        self._parcels.delete(victims)
        return bool(victims)

    def _pragma(self, name: str) -> int:
        (value,) = self._db.execute(f"PRAGMA {name}").fetchone()
        return int(value)

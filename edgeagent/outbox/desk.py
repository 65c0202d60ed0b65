"""What people ask of an outbox: to list what waits, to show one record, to try the refused ones again, to delete."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice

import msgspec

from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.counts import Counts
from edgeagent.outbox.parcels import PARCEL_RECORDS, Parcel, Parcels, Queued, rows_of, stratum
from edgeagent.outbox.routes import UNCLAIMED, Routes
from edgeagent.records import Priority


class _Head(msgspec.Struct, frozen=True):
    priority: Priority


class Listed(msgspec.Struct, frozen=True):
    """A record that waits; `upstreams` are those that it waits for."""

    row: int
    id: str
    kind: str
    priority: str
    bytes: int
    upstreams: list[str]


class Refused(msgspec.Struct, frozen=True):
    """A record that an upstream refused, and why."""

    id: str
    kind: str
    upstream: str
    reason: str


class Desk:
    """Reads, and, inside the outbox's transaction, changes.

    Args:
        in_flight: The rows of the records that are on their way; they are not touched.
        new_row: Gives a row of a priority.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        counts: Counts,
        routes: Routes,
        blobs: Blobs,
        parcels: Parcels,
        *,
        in_flight: Callable[[], AbstractSet[int]],
        new_row: Callable[[Priority], int],
    ) -> None:
        self._db, self._counts, self._routes, self._blobs = db, counts, routes, blobs
        self._parcels, self._in_flight, self._new_row = parcels, in_flight, new_row

    # --- reading ----------------------------------------------------------------------------------------

    def waiting(self, limit: int, kind: str | None = None) -> list[Listed]:
        """The first of what waits, in the order in which it is sent."""
        listed = (self._listed(parcel, one) for parcel in self._in_order(kind) for one in parcel.unpack())
        return list(islice(listed, limit))

    def _in_order(self, kind: str | None) -> Iterator[Parcel]:
        for priority in sorted(Priority, reverse=True):
            condition = "row >= ? AND row < ? AND (kind = ? OR ? IS NULL) ORDER BY row"
            yield from self._parcels.read(condition, *rows_of(priority), kind, kind)

    def _listed(self, parcel: Parcel, one: Queued) -> Listed:
        size = self._blobs.size(parcel.file) if parcel.file else len(one.payload)
        names = self._routes.names(parcel.waiting)
        return Listed(one.row, one.id, parcel.kind, stratum(one.row), size, names)

    def refused(self) -> list[Refused]:
        """The newest records that an upstream refused, oldest first."""
        query = "SELECT id, kind, upstream, reason FROM quarantine ORDER BY number"
        return [Refused(*row) for row in self._db.execute(query)]

    def find(self, record_id: str) -> bytes | None:
        """A record by its id, whether it waits or was refused."""
        for parcel in self._parcels.read("instr(payload, CAST(? AS BLOB))", record_id):
            for one, whole in zip(parcel.unpack(), self._parcels.whole(parcel), strict=True):
                if one.id == record_id:
                    return whole or parcel.payload
        query = "SELECT payload, file FROM quarantine WHERE id = ?"
        refused = self._db.execute(query, (record_id,)).fetchone()
        return self._whole(*refused) if refused else None

    def page(self, after: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """The records after a row, least worth first, until there are so many bytes; at least one if there is any."""
        found: list[tuple[int, bytes]] = []
        room_bytes = max_bytes
        for parcel in self._parcels.read("row > ? ORDER BY row", after - PARCEL_RECORDS):
            for row, record in zip(parcel.rows, self._parcels.whole(parcel), strict=True):
                if row > after:
                    room_bytes -= len(record)
                    if found and room_bytes < 0:
                        return found
                    found.append((row, record))
        return found

    def _whole(self, payload: bytes, file: str | None) -> bytes:
        return (file and self._blobs.read(file)) or payload

    # --- changing ---------------------------------------------------------------------------------------

    def retry(self) -> int:
        """Let the refused records wait again, for the upstream that refused them if there still is one."""
        query = "DELETE FROM quarantine RETURNING kind, upstream, payload, file"
        refused = self._db.execute(query).fetchall()
        for kind, upstream, payload, file in refused:
            mask = self._routes.bit(upstream) if upstream in list(self._routes) else UNCLAIMED
            row = self._new_row(_priority(self._whole(payload, file)))
            self._parcels.add([Parcel(row, kind, mask, 0, payload, file, 1)])
            for name in ("", upstream):
                self._counts.add("rejected", kind, name, -1)
            for name in ("", *self._routes.names(mask)):
                self._counts.add("waiting", kind, name)
        return len(refused)

    def purge(self, kind: str | None) -> Counter[str]:
        """Delete what waits, of one kind or all, and say how many of each that were."""
        deleted: Counter[str] = Counter()
        staying = {parcel.row for parcel in self._parcels.apart(self._in_flight())}
        query = "SELECT row, kind, waiting, n, file FROM record WHERE kind = ? OR ? IS NULL"
        rows = self._db.execute(query, (kind, kind)).fetchall()
        gone = [row for row in rows if row[0] not in staying]
        self._parcels.delete({row: file for row, *_, file in gone})
        for _, its_kind, mask, n, _ in gone:
            deleted[its_kind] += n
            self._routes.give_up(its_kind, mask, n)
        return deleted

    def forget(self) -> int:
        """Delete the refused records."""
        files = self._db.execute("DELETE FROM quarantine RETURNING file").fetchall()
        self._blobs.release(file for (file,) in files)
        return len(files)


def _priority(payload: bytes) -> Priority:
    """A record's worth; of one that cannot be read, the least."""
    try:
        return msgspec.msgpack.decode(payload, type=_Head).priority
    except ValueError:
        return Priority.BULK

"""What people ask of an outbox: to list what waits, to show one record, to try the refused ones again, to delete."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection

import msgspec

from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.counts import Counts
from edgeagent.outbox.room import PRIORITY_SHIFT
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
        in_flight: The rows that are on their way; they are not touched.
        new_row: Gives a row of a priority.
        id_of: A record's id from its payload.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        counts: Counts,
        routes: Routes,
        blobs: Blobs,
        *,
        in_flight: Callable[[], Collection[int]],
        new_row: Callable[[Priority], int],
        id_of: Callable[[bytes, int], str],
    ) -> None:
        self._db, self._counts, self._routes, self._blobs = db, counts, routes, blobs
        self._in_flight, self._new_row, self._id_of = in_flight, new_row, id_of

    # --- reading ----------------------------------------------------------------------------------------

    def waiting(self, limit: int, kind: str | None = None) -> list[Listed]:
        """The first of what waits, in the order in which it is sent."""
        query = """SELECT row, kind, waiting, payload, file FROM record
            WHERE row >= ? AND row < ? AND (kind = ? OR ? IS NULL) ORDER BY row LIMIT ?"""
        listed: list[Listed] = []
        for priority in sorted(Priority, reverse=True):
            span = (priority << PRIORITY_SHIFT, (priority + 1) << PRIORITY_SHIFT)
            for row, its_kind, mask, payload, file in self._db.execute(
                query, (*span, kind, kind, limit - len(listed))
            ):
                size = self._blobs.size(file) if file else len(payload)
                names = self._routes.names(mask)
                listed.append(
                    Listed(row, self._id_of(payload, row), its_kind, priority.name.lower(), size, names)
                )
        return listed

    def refused(self) -> list[Refused]:
        """The newest records that an upstream refused, oldest first."""
        query = "SELECT id, kind, upstream, reason FROM quarantine ORDER BY number"
        return [Refused(*row) for row in self._db.execute(query)]

    def find(self, record_id: str) -> bytes | None:
        """A record by its id, whether it waits or was refused."""
        for table in ("record", "quarantine"):
            query = f"SELECT payload, file FROM {table} WHERE instr(payload, CAST(? AS BLOB))"  # noqa: S608
            for payload, file in self._db.execute(query, (record_id,)):
                if self._id_of(payload, 0) == record_id:
                    return self._whole(payload, file)
        return None

    def page(self, after: int, max_bytes: int) -> list[tuple[int, bytes]]:
        """The rows after one, least worth first, until there are so many bytes; at least one if there is any."""
        query = "SELECT row, payload, file FROM record WHERE row > ? ORDER BY row"
        rows: list[tuple[int, bytes]] = []
        room_bytes = max_bytes
        for row, payload, file in self._db.execute(query, (after,)):
            whole = self._whole(payload, file)
            room_bytes -= len(whole)
            if rows and room_bytes < 0:
                break
            rows.append((row, whole))
        return rows

    def _whole(self, payload: bytes, file: str | None) -> bytes:
        return (file and self._blobs.read(file)) or payload

    # --- changing ---------------------------------------------------------------------------------------

    def retry(self) -> int:
        """Let the refused records wait again, for the upstream that refused them if there still is one."""
        query = "DELETE FROM quarantine RETURNING kind, upstream, payload, file"
        refused = self._db.execute(query).fetchall()
        for kind, upstream, payload, file in refused:
            mask = self._routes.bit(upstream) if upstream in list(self._routes) else UNCLAIMED
            values = (self._new_row(_priority(self._whole(payload, file))), kind, mask, payload, file)
            self._db.execute("INSERT INTO record VALUES (?, ?, ?, 0, ?, ?)", values)
            for name in ("", upstream):
                self._counts.add("rejected", kind, name, -1)
            for name in ("", *self._routes.names(mask)):
                self._counts.add("waiting", kind, name)
        return len(refused)

    def purge(self, kind: str | None) -> Counter[str]:
        """Delete what waits, of one kind or all, and say how many of each that were."""
        deleted: Counter[str] = Counter()
        in_flight = self._in_flight()
        rows = self._db.execute(
            "SELECT row, kind, waiting, file FROM record WHERE kind = ? OR ? IS NULL", (kind, kind)
        ).fetchall()
        gone = [row for row in rows if row[0] not in in_flight]
        self._db.executemany("DELETE FROM record WHERE row = ?", [(row,) for row, *_ in gone])
        for _, its_kind, mask, _ in gone:
            deleted[its_kind] += 1
            self._routes.give_up(its_kind, mask)
        self._blobs.release(file for *_, file in gone)
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

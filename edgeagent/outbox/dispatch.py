"""What leaves, in which order, and what becomes of it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.counts import Counts
from edgeagent.outbox.room import PRIORITY_SHIFT
from edgeagent.outbox.routes import Routes
from edgeagent.records import Kind, Priority

QUARANTINE_RECORDS = 200
PATIENCE_BATCHES = 8
"""Ageing: what has been passed over by so many full batches running goes first in the next."""

Accepts = Callable[[str], bool]
"""Whether a receipt says that the record of an id has arrived."""

_PAGE_ROWS = 10_000
_THESE = "row IN (SELECT value FROM json_each(?))"
_json = msgspec.json.Encoder().encode


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A record that waits: its row, its id, and the whole record as MessagePack."""

    row: int
    id: str
    payload: bytes


class Arrived(NamedTuple):
    """What a receipt has settled, up to a row."""

    row: int
    accepted: int
    refused: int


class Lane(NamedTuple):
    """Records of one priority that leave in one order: the newest first, or the oldest. `kinds`: only these, or
    (oldest first) all but these.
    """

    priority: Priority
    newest: bool = False
    kinds: tuple[Kind, ...] = ()

    @property
    def condition(self) -> str:
        marks = ", ".join("?" * len(self.kinds))
        return f"AND kind {'' if self.newest else 'NOT '}IN ({marks})" if self.kinds else ""


def lanes(newest: Collection[Kind] = ()) -> tuple[Lane, ...]:
    """All records in the order of worth; of one worth the kinds first whose newest are to go first."""
    kinds = tuple(sorted(newest))
    by_worth = sorted(Priority, reverse=True)
    if not kinds:
        return tuple(Lane(priority) for priority in by_worth)
    return tuple(Lane(priority, way, kinds) for priority in by_worth for way in (True, False))


class Dispatch:
    """Hands out what waits for an upstream, remembers that it is on its way, and notes how that ended.

    What it writes is written inside the outbox's transaction.

    Args:
        next_row: By priority, the row that its next record will have.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        counts: Counts,
        routes: Routes,
        blobs: Blobs,
        next_row: Sequence[int],
    ) -> None:
        self._db, self._counts, self._routes, self._blobs = db, counts, routes, blobs
        self._next_row = next_row
        self._lanes: dict[str, tuple[Lane, ...]] = {}
        self._in_flight: dict[str, set[int]] = {}
        self._seen: dict[tuple[str, Lane], _Seen] = {}
        self._passed_over: Counter[tuple[str, Lane]] = Counter()

    def route(self, newest: Mapping[str, Collection[Kind]]) -> None:
        """The upstreams that there are, and the kinds of which each wants the newest first."""
        self._lanes = {name: lanes(kinds) for name, kinds in newest.items()}
        self._in_flight = {name: self._in_flight.get(name, set()) for name in newest}
        self.look_again()

    def look_again(self) -> None:
        """Something may wait where nothing did."""
        self._seen.clear()

    def in_flight(self) -> set[int]:
        """The rows that are on their way to anyone."""
        return set[int]().union(*self._in_flight.values())

    def flying(self, upstream: str, rows: Iterable[int]) -> list[int]:
        """Those of the rows that are on their way to an upstream."""
        in_flight = self._in_flight.get(upstream, set())
        return [row for row in rows if row in in_flight]

    # --- out --------------------------------------------------------------------------------------------

    def take(self, upstream: str, max_records: int, max_bytes: int, least: Priority) -> list[Queued]:
        """What an upstream should get next, in flight from now on; at least one record if any waits."""
        taken: list[Queued] = []
        room_bytes = max_bytes
        turns = self._by_turn(upstream, least)
        for turn, lane in enumerate(turns):
            self._passed_over[upstream, lane] = 0
            for row, payload in self._waiting(upstream, lane):
                room_bytes -= len(payload)
                if taken and (room_bytes < 0 or len(taken) >= max_records):
                    self._passed_over.update((upstream, lane) for lane in turns[turn + 1 :])
                    return self._took(upstream, taken)
                taken.append(Queued(row, id_of(payload, row), payload))
        return self._took(upstream, taken)

    def _took(self, upstream: str, taken: list[Queued]) -> list[Queued]:
        self._in_flight[upstream].update(queued.row for queued in taken)
        return taken

    def _by_turn(self, upstream: str, least: Priority) -> list[Lane]:
        """The lanes in the order of worth, but those first that have been passed over for too long."""
        wanted = [lane for lane in self._lanes[upstream] if lane.priority >= least]
        return sorted(wanted, key=lambda lane: self._passed_over[upstream, lane] < PATIENCE_BATCHES)

    def _waiting(self, upstream: str, lane: Lane) -> Iterator[tuple[int, bytes]]:
        """Rows and payloads of a lane that wait and are not in flight.

        Whoever asks for the next has taken the one before. What has been looked at is not searched through again:
        one upstream's backlog does not stand in the way of another's next record.
        """
        in_flight = self._in_flight[upstream]
        first, end = rows_of(lane.priority)
        now = self._next_row[lane.priority]
        seen = self._seen.get((upstream, lane)) or _Seen(*((now, now) if lane.newest else (first, first)))
        begun, ended = seen
        try:
            for row, payload, file in self._read(upstream, lane, seen.end, end):
                if row not in in_flight:
                    yield row, (file and self._blobs.read(file)) or payload
                if not lane.newest:
                    ended = row + 1
            ended = now
            for row, payload, file in self._read(upstream, lane, first, seen.first) if lane.newest else ():
                if row not in in_flight:
                    yield row, (file and self._blobs.read(file)) or payload
                begun = row
        finally:  # also where nobody asks for the next
            self._seen[upstream, lane] = _Seen(begun, ended)

    def _read(self, upstream: str, lane: Lane, first: int, end: int) -> sqlite3.Cursor:
        order = "DESC" if lane.newest else "ASC"
        query = f"""SELECT row, payload, file FROM record
            WHERE row >= ? AND row < ? AND waiting & ? {lane.condition} ORDER BY row {order}"""  # noqa: S608
        return self._db.execute(query, (first, end, self._routes.bit(upstream), *lane.kinds))

    # --- and done ---------------------------------------------------------------------------------------

    def land(self, upstream: str, rows: Collection[int], kept: Collection[int]) -> None:
        """The flight of these rows is over; those that were kept are found again."""
        self._in_flight.get(upstream, set()).difference_update(rows, kept)
        for lane in self._lanes.get(upstream, ()) if kept else ():
            seen = self._seen.pop((upstream, lane), None)
            back = [row for row in kept if row >> PRIORITY_SHIFT == lane.priority]
            if seen and not (back and lane.newest):
                self._seen[upstream, lane] = _Seen(seen.first, min([seen.end, *back]))

    def accepted(self, upstream: str, rows: Sequence[int]) -> None:
        """An upstream has acknowledged these rows."""
        if rows:
            self._strike(upstream, rows, "delivered")

    def rejected(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """An upstream has refused these rows: they are kept aside, to be shown."""
        for row, reason in reasons.items():
            self._quarantine(upstream, row, reason)
        if reasons:
            self._strike(upstream, list(reasons), "rejected")

    def arrived(
        self, upstream: str, after: int, accepted: Accepts, refused: Mapping[str, str]
    ) -> Arrived | None:
        """What reached an upstream by another way waits for it no longer: a page of rows, None if there are no more.

        Rows that are on their way are passed over: they arrive once more, or are asked about again.
        """
        query = "SELECT row, payload FROM record WHERE row > ? AND waiting & ? ORDER BY row LIMIT ?"
        rows = self._db.execute(query, (after, self._routes.bit(upstream), _PAGE_ROWS)).fetchall()
        if not rows:
            return None
        in_flight = self.in_flight()
        ids = {row: id_of(payload, row) for row, payload in rows if row not in in_flight}
        taken = [row for row, record_id in ids.items() if accepted(record_id)]
        reasons = {row: refused[record_id] for row, record_id in ids.items() if record_id in refused}
        self.accepted(upstream, taken)
        self.rejected(upstream, reasons)
        return Arrived(rows[-1][0], len(taken), len(reasons))

    def _strike(self, upstream: str, rows: Sequence[int], outcome: Literal["delivered", "rejected"]) -> None:
        """The upstream waits for these rows no longer; what nobody waits for is deleted."""
        these, bit = _json(rows).decode(), self._routes.bit(upstream)
        query = f"""SELECT kind, waiting, accepted, count(*), count(file) FROM record
            WHERE {_THESE} GROUP BY kind, waiting, accepted"""  # noqa: S608
        groups = self._db.execute(query, (these,)).fetchall()
        for kind, waiting, accepted, n, _ in groups:
            self._counts.add("waiting", kind, upstream, -n)
            self._counts.add(outcome, kind, upstream, n)
            if outcome == "rejected" or not accepted:
                self._counts.add(outcome, kind, n=n)
            if waiting == bit:
                self._counts.add("waiting", kind, n=-n)
        self._delete(these, bit, has_files=any(files for *_, files in groups))
        if any(waiting != bit for _, waiting, *_ in groups):
            self._db.execute(
                f"UPDATE record SET waiting = waiting & ~?, accepted = accepted OR ? WHERE {_THESE}",  # noqa: S608
                (bit, outcome == "delivered", these),
            )

    def _delete(self, these: str, bit: int, *, has_files: bool) -> None:
        """Those of the rows for which nobody else waits. Their files are looked up only where there are some."""
        where = f"FROM record WHERE {_THESE} AND waiting = ?"
        files = self._db.execute(f"SELECT file {where}", (these, bit)).fetchall() if has_files else []
        self._db.execute(f"DELETE {where}", (these, bit))
        self._blobs.release(file for (file,) in files)

    def _quarantine(self, upstream: str, row: int, reason: str) -> None:
        """Keep a refused record aside; of many the newest."""
        query = "SELECT kind, payload, file FROM record WHERE row = ?"
        kind, payload, file = self._db.execute(query, (row,)).fetchone()
        number = self._db.execute(
            "INSERT INTO quarantine (id, kind, upstream, reason, payload, file) VALUES (?, ?, ?, ?, ?, ?)",
            (id_of(payload, row), kind, upstream, reason, payload, file),
        ).lastrowid
        last = (number or 0) - QUARANTINE_RECORDS
        files = self._db.execute("SELECT file FROM quarantine WHERE number <= ?", (last,)).fetchall()
        self._db.execute("DELETE FROM quarantine WHERE number <= ?", (last,))
        self._blobs.release(file for (file,) in files)


class _Seen(NamedTuple):
    """Rows of a lane from the first to the end, not included: none of them is to be taken any more."""

    first: int
    end: int


class _Id(msgspec.Struct, frozen=True):
    id: str


_decode_id = msgspec.msgpack.Decoder(_Id).decode


def id_of(payload: bytes, row: int) -> str:
    """A record's id; where the disk has altered it, a name by which it can still be refused."""
    try:
        return _decode_id(payload).id
    except ValueError:
        return f"unreadable/{row}"


def rows_of(priority: Priority) -> tuple[int, int]:
    """The first row of a priority, and the first of the next."""
    return priority << PRIORITY_SHIFT, (priority + 1) << PRIORITY_SHIFT

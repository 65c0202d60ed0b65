"""What leaves, in which order, and what becomes of it."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import accumulate, islice
from typing import Literal, NamedTuple

from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.counts import Counts
from edgeagent.outbox.parcels import (
    PARCEL_RECORDS,
    PRIORITY_SHIFT,
    THESE,
    Held,
    Parcel,
    Parcels,
    Queued,
    listed,
    rows_of,
)
from edgeagent.outbox.routes import Routes
from edgeagent.records import Kind, Priority

QUARANTINE_RECORDS = 200
PATIENCE_BATCHES = 8
"""Ageing: what has been passed over by so many full batches running goes first in the next."""

Accepts = Callable[[str], bool]
"""Whether a receipt says that the record of an id has arrived."""

Batch = dict[int, bytes]
"""Records by their rows, as MessagePack, in the order in which they leave; b"" is one that cannot be read."""

_PAGE_RECORDS = 10_000


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
        parcels: Parcels,
        next_row: Sequence[int],
    ) -> None:
        self._db, self._counts, self._routes, self._blobs = db, counts, routes, blobs
        self._parcels, self._next_row = parcels, next_row
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
        """The rows of the records that are on their way to anyone."""
        return set[int]().union(*self._in_flight.values())

    def flying(self, upstream: str, rows: Iterable[int]) -> set[int]:
        """Those of the rows that are on their way to an upstream."""
        return self._in_flight.get(upstream, set()).intersection(rows)

    # --- out --------------------------------------------------------------------------------------------

    def take(self, upstream: str, max_records: int, max_bytes: int, least: Priority) -> Batch:
        """What an upstream should get next, in flight from now on; at least one record if any waits.

        Whole parcels, but of the first: else most of them would be taken apart when they are settled.
        """
        taken: Batch = {}
        room_bytes = max_bytes
        turns = self._by_turn(upstream, least)
        for turn, lane in enumerate(turns):
            self._passed_over[upstream, lane] = 0
            for waiting in self._waiting(upstream, lane):
                room_bytes -= sum(map(len, waiting.values()))
                if room_bytes < 0 or len(taken) + len(waiting) > max_records:
                    self._passed_over.update((upstream, lane) for lane in turns[turn + 1 :])
                    return self._took(upstream, taken or _first(waiting, max_records, max_bytes))
                taken |= waiting
        return self._took(upstream, taken)

    def _took(self, upstream: str, taken: Batch) -> Batch:
        self._in_flight[upstream].update(taken)
        return taken

    def _by_turn(self, upstream: str, least: Priority) -> list[Lane]:
        """The lanes in the order of worth, but those first that have been passed over for too long."""
        wanted = [lane for lane in self._lanes[upstream] if lane.priority >= least]
        return sorted(wanted, key=lambda lane: self._passed_over[upstream, lane] < PATIENCE_BATCHES)

    def _waiting(self, upstream: str, lane: Lane) -> Iterator[Batch]:
        """By the parcel, the records of a lane that wait and are not in flight.

        Whoever asks for the next has taken all of the one before. What has been looked at is not searched through
        again: one upstream's backlog does not stand in the way of another's next record.
        """
        first, end = rows_of(lane.priority)
        now = self._next_row[lane.priority]
        seen = self._seen.get((upstream, lane)) or _Seen(*((now, now) if lane.newest else (first, first)))
        begun, ended = seen
        try:
            for parcel in self._read(upstream, lane, seen.end, end):
                yield from self._not_in_flight(upstream, lane, parcel)
                if not lane.newest:
                    ended = parcel.rows.stop
            ended = now
            for parcel in self._read(upstream, lane, first, seen.first) if lane.newest else ():
                yield from self._not_in_flight(upstream, lane, parcel)
                begun = parcel.row
        finally:  # also where nobody asks for the next
            self._seen[upstream, lane] = _Seen(begun, ended)

    def _read(self, upstream: str, lane: Lane, first: int, end: int) -> Iterator[Parcel]:
        order = "DESC" if lane.newest else "ASC"
        condition = f"row >= ? AND row < ? AND waiting & ? {lane.condition} ORDER BY row {order}"
        return self._parcels.read(condition, first, end, self._routes.bit(upstream), *lane.kinds)

    def _not_in_flight(self, upstream: str, lane: Lane, parcel: Parcel) -> Iterator[Batch]:
        """A parcel's records, if there are any; the newest first in a lane of that order."""
        in_flight = self._in_flight[upstream]
        if in_flight.issuperset(parcel.rows):
            return
        records = dict(zip(parcel.rows, self._parcels.whole(parcel), strict=True))
        if in_flight and not in_flight.isdisjoint(parcel.rows):
            records = {row: record for row, record in records.items() if row not in in_flight}
        yield dict(reversed(records.items())) if lane.newest else records

    # --- and done ---------------------------------------------------------------------------------------

    def land(self, upstream: str, rows: Iterable[int], kept: Collection[int]) -> None:
        """The flight of these rows is over; those that were kept are found again."""
        self._in_flight.get(upstream, set()).difference_update(rows, kept)
        for lane in self._lanes.get(upstream, ()) if kept else ():
            seen = self._seen.pop((upstream, lane), None)
            back = [row for row in kept if row >> PRIORITY_SHIFT == lane.priority]
            if seen and not (back and lane.newest):
                # the parcel that holds a row begins so little before it
                self._seen[upstream, lane] = _Seen(
                    seen.first, min([seen.end, *(row - PARCEL_RECORDS for row in back)])
                )

    def accepted(self, upstream: str, rows: AbstractSet[int]) -> None:
        """An upstream has acknowledged the records of these rows."""
        if rows:
            self._strike(upstream, self._parcels.apart(rows), "delivered")

    def rejected(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """An upstream has refused the records of these rows: they are kept aside, to be shown."""
        if not reasons:
            return
        parcels = self._parcels.apart(reasons.keys())
        numbers = [parcel.row for parcel in parcels]
        for parcel in list(self._parcels.read(f"{THESE} ORDER BY row", listed(numbers))):
            for queued in parcel.unpack():
                self._quarantine(upstream, parcel, queued, reasons[queued.row])
        self._strike(upstream, parcels, "rejected")

    def arrived(
        self, upstream: str, after: int, accepted: Accepts, refused: Mapping[str, str]
    ) -> Arrived | None:
        """What reached an upstream by another way waits for it no longer: a page of records, None if there are no more.

        Records that are on their way are passed over: they arrive once more, or are asked about again.
        """
        page: list[Queued] = []
        for parcel in self._parcels.read(
            "row > ? AND waiting & ? ORDER BY row", after, self._routes.bit(upstream)
        ):
            page += parcel.unpack()
            if len(page) >= _PAGE_RECORDS:
                break
        if not page:
            return None
        in_flight = self.in_flight()
        landed = [queued for queued in page if queued.row not in in_flight]
        taken = {queued.row for queued in landed if accepted(queued.id)}
        reasons = {queued.row: refused[queued.id] for queued in landed if queued.id in refused}
        self.accepted(upstream, taken)
        self.rejected(upstream, reasons)
        return Arrived(page[-1].row, len(taken), len(reasons))

    def _strike(
        self, upstream: str, parcels: Collection[Held], outcome: Literal["delivered", "rejected"]
    ) -> None:
        """The upstream waits for these parcels no longer; what nobody waits for is deleted."""
        bit = self._routes.bit(upstream)
        for _, kind, waiting, accepted, _, n in parcels:
            self._counts.add("waiting", kind, upstream, -n)
            self._counts.add(outcome, kind, upstream, n)
            if outcome == "rejected" or not accepted:
                self._counts.add(outcome, kind, n=n)
            if waiting == bit:
                self._counts.add("waiting", kind, n=-n)
        self._parcels.delete({parcel.row: parcel.file for parcel in parcels if parcel.waiting == bit})
        if others := [parcel.row for parcel in parcels if parcel.waiting != bit]:
            self._db.execute(
                f"UPDATE record SET waiting = waiting & ~?, accepted = accepted OR ? WHERE {THESE}",  # noqa: S608
                (bit, outcome == "delivered", listed(others)),
            )

    def _quarantine(self, upstream: str, parcel: Parcel, queued: Queued, reason: str) -> None:
        """Keep a refused record aside; of many the newest."""
        number = self._db.execute(
            "INSERT INTO quarantine (id, kind, upstream, reason, payload, file) VALUES (?, ?, ?, ?, ?, ?)",
            (queued.id, parcel.kind, upstream, reason, queued.payload, parcel.file),
        ).lastrowid
        last = (number or 0) - QUARANTINE_RECORDS
        files = self._db.execute("SELECT file FROM quarantine WHERE number <= ?", (last,)).fetchall()
        self._db.execute("DELETE FROM quarantine WHERE number <= ?", (last,))
        self._blobs.release(file for (file,) in files)


def _first(waiting: Batch, max_records: int, max_bytes: int) -> Batch:
    """Of a parcel that is too large for a batch, what it can hold; one record at least."""
    ends_bytes = list(accumulate(map(len, waiting.values())))
    fitting = min(bisect_right(ends_bytes, max_bytes), max_records)
    return dict(islice(waiting.items(), max(fitting, 1)))


class _Seen(NamedTuple):
    """Rows of a lane from the first to the end, not included: none of them is to be taken any more."""

    first: int
    end: int

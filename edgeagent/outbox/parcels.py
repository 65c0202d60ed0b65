"""Records that lie together: a row of table `record` is a parcel of them.

A parcel holds records of one commit that follow one another and are of one priority and kind: as rows of their own
each would be found, read and deleted for itself. The parcel's row number is that of its first record, and the
numbers after it are those of the others: so every record has a number of its own, and a parcel can be taken apart
at any time, and no number changes.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby, pairwise
from typing import NamedTuple

import msgspec

from edgeagent.outbox.blobs import Blobs
from edgeagent.records import Priority, Record

PRIORITY_SHIFT = 48
"""A record's row is its priority, shifted by this, and a number that grows: rows are in order of worth and age."""

PARCEL_RECORDS, PARCEL_BYTES = 40, 3_900
"""A parcel holds no more: with that it lies on one page of the database, and a page that is damaged costs no other.

More records than that are damage: the number may grow one day, and never shrink.
"""

THESE = "row IN (SELECT value FROM json_each(?))"
"""A condition; its value comes from `listed`."""

_MAP = 0x8
# A record in a parcel: its length as MessagePack's bin 8 or bin 16 has it, and how each begins.
_BEGINS = bytes([0x80 | len(Record.__struct_fields__)]) + b"\xa2id"
_FRAMED = re.compile(rb"(?:\xc4(.)|\xc5(..))(?=%s)" % re.escape(_BEGINS), re.DOTALL)


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A record that waits: its row, its id, and the whole record as MessagePack; b"" if it cannot be read."""

    row: int
    id: str
    payload: bytes


class Parcel(NamedTuple):
    """A row of table `record`, as it is stored; of its columns `files.py` tells."""

    row: int
    kind: str
    waiting: int
    accepted: int
    payload: bytes
    file: str | None
    n: int

    @property
    def rows(self) -> range:
        """The numbers of its records."""
        return range(self.row, self.row + self.n)

    def records(self) -> list[bytes]:
        """Its records, as they are stored; b"" for one that cannot be read."""
        found = cut(self.payload, self.n)
        try:
            _decode_heads(b"\xdc" + self.n.to_bytes(2) + b"".join(found))
        except (ValueError, RecursionError):
            return [_as_found(0, record).payload for record in found]
        return found

    def unpack(self) -> list[Queued]:
        """The same, with their rows and ids."""
        return list(map(_as_found, self.rows, self.records()))


class Held(NamedTuple):
    """A parcel without its records."""

    row: int
    kind: str
    waiting: int
    accepted: int
    file: str | None
    n: int


class Parcels:
    """The rows of table `record`. What is changed is changed inside the outbox's transaction."""

    def __init__(self, db: sqlite3.Connection, blobs: Blobs) -> None:
        self._db, self._blobs = db, blobs

    def add(self, parcels: Iterable[Parcel]) -> None:
        self._db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?)", parcels)

    def read(self, condition: str, *values: int | str | None) -> Iterator[Parcel]:
        """Parcels, by `WHERE`, one after the other."""
        for row in self._db.execute(f"SELECT * FROM record WHERE {condition}", values):  # noqa: S608
            parcel = Parcel._make(row)
            _check(parcel.n)
            yield parcel

    def whole(self, parcel: Parcel) -> list[bytes]:
        """Its records, those in files too; b"" for one that cannot be read."""
        return parcel.records() if parcel.file is None else [self._blobs.read(parcel.file) or b""]

    def held(self, rows: AbstractSet[int]) -> dict[int, bytes]:
        """What is stored of these records, by row."""
        numbers = [parcel.row for parcel in self.holding(rows)]
        parcels = self.read(THESE, listed(numbers)) if numbers else ()
        return {
            row: stored
            for parcel in parcels
            for row, stored in zip(parcel.rows, parcel.records(), strict=True)
        }

    def delete(self, parcels: Mapping[int, str | None]) -> None:
        """Delete the parcels of these numbers, and their files."""
        self._db.execute(f"DELETE FROM record WHERE {THESE}", (listed(parcels),))  # noqa: S608 (our own words)
        self._blobs.release(parcels.values())

    def holding(self, rows: AbstractSet[int]) -> list[Held]:
        """The parcels that hold some of these records."""
        query = "SELECT row, kind, waiting, accepted, file, n FROM record WHERE row > ? AND row <= ?"
        found = []
        for first, last in _stretches(sorted(rows)):
            for parcel in map(Held._make, self._db.execute(query, (first - PARCEL_RECORDS, last))):
                _check(parcel.n)
                if not rows.isdisjoint(range(parcel.row, parcel.row + parcel.n)):
                    found.append(parcel)
        return found

    def apart(self, rows: AbstractSet[int]) -> list[Held]:
        """Take parcels apart until none holds some of these records and others too: the parcels that hold them."""
        whole: list[Held] = []
        for parcel in self.holding(rows):
            if all(map(rows.__contains__, range(parcel.row, parcel.row + parcel.n))):
                whole.append(parcel)
            else:
                pieces = self._take_apart(parcel.row, rows)
                whole += [parcel._replace(row=one.row, n=one.n) for one in pieces if one.row in rows]
        return whole

    def _take_apart(self, row: int, wanted: Collection[int]) -> list[Parcel]:
        (parcel,) = self.read("row = ?", row)
        records = zip(parcel.rows, cut(parcel.payload, parcel.n), strict=True)
        pieces = []
        for _, some in groupby(records, key=lambda one: one[0] in wanted):
            rows, payloads = zip(*some, strict=True)
            pieces.append(parcel._replace(row=rows[0], payload=pack(payloads), n=len(rows)))
        self._db.execute("DELETE FROM record WHERE row = ?", (row,))
        self.add(pieces)
        return pieces


def pack(records: Sequence[bytes]) -> bytes:
    """A parcel's payload: a MessagePack array of the records, each as bytes. One alone is as it is, a map."""
    return records[0] if len(records) == 1 else _encode(records)


def cut(payload: bytes, n: int) -> list[bytes]:
    """The records of a parcel. Where the disk has altered their frame: those that are found, and b"" for the rest."""
    if n == 1:
        return [payload]
    found = find_records(payload)
    return found if len(found) == n else (found + [b""] * n)[:n]


def find_records(payload: bytes) -> list[bytes]:
    """What looks like a record in a parcel, of which not even is known how many they were."""
    if payload and payload[0] >> 4 == _MAP:
        return [payload]
    try:
        return _decode_parts(payload)[:PARCEL_RECORDS]
    except ValueError:
        heads = _FRAMED.finditer(payload)
        records = [payload[head.end() :][: int.from_bytes(head[1] or head[2])] for head in heads]
        return records[:PARCEL_RECORDS]


def parcelled(records: Iterable[bytes], large_bytes: int) -> Iterator[list[bytes]]:
    """Records that follow one another, by the parcel. A large one is alone."""
    some: list[bytes] = []
    room_bytes = PARCEL_BYTES
    for record in records:
        room_bytes -= len(record)
        if some and (room_bytes < 0 or len(some) == PARCEL_RECORDS or len(record) >= large_bytes):
            yield some
            some, room_bytes = [], PARCEL_BYTES - len(record)
        some.append(record)
        if len(record) >= large_bytes:
            room_bytes = 0
    if some:
        yield some


def id_of(record: bytes) -> str:
    """A record's id. Raises ValueError or RecursionError if it is none."""
    return _decode_head(record).id


def rows_of(priority: Priority) -> tuple[int, int]:
    """The first row of a priority, and the first of the next."""
    return priority << PRIORITY_SHIFT, (priority + 1) << PRIORITY_SHIFT


def stratum(row: int) -> str:
    """What a row is worth, in a word."""
    return Priority(row >> PRIORITY_SHIFT).name.lower()


def listed(rows: Collection[int]) -> str:
    """Row numbers as `THESE` takes them."""
    return _as_json(list(rows)).decode()


class _Head(msgspec.Struct, frozen=True, gc=False):
    id: str


_encode = msgspec.msgpack.Encoder().encode
_as_json = msgspec.json.Encoder().encode
_decode_parts = msgspec.msgpack.Decoder(list[bytes]).decode
_decode_heads = msgspec.msgpack.Decoder(list[_Head]).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode


def _as_found(row: int, payload: bytes) -> Queued:
    """A record that the disk has altered perhaps: then it has a name by which it can still be refused."""
    try:
        return Queued(row, id_of(payload), payload)
    except (ValueError, RecursionError):
        return Queued(row, f"unreadable/{row}", b"")


def _check(n: int) -> None:
    """Whether a parcel can be of so many records. Raises what SQLite does where it finds damage."""
    if not 1 <= n <= PARCEL_RECORDS:
        damage = sqlite3.DatabaseError(f"a parcel of {n} records")
        damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise damage


def _stretches(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of the rows between which none of the steps is wide."""
    if rows and rows[-1] - rows[0] <= len(rows) + PARCEL_RECORDS:  # nearly always: a batch in one piece
        yield rows[0], rows[-1]
        return
    ends = [at for at, (a, b) in enumerate(pairwise(rows), 1) if b - a > PARCEL_RECORDS]
    for first, end in pairwise((0, *ends, len(rows))):
        if rows:
            yield rows[first], rows[end - 1]

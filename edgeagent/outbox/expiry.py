"""Records that are too old to be worth sending: given up, and a gap record says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from edgeagent.outbox.parcels import Parcels, rows_of, stratum
from edgeagent.outbox.routes import Routes
from edgeagent.records import NS_PER_S, Draft, Kind, Priority
from edgeagent.timebase import Wall

_RECORDS_A_STEP = 2000


class Old(NamedTuple):
    """A record that has waited for too long."""

    row: int
    kind: str
    waiting: int


class _Head(msgspec.Struct, frozen=True):
    boot_id: str
    mono_ns: int
    time: str | None


_decode = msgspec.msgpack.Decoder(_Head).decode


class Expiry:
    """Finds what is too old, and gives it up inside the outbox's transaction.

    Args:
        boot_id: Of this boot: of its records the age is known exactly.
        most_s: By kind, the age at which a record is given up; a kind that is not in it never is.
    """

    def __init__(self, parcels: Parcels, routes: Routes, boot_id: str, most_s: Mapping[Kind, float]) -> None:
        self._parcels, self._routes, self._boot_id = parcels, routes, boot_id
        self._most_ns = {kind: round(s * NS_PER_S) for kind, s in most_s.items()}
        self._first: dict[tuple[Priority, Kind], int] = {}

    def find(self, now_ns: int, wall: Wall, in_flight: Collection[int]) -> list[Old]:
        """The oldest records that are too old; not all at once."""
        return [
            old
            for priority in Priority
            for kind, most_ns in self._most_ns.items()
            for old in self._find(priority, kind, now_ns, most_ns, wall)
            if old.row not in in_flight
        ]

    def give_up(self, records: Collection[Old], mono_ns: int) -> Draft:
        """Delete them; the gap record's draft."""
        strata: dict[str, Counter[str]] = {}
        for old in records:
            strata.setdefault(stratum(old.row), Counter())[old.kind] += 1
            self._routes.give_up(old.kind, old.waiting, 1)
        parcels = self._parcels.apart({old.row for old in records})
        self._parcels.delete({parcel.row: parcel.file for parcel in parcels})
        body = {
            "type": "expired",
            "records": len(records),
            "strata": {name: dict(kinds) for name, kinds in strata.items()},
        }
        return Draft("gap", mono_ns, Priority.EVENT, body)

    def _find(self, priority: Priority, kind: Kind, now_ns: int, most_ns: int, wall: Wall) -> Iterator[Old]:
        """Records are in the order of age, so the first that is young ends the search, and the next begins with it."""
        first, end = rows_of(priority)
        first = self._first.get((priority, kind), first)
        condition, looked_at = "row >= ? AND row < ? AND kind = ? ORDER BY row", 0
        for parcel in self._parcels.read(condition, first, end, kind):
            self._first[priority, kind] = parcel.row
            for row, record in zip(parcel.rows, self._parcels.whole(parcel), strict=True):
                if looked_at == _RECORDS_A_STEP or self._age_ns(record, now_ns, wall) <= most_ns:
                    return
                looked_at += 1
                yield Old(row, kind, parcel.waiting)

    def _age_ns(self, record: bytes, now_ns: int, wall: Wall) -> int:
        """Of a record of an earlier boot, without a time or a clock to hold it against, it is this boot's at least."""
        try:
            head = _decode(record)
            if head.boot_id == self._boot_id:
                return now_ns - head.mono_ns
            if head.time is not None and wall.synced:
                made_ns = round(datetime.fromisoformat(head.time).timestamp() * NS_PER_S)
                return now_ns + wall.offset_ns - made_ns
        except ValueError:  # altered by the disk: the upstream's to judge
            return 0
        return now_ns

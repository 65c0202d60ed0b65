"""Queues again what can be read of an outbox that was set aside, a few pages at a time: start-up does not wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec

from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.counts import Counts
from edgeagent.outbox.damaged import DamagedFile, Found
from edgeagent.outbox.files import DAMAGED, companions
from edgeagent.outbox.parcels import Parcel, Parcels, pack
from edgeagent.outbox.routes import Routes
from edgeagent.records import Kind, Priority, Record

KEPT_FILES = 3
"""How many files that were set aside are kept after they have been read through, for people to look into."""

_PAGES_A_STEP = 256
_PAGES, _RECORDS = (
    "salvage pages",
    "salvaged",
)  # counters, of one file each: how far it is read, what was found

_decode_record = msgspec.msgpack.Decoder(Record).decode


class Salvaged(NamedTuple):
    """What was found in a file that was set aside, by kind of record, and which older ones made room for it."""

    file: str
    kinds: dict[str, int]
    deleted: list[str]


class Salvage:
    """The files that were set aside and are not read through yet.

    Its steps are made inside the outbox's transaction, with their progress. A record keeps the row that it had,
    and with it its place; it counts as made anew, since the counters were lost with the file.

    Args:
        new_row: Gives a row of a priority, for a record whose own is not known or taken.
    """

    def __init__(
        self,
        counts: Counts,
        routes: Routes,
        blobs: Blobs,
        parcels: Parcels,
        folder: Path,
        new_row: Callable[[Priority], int],
    ) -> None:
        self._counts, self._routes, self._blobs = counts, routes, blobs
        self._parcels, self._new_row = parcels, new_row
        self._files = unread(folder)
        self._open: DamagedFile | None = None

    def __bool__(self) -> bool:
        return bool(self._files)

    def step(self) -> bool:
        """Read some more; whether the file is read through. Raises OSError."""
        file = self._files[0]
        damaged = self._open = self._open or DamagedFile(file)
        done = self._counts.get(_PAGES, upstream=file.name)
        end = min(done + _PAGES_A_STEP, damaged.pages)
        for page in range(done + 1, end + 1):
            for found in damaged.rows(page):
                self._queue(file, self._sound(found))
        self._counts.add(_PAGES, "", file.name, end - done)
        if end < damaged.pages:
            return False
        for name in self._blobs.unnamed():  # a large record whose row is lost speaks for itself
            self._queue(file, self._alone(name))
        return True

    def finish(self) -> Salvaged:
        """After the commit of the last step: the file is not read again."""
        file = self._files.pop(0)
        self.close()
        _mark(file).touch()
        kinds = {kind: n for kind in get_args(Kind) if (n := self._counts.get(_RECORDS, kind, file.name))}
        return Salvaged(file.name, kinds, _delete_old(file.parent))

    def close(self) -> None:
        """Let go of the file that is being read."""
        if self._open:
            self._open.close()
            self._open = None

    def _sound(self, found: Found) -> Iterator[Parcel]:
        """What can be read of it and does not wait already, each record in its old place if that is free."""
        held = self._parcels.held(set(range(found.row, found.row + len(found.records))))
        for row, stored in enumerate(found.records, found.row):
            record = _record(self._blobs.read(found.file) if found.file else stored)
            if record and held.get(row) != stored:
                free_row = self._new_row(record.priority) if row in held else row
                yield self._parcel(free_row, record.kind, stored, found.file)

    def _alone(self, name: str) -> Iterator[Parcel]:
        """A file that no row names any more."""
        if record := _record(self._blobs.read(name)):
            stored = msgspec.msgpack.encode({"id": record.id})
            yield self._parcel(self._new_row(record.priority), record.kind, stored, name)

    def _parcel(self, row: int, kind: Kind, stored: bytes, name: str | None) -> Parcel:
        return Parcel(row, kind, self._routes.mask(kind), 0, stored, name, 1)

    def _queue(self, file: Path, records: Iterator[Parcel]) -> None:
        wanted = [record for record in records if record.waiting]
        self._parcels.add(_together(wanted))
        for _, kind, mask, _, _, name, _ in wanted:
            if name:
                self._blobs.adopt(name)
            self._counts.add(_RECORDS, kind, file.name)
            self._counts.add("made", kind)
            for upstream in ("", *self._routes.names(mask)):
                self._counts.add("waiting", kind, upstream)


def _together(records: list[Parcel]) -> Iterator[Parcel]:
    """Records that are side by side lie in one parcel again."""
    for _, some in groupby(enumerate(records), lambda one: (one[1].row - one[0], one[1].kind)):
        alike = [record for _, record in some]
        yield alike[0]._replace(payload=pack([record.payload for record in alike]), n=len(alike))


def unread(folder: Path) -> list[Path]:
    """The files that were set aside, and not read through since."""
    return [file for file in sorted(folder.glob(DAMAGED)) if not _mark(file).exists()]


def _delete_old(folder: Path) -> list[str]:
    """Of the files that have been read through, keep the newest: a card that goes on failing must not be filled."""
    done = [file for file in folder.glob(DAMAGED) if _mark(file).exists()]
    done.sort(key=lambda file: _mark(file).stat().st_mtime_ns, reverse=True)
    for file in done[KEPT_FILES:]:
        for part in (*companions(file), file, _mark(file)):
            part.unlink(missing_ok=True)
    return [file.name for file in done[KEPT_FILES:]]


def _mark(file: Path) -> Path:
    return file.with_suffix(".salvaged")


def _record(payload: bytes | None) -> Record | None:
    try:
        return _decode_record(payload or b"")
    except (ValueError, RecursionError):
        return None

"""Queues again what can be read of an outbox that was set aside, a few pages at a time: start-up does not wait."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, get_args

import msgspec

from edgeagent.outbox.blobs import Blobs
from edgeagent.outbox.counts import Counts
from edgeagent.outbox.damaged import DamagedFile
from edgeagent.outbox.files import DAMAGED, companions
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
        db: sqlite3.Connection,
        counts: Counts,
        routes: Routes,
        blobs: Blobs,
        folder: Path,
        new_row: Callable[[Priority], int],
    ) -> None:
        self._db, self._counts, self._routes, self._blobs = db, counts, routes, blobs
        self._new_row = new_row
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
            for row, payload, name in damaged.rows(page):
                self._queue(file, self._blobs.read(name) if name else payload, name, row)
        self._counts.add(_PAGES, "", file.name, end - done)
        if end < damaged.pages:
            return False
        for name in self._blobs.unnamed():  # a large record whose row is lost speaks for itself
            self._queue(file, self._blobs.read(name), name, None)
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

    def _queue(self, file: Path, payload: bytes | None, name: str | None, row: int | None) -> None:
        record = _record(payload or b"")
        if record is None:
            return
        taken = self._db.execute("SELECT payload FROM record WHERE row = ?", (row,)).fetchone()
        stored = msgspec.msgpack.encode({"id": record.id}) if name else payload
        if taken and taken[0] == stored:
            return
        if row is None or taken:
            row = self._new_row(record.priority)
        mask = self._routes.mask(record.kind)
        if not mask:
            return
        self._db.execute(
            "INSERT INTO record VALUES (?, ?, ?, 0, ?, ?)", (row, record.kind, mask, stored, name)
        )
        if name:
            self._blobs.adopt(name)
        self._counts.add(_RECORDS, record.kind, file.name)
        self._counts.add("made", record.kind)
        for upstream in ("", *self._routes.names(mask)):
            self._counts.add("waiting", record.kind, upstream)


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


def _record(payload: bytes) -> Record | None:
    try:
        return _decode_record(payload)
    except (ValueError, RecursionError):
        return None

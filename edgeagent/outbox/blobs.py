"""Large records beside the database: a file each, named for the SHA-256 of its content.

As rows they would be written to the card twice, to the log and to the database (`make bench ARGS=wear`). A file is
there, whole and durable, before the row that names it, and goes after it: one that no row names is a leftover.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edgeagent.outbox.files import sync_folder

LARGE_BYTES = 16_000
SUFFIX = ".record"


class Blobs:
    """The files of one outbox, and what the transaction under way does to them.

    Opening it removes what no row names, but for `keep`.
    """

    def __init__(self, db: sqlite3.Connection, folder: Path, *, keep: bool) -> None:
        self._db, self._folder = db, folder
        self._new = False
        self._going: list[str] = []
        self.used_bytes = 0
        for young in folder.glob("*.new"):
            young.unlink()
        for file in folder.glob(f"*{SUFFIX}"):
            if self._is_named(file.stem):
                self.used_bytes += file.stat().st_size
            elif not keep:
                file.unlink()

    def put(self, payload: bytes) -> str:
        """Write a file, and give its name; it is durable after `sync`. Raises OSError."""
        name = hashlib.sha256(payload).hexdigest()
        young = self._folder / f"{name}.new"
        with young.open("wb") as f:
            f.write(payload)
            f.flush()
            os.fsync(f.fileno())
        young.rename(self._path(name))
        self._new = True
        self.used_bytes += len(payload)
        return name

    def sync(self) -> None:
        """Make the new files' names durable: before the rows' transaction is."""
        if self._new:
            sync_folder(self._folder)
            self._new = False

    def read(self, name: str) -> bytes | None:
        """A file's content; None if it is gone, or is not what it was."""
        try:
            payload = self._path(name).read_bytes()
        except OSError:
            return None
        return payload if hashlib.sha256(payload).hexdigest() == name else None

    def unnamed(self) -> list[str]:
        """The files that no row names."""
        return [file.stem for file in self._folder.glob(f"*{SUFFIX}") if not self._is_named(file.stem)]

    def adopt(self, name: str) -> None:
        """A row names a file again."""
        self.used_bytes += self.size(name)

    def size(self, name: str) -> int:
        with suppress(OSError):
            return self._path(name).stat().st_size
        return 0

    def release(self, names: Iterable[str | None]) -> None:
        """A row that named a file has been deleted: if no other does, the file goes once that is committed."""
        for name in names:
            if name and not self._is_named(name):
                self._going.append(name)
                self.used_bytes -= self.size(name)

    def committed(self) -> None:
        for name in self._going:
            with suppress(OSError):  # a leftover, then
                self._path(name).unlink()
        self._going.clear()

    def rolled_back(self) -> None:
        self.used_bytes += sum(map(self.size, self._going))
        self._going.clear()

    def _is_named(self, name: str) -> bool:
        query = "SELECT 1 FROM record WHERE file = ? UNION ALL SELECT 1 FROM quarantine WHERE file = ?"
        return self._db.execute(query, (name, name)).fetchone() is not None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

"""A disk that remembers every step: an APSW VFS under SQLite, and hooks under the few file calls of our own.

Everything goes through to real files, and into `log`, from which `crash.py` builds what a power cut would have
left. `fail` makes one write or sync fail. A failed sync is played as the kernel has it: the pages count as clean
from then on, so that no later sync makes them durable, though they can still be read.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import apsw
import pytest

AUTOCHECKPOINT_PAGES = 12  # so that a short workload folds its log in, and begins it anew, many times


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder that is quick to write to, where the machine has one."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.exists() else None) as name:
        yield Path(name)


class Create(NamedTuple):
    path: str


class Write(NamedTuple):
    path: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    path: str
    size: int


class Sync(NamedTuple):
    path: str
    failed: bool = False


class Rename(NamedTuple):
    path: str
    target: str


class Delete(NamedTuple):
    path: str


class SyncFolder(NamedTuple):
    pass


class Note(NamedTuple):
    """What the workload had been promised by then."""

    promise: Any


Step = Create | Write | Truncate | Sync | Rename | Delete | SyncFolder | Note


class Failure(NamedTuple):
    """Which call fails, counted from 0 over writes (truncations too) and syncs; for how many calls; and how."""

    at: int
    calls: int
    number: Literal[28, 5]  # ENOSPC, EIO

    def hits(self, call: int) -> bool:
        return self.at <= call < self.at + self.calls


class Disk:
    """Watches one folder while `watching`."""

    def __init__(self, folder: Path, *, synchronous: str = "FULL") -> None:
        self.folder = folder
        self.log: list[Step] = []
        self.calls = 0
        self.failure: Failure | None = None
        self._synchronous = synchronous
        self._vfs = _Vfs(self)

    @contextmanager
    def watching(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", self._connect)
            patch.setattr(os, "fsync", self._wrap_fsync(os.fsync))
            patch.setattr(os, "rename", self._wrap_rename(os.rename))
            patch.setattr(os, "unlink", self._wrap_unlink(os.unlink))
            patch.setattr(sys, "unraisablehook", partial(_unraisable, sys.unraisablehook))
            yield

    def _connect(self, database: str | Path, **options: Any) -> Connection:
        return Connection(str(database), self._vfs.vfs_name, self._synchronous, uri=options.get("uri", False))

    def note(self, promise: Any) -> None:
        self.log.append(Note(promise))

    def has(self, path: str) -> bool:
        return Path(path).parent == self.folder

    def may_fail(self) -> None:
        """Count a write or sync; raise if it is the one that fails."""
        self.calls += 1
        if self.failure and self.failure.hits(self.calls - 1):
            raise OSError(self.failure.number, os.strerror(self.failure.number))

    def sync(self, path: str, call: Callable[[], None]) -> None:
        try:
            self.may_fail()
        except OSError:
            self.log.append(Sync(path, failed=True))
            raise
        call()
        self.log.append(Sync(path))

    # Python's own file calls: what is written by them is seen when it is synced.

    def _wrap_fsync(self, fsync: Callable[[int], None]) -> Callable[[int], None]:
        def watched(fd: int) -> None:
            path = os.readlink(f"/proc/self/fd/{fd}")
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                fsync(fd)
                self.log.append(SyncFolder())
            elif self.has(path):
                self.log.extend([Create(path), Write(path, 0, Path(path).read_bytes())])
                self.may_fail()
                self.sync(path, lambda: fsync(fd))
            else:
                fsync(fd)

        return watched

    def _wrap_rename(self, rename: Callable[..., None]) -> Callable[..., None]:
        def watched(path: Any, target: Any) -> None:
            rename(path, target)
            if self.has(os.fspath(path)):
                self.log.append(Rename(os.fspath(path), os.fspath(target)))

        return watched

    def _wrap_unlink(self, unlink: Callable[..., None]) -> Callable[..., None]:
        def watched(path: Any, **options: Any) -> None:
            unlink(path, **options)
            if self.has(os.fspath(path)):
                self.log.append(Delete(os.fspath(path)))

        return watched


def _unraisable(usual: Callable[[Any], None], what: Any) -> None:
    """Of two failures in one statement APSW raises one; SQLite has the codes of both."""
    if not isinstance(what.exc_value, apsw.Error):
        usual(what)


class _Vfs(apsw.VFS):
    """SQLite's calls to the disk."""

    def __init__(self, disk: Disk) -> None:
        self.disk, self.vfs_name = disk, f"watched-{id(disk)}"
        super().__init__(self.vfs_name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        if not Path(path).exists():
            self.disk.log.append(Create(path))
        return _File(self.disk, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self.disk.log.append(Delete(filename))
        if syncdir:
            self.disk.log.append(SyncFolder())


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, path: str, name: Any, flags: list[int]) -> None:
        self._disk, self._path = disk, path
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        try:
            self._disk.may_fail()
        except OSError as e:
            self._put(data[: len(data) // 2], offset)  # a full disk takes what it has room for
            raise _SQLITE_SAYS[e.errno or 0](str(e)) from e
        self._put(data, offset)

    def _put(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.log.append(Write(self._path, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._disk.log.append(Truncate(self._path, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        try:
            self._disk.sync(self._path, lambda: super(_File, self).xSync(flags))
        except OSError as e:
            raise apsw.IOError(str(e)) from e


_SQLITE_SAYS = {errno.ENOSPC: apsw.FullError, errno.EIO: apsw.IOError}


class Connection:
    """As much of `sqlite3.Connection` over APSW as the outbox uses, with SQLite's errors as `sqlite3` words them."""

    def __init__(self, database: str, vfs: str, synchronous: str, *, uri: bool) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_URI if uri else apsw.SQLITE_OPEN_CREATE)
        self._synchronous = synchronous
        with _errors():
            self._db = apsw.Connection(database, flags=flags, vfs=vfs)
            self._db.wal_autocheckpoint(AUTOCHECKPOINT_PAGES)
        self.text_factory: Any = str

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        if sql == "PRAGMA synchronous = FULL":
            sql = f"PRAGMA synchronous = {self._synchronous}"
        with _errors():
            return Cursor(self._db, self._db.execute(sql, values))

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with _errors():
            self._db.executemany(sql, rows)

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def close(self) -> None:
        with _errors():
            self._db.close(True)


class Cursor:
    def __init__(self, db: apsw.Connection, cursor: apsw.Cursor) -> None:
        self._cursor = cursor
        self.lastrowid = db.last_insert_rowid()

    def __iter__(self) -> Iterator[Any]:
        with _errors():
            yield from self._cursor

    def fetchone(self) -> Any:
        with _errors():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return list(self)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as e:
        damaged = isinstance(e, apsw.CorruptError | apsw.NotADBError)
        error = (sqlite3.DatabaseError if damaged else sqlite3.OperationalError)(str(e))
        error.sqlite_errorcode = getattr(e, "extendedresult", 0)
        raise error from e

"""The outbox's file: how it is opened, how its faults are worded, and what becomes of a damaged one."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from pathlib import Path
from typing import NamedTuple

from edgeagent.errors import StorageFault
from edgeagent.records import Draft, Priority

NAME = "outbox.db"
DAMAGED = "outbox.damaged-*.db"
SCHEMA = 2
PAGE_BYTES = 4096
_CHECK_BYTES = 64_000_000  # a larger file is checked page by page, as it is read: start-up must be quick
_CHUNK_BYTES = 1 << 20
_COMPANIONS = ("-wal", "-shm", "-journal")

# `row` is priority << 48 | number: the table itself is in order of worth, then of age, so that taking,
# eviction and insertion need no index, and no wall clock. `waiting` is a mask of upstreams; bit 0 says that
# no upstream was configured when the records were made. `n` records lie in the payload (parcels.py), and have the
# numbers from `row` on. `file` names what holds a large record (blobs.py): the payload then is its id alone.
_TABLES = (
    """CREATE TABLE record (
  row INTEGER PRIMARY KEY, kind TEXT NOT NULL, waiting INTEGER NOT NULL, accepted INTEGER NOT NULL,
  payload BLOB NOT NULL, file TEXT, n INTEGER NOT NULL DEFAULT 1
) STRICT""",
    "CREATE INDEX record_file ON record (file) WHERE file IS NOT NULL",
    "CREATE TABLE upstream (bit INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT",
    """CREATE TABLE counter (
  what TEXT NOT NULL, upstream TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL,
  PRIMARY KEY (what, upstream, kind)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE quarantine (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, upstream TEXT NOT NULL, reason TEXT NOT NULL,
  payload BLOB NOT NULL, file TEXT
) STRICT""",
)

_N = "n INTEGER NOT NULL DEFAULT 1"  # schema 1 had a record a row, and this column not


class SetAside(NamedTuple):
    """A file that could not be used: where it lies now, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        kept = f"it is kept as {self.path}, what can be read of it is queued again"
        return f"the outbox was damaged ({self.reason}): {kept}"

    def gap(self, mono_ns: int) -> Draft:
        """The record that tells upstream."""
        body = {"type": "set_aside", "cause": self.reason, "file": self.path.name}
        return Draft("gap", mono_ns, Priority.EVENT, body)


class _Damaged(Exception):
    """The file is no outbox of ours, or not any more."""


def open_database(folder: Path) -> tuple[sqlite3.Connection, SetAside | None]:
    """Open the outbox of a folder; a damaged one is set aside, and a new one takes its place.

    Raises StorageFault if the folder cannot be written, the disk fails, or another process has it open.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        aside = None if path.exists() else _set_aside_companions(path)
        if not path.exists():
            _create(path)
        try:
            return _open(path), aside
        except _Damaged as e:
            aside = set_aside(path, str(e))
        _create(path)
        return _open(path), aside
    except (OSError, sqlite3.Error) as e:
        raise fault(e, folder) from e


def set_aside(path: Path, reason: str) -> SetAside:
    """Rename the file and its companions, so that they can be looked into and never stand in the way."""
    tag = secrets.token_hex(4)  # not a time: the clock may be wrong, and never twice the same
    target = path.with_name(f"{path.stem}.damaged-{tag}{path.suffix}")  # as DAMAGED has it
    for part, moved in zip((path, *companions(path)), (target, *companions(target)), strict=True):
        if part.exists():
            part.rename(moved)
    target.touch()  # a log alone may have something to salvage
    sync_folder(path.parent)
    return SetAside(target, reason)


def companions(path: Path) -> list[Path]:
    """The logs that SQLite may keep beside a database."""
    return [path.with_name(path.name + suffix) for suffix in _COMPANIONS]


def is_damage(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the content of the file is wrong, not that the disk is."""
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def fault(error: OSError | sqlite3.Error, folder: Path) -> StorageFault:
    """What went wrong, and what to do about it."""
    code = _code(error) if isinstance(error, sqlite3.Error) else _BY_ERRNO.get(error.errno or 0, 0)
    if code in _ACCESS:  # SQLite names the call that failed, the file system the reason
        code = sqlite3.SQLITE_READONLY if _is_read_only(folder) else code or sqlite3.SQLITE_CANTOPEN
    what, hint = _CAUSES.get(code, _CAUSES[sqlite3.SQLITE_CANTOPEN])
    return StorageFault(f"{what} ({error})", where=str(folder), hint=hint)


def _is_read_only(folder: Path) -> bool:
    try:
        on_read_only_disk = bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False
    file = folder / NAME
    return on_read_only_disk or (file.exists() and not os.access(file, os.W_OK))


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 if the error is Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


_ACCESS = (0, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
_BY_ERRNO = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EIO: sqlite3.SQLITE_IOERR,
}
_DAMAGE = ("the outbox is damaged", "It is set aside, and a new one is begun.")
_CAUSES = {
    sqlite3.SQLITE_FULL: ("the disk is full", "Delete what is not needed, or lower outbox.max_size."),
    sqlite3.SQLITE_IOERR: (
        "the disk reports an error",
        "Look at `dmesg`; an SD card that does this is worn out.",
    ),
    sqlite3.SQLITE_READONLY: (
        "the outbox is read-only",
        "Linux makes a disk read-only after errors: look at `dmesg`, check the card, mount it writable; "
        "else the user of edgeagent must own the file.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the outbox cannot be opened",
        "The folder must be one that the user of edgeagent may write; `state:` says where it is.",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process has the outbox open",
        "Only one agent may use a state folder: stop the other, or give this one a `state:` of its own.",
    ),
    sqlite3.SQLITE_CORRUPT: _DAMAGE,
    sqlite3.SQLITE_NOTADB: _DAMAGE,
}


def _create(path: Path) -> None:
    """Make the file under another name first: under its own it is whole, or damage."""
    young = path.with_name(path.name + ".new")
    young.unlink(missing_ok=True)
    db = sqlite3.connect(young, isolation_level=None)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        db.execute("PRAGMA journal_mode = OFF")  # a half-made file is made again
        db.execute("BEGIN")
        for table in _TABLES:
            db.execute(table)
        db.execute(f"PRAGMA user_version = {SCHEMA}")
        db.execute("COMMIT")
    finally:
        db.close()
    young.rename(path)
    sync_folder(path.parent)


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        db.text_factory = lambda text: text.decode(
            "utf-8", "replace"
        )  # altered text is not worth an exception
        if path.stat().st_size == 0:
            raise _Damaged("the file is empty")
        _write_anew(path.with_name(path.name + "-wal"))
        # One process only; and without the -shm file, whose pages a full disk turns into SIGBUS.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA journal_size_limit = 4000000")
        db.execute("PRAGMA secure_delete = FAST")  # what is free need not be written once more, as zeros
        _upgrade(db)
    except BaseException as e:
        db.close()
        # UnicodeDecodeError: SQLite quotes an altered table definition; ERROR: a format that it does not know.
        if isinstance(e, UnicodeDecodeError) or (
            isinstance(e, sqlite3.Error) and (is_damage(e) or _code(e) == sqlite3.SQLITE_ERROR)
        ):
            raise _Damaged(str(e)) from e
        raise
    return db


def _write_anew(log: Path) -> None:
    """Write a file's own bytes over it, and sync.

    Where a sync has failed, the kernel takes what was written before it for clean: it can still be read, is
    perhaps not on the disk, and no later sync puts it there. What is read from the log must be there.
    """
    if not log.exists():
        return
    with log.open("r+b") as f:
        while chunk := f.read(_CHUNK_BYTES):
            f.seek(-len(chunk), os.SEEK_CUR)
            f.write(chunk)
        f.flush()
        os.fsync(f.fileno())


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Whether it is an outbox, of this schema or the one before, and sound."""
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if schema not in (SCHEMA, SCHEMA - 1):
        raise _Damaged(f"it has schema {schema}, this edgeagent reads {SCHEMA}")
    tables = {_bare(sql) for (sql,) in db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
    added = "" if schema == SCHEMA else f", {_N}"
    if tables != {_bare(table.replace(added, "")) for table in _TABLES}:
        raise _Damaged("its tables are not those of an outbox")
    if path.stat().st_size <= _CHECK_BYTES:
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Damaged(verdict)


def _bare(sql: str) -> str:
    """Without white space: SQLite leaves some where a column has been added."""
    return "".join(sql.split())


def _upgrade(db: sqlite3.Connection) -> None:
    """From schema 1. No row is written anew: each is a parcel of one record."""
    (schema,) = db.execute("PRAGMA user_version").fetchone()
    if schema == SCHEMA:
        return
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"ALTER TABLE record ADD COLUMN {_N}")
    db.execute(f"PRAGMA user_version = {SCHEMA}")
    db.execute("COMMIT")


def _set_aside_companions(path: Path) -> SetAside | None:
    """A log without its database would be replayed into the next one."""
    if any(log.exists() for log in companions(path)):
        return set_aside(path, "the database is gone, its log is not")
    return None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

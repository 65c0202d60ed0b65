"""An outbox as it was when each record had a row of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
from outboxes import RUN

from edgeagent.outbox.files import NAME, PAGE_BYTES
from edgeagent.outbox.parcels import Parcel
from edgeagent.records import Priority, Record

SCHEMA_1 = (
    """CREATE TABLE record (
  row INTEGER PRIMARY KEY, kind TEXT NOT NULL, waiting INTEGER NOT NULL, accepted INTEGER NOT NULL,
  payload BLOB NOT NULL, file TEXT
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


def encoded_records(count: int) -> list[bytes]:
    return [
        msgspec.msgpack.encode(
            Record(
                f"d/{RUN}/{n}", "event", RUN, "b", n, None, "unsynced", Priority.EVENT, {"data": bytes(300)}
            )
        )
        for n in range(1, count + 1)
    ]


def old_outbox(folder: Path) -> list[Parcel]:
    """An outbox as schema 1 had it, made by its own SQL: three records, one of them delivered to one upstream."""
    folder.mkdir()
    db = sqlite3.connect(folder / NAME, isolation_level=None)
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    for table in SCHEMA_1:
        db.execute(table)
    db.execute("PRAGMA user_version = 1")
    db.executemany("INSERT INTO upstream VALUES (?, ?)", [(1, "fleet"), (2, "plant")])
    first = Priority.EVENT << 48
    rows = [
        (first + n, "event", 6 - 4 * (n == 1), int(n == 1), one, None)
        for n, one in enumerate(encoded_records(3))
    ]
    db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.executemany(
        "INSERT INTO counter VALUES (?, ?, ?, ?)",
        [
            ("made", "", "event", 3),
            ("waiting", "", "event", 3),
            ("waiting", "fleet", "event", 3),
            ("waiting", "plant", "event", 2),
            ("delivered", "", "event", 1),
            ("delivered", "plant", "event", 1),
            ("seq", RUN, "", 3),
        ],
    )
    db.close()
    return [Parcel(*row, n=1) for row in rows]

"""Batches into the dataset folder: each record once, and durable before it is acknowledged."""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from weakref import finalize

from edgeagent.collector import dataset, known
from edgeagent.collector.incoming import Ready, ready
from edgeagent.collector.tokens import ANYONE, Devices
from edgeagent.errors import StorageFault

NOTE_BYTES = 100_000_000
"""After so many bytes of lines `known.json` is written anew: no more has to be read after a crash."""

Refusal = str | None
"""Why a record is refused; None: it is stored."""


class _Batch:
    """Somebody's records on their way, and whether they have arrived."""

    __slots__ = ("error", "is_done", "records")

    def __init__(self, records: Sequence[Ready]) -> None:
        self.records = records
        self.error: Exception | None = None
        self.is_done = False


def utc() -> datetime:
    return datetime.now(UTC)


class Store:
    """A dataset folder that is written to. Safe to use from several threads, and by one process at a time.

    Opening it cuts off the line that a crash cut short, and reads back which ids are there already.
    Raises StorageFault if the folder cannot be used.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = utc, note_bytes: int = NOTE_BYTES) -> None:
        self.folder, self._now, self._note_bytes = folder, now, note_bytes
        self._lock = Lock()
        self._waiting: deque[_Batch] = deque()
        self._let_go = finalize(self, os.close, _alone(folder))
        self._unnoted_bytes = 0
        try:
            for part in (dataset.records_folder(folder), dataset.samples_folder(folder)):
                part.mkdir(parents=True, exist_ok=True)
                dataset.sync_folder(part)
            for young in dataset.samples_folder(folder).glob(".*.tmp"):
                young.unlink()
            self._ids, self._whole_bytes = known.read_back(folder)
        except StorageFault:
            raise
        except OSError as e:
            raise dataset.unwritable(e, folder) from e

    def close(self) -> None:
        """Let another process have the folder."""
        with self._lock:
            if self._let_go.alive:
                self._note()
            self._let_go()

    def add(self, payloads: Sequence[bytes], devices: Devices = ANYONE) -> list[Refusal]:
        """Store a batch: for each record, in order, None (it is durable) or why it is refused.

        Whoever sends it may speak for `devices`. Raises StorageFault if the disk fails; then none of it is to be
        acknowledged.
        """
        received = f"{self._now():%Y-%m-%dT%H:%M:%SZ}".encode()
        found = [ready(payload, received, devices) for payload in payloads]
        batch = _Batch([one for one in found if isinstance(one, Ready)])
        self._waiting.append(batch)
        with self._lock:
            if not batch.is_done:  # whoever has the lock stores, and syncs, what all have brought meanwhile
                self._add([self._waiting.popleft() for _ in range(len(self._waiting))])
        if isinstance(batch.error, OSError):
            raise dataset.unwritable(batch.error, self.folder) from batch.error
        if batch.error:
            raise batch.error
        return [None if isinstance(one, Ready) else one for one in found]

    def _add(self, batches: Sequence[_Batch]) -> None:
        error: Exception | None = None
        try:
            self._store([record for batch in batches for record in batch.records])
        except Exception as e:  # it is raised where each waits
            error = e
        for batch in batches:
            batch.error, batch.is_done = error, True

    def _store(self, records: Sequence[Ready]) -> None:
        """Write what is not here yet: samples' files before the lines that speak of them."""
        new = {
            (record.run, record.number): record
            for record in records
            if record.number not in self._ids.of(record.run)
        }
        if files := [file for record in new.values() for file in record.files]:
            samples = dataset.samples_folder(self.folder)
            for file in files:
                dataset.write_whole(samples / file.name, file.content)
            dataset.sync_folder(samples)
        days: defaultdict[str, list[Ready]] = defaultdict(list)
        for record in new.values():
            days[record.day].append(record)
        for day, its in days.items():
            self._append(dataset.records_folder(self.folder) / f"{day}.jsonl", [one.line for one in its])
            for record in its:
                self._ids.of(record.run).add(record.number)
        if self._unnoted_bytes >= self._note_bytes:
            self._note()

    def _append(self, file: Path, lines: Sequence[bytes]) -> None:
        """Add lines after the last one known to be whole: what a failed append left there is written over."""
        whole_bytes, text = self._whole_bytes.get(file, 0), b"".join(lines)
        is_new = file not in self._whole_bytes
        with file.open("ab") as f:
            f.truncate(whole_bytes)
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        if is_new:
            dataset.sync_folder(file.parent)
        self._whole_bytes[file] = whole_bytes + len(text)
        self._unnoted_bytes += len(text)

    def _note(self) -> None:
        """Where that fails the lines are read again at the next start."""
        self._unnoted_bytes = 0
        with suppress(OSError):
            known.note(self.folder, self._ids, self._whole_bytes)


def _alone(folder: Path) -> int:
    """A descriptor that holds the folder for this process until it is closed. Raises StorageFault if another has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise dataset.unwritable(e, folder) from e
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(descriptor)
        hint = "Stop the collector that runs on it; its devices keep what they have meanwhile."
        raise StorageFault("another process writes to the dataset", where=str(folder), hint=hint) from e
    return descriptor

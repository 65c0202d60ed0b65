"""Batches into the dataset folder: each record once, and durable before it is acknowledged."""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from weakref import finalize

from edgeagent.collector import dataset
from edgeagent.collector.tokens import ANYONE, Devices, speaks_for
from edgeagent.errors import StorageFault
from edgeagent.records import Record
from edgeagent.upstream.codec import decode_record, file_name

_CHUNK_BYTES = 1 << 16

Refusal = str | None
"""Why a record is refused; None: it is stored."""


class _Batch:
    """Somebody's records on their way, and what became of them."""

    __slots__ = ("devices", "error", "is_done", "payloads", "refusals")

    def __init__(self, payloads: Sequence[bytes], devices: Devices) -> None:
        self.payloads, self.devices = payloads, devices
        self.refusals: list[Refusal] = []
        self.error: Exception | None = None
        self.is_done = False


def utc() -> datetime:
    return datetime.now(UTC)


class Store:
    """A dataset folder that is written to. Safe to use from several threads, and by one process at a time.

    Opening it cuts off the line that a crash cut short, and reads back the ids that are there already.
    Raises StorageFault if the folder cannot be used.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = utc) -> None:
        self.folder, self._now = folder, now
        self._lock = Lock()
        self._waiting: deque[_Batch] = deque()
        self._let_go = finalize(self, os.close, _alone(folder))
        self._has_new_samples = False
        self._whole_bytes: dict[Path, int] = {}
        try:
            for part in (dataset.records_folder(folder), dataset.samples_folder(folder)):
                part.mkdir(parents=True, exist_ok=True)
                dataset.sync_folder(part)
            for file in dataset.records_folder(folder).glob("*.jsonl"):
                self._whole_bytes[file] = _cut_torn_line(file)
            for young in dataset.samples_folder(folder).glob(".*.tmp"):
                young.unlink()
        except OSError as e:
            raise dataset.unwritable(e, folder) from e
        self._ids = {entry["id"] for entry in dataset.lines(folder)}

    def close(self) -> None:
        """Let another process have the folder."""
        with self._lock:
            self._let_go()

    def add(self, payloads: Sequence[bytes], devices: Devices = ANYONE) -> list[Refusal]:
        """Store a batch: for each record, in order, None (it is durable) or why it is refused.

        Whoever sends it may speak for `devices`. Raises StorageFault if the disk fails; then none of it is to be
        acknowledged.
        """
        batch = _Batch(payloads, devices)
        self._waiting.append(batch)
        with self._lock:
            if not batch.is_done:  # whoever has the lock stores, and syncs, what all have brought meanwhile
                self._add([self._waiting.popleft() for _ in range(len(self._waiting))])
        if isinstance(batch.error, OSError):
            raise dataset.unwritable(batch.error, self.folder) from batch.error
        if batch.error:
            raise batch.error
        return batch.refusals

    def _add(self, batches: Sequence[_Batch]) -> None:
        error: Exception | None = None
        try:
            self._store(batches)
        except Exception as e:  # it is raised where each waits
            error = e
        for batch in batches:
            batch.error, batch.is_done = error, True

    def _store(self, batches: Sequence[_Batch]) -> None:
        new: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        received = f"{self._now():%Y-%m-%dT%H:%M:%SZ}"
        for batch in batches:
            batch.refusals = [self._take(payload, batch.devices, received, new) for payload in batch.payloads]
        if self._has_new_samples:
            dataset.sync_folder(dataset.samples_folder(self.folder))
            self._has_new_samples = False
        for day, lines in new.items():
            self._append(dataset.records_folder(self.folder) / f"{day}.jsonl", b"".join(lines.values()))
            self._ids.update(lines)

    def _take(
        self, payload: bytes, devices: Devices, received: str, new: defaultdict[str, dict[str, bytes]]
    ) -> Refusal:
        """Make a line of a record that is not here yet, among the new ones of its day; or say why not."""
        try:
            record = decode_record(payload)
            if not speaks_for(devices, device := record.id.partition("/")[0]):
                return f"{device!r} is not the device that sends it"
            if record.id not in self._ids:
                day = dataset.day(record, received)
                if record.id not in new.get(day, ()):
                    new[day][record.id] = self._line(record, received)
        except ValueError as e:
            return str(e)
        return None

    def _line(self, record: Record, received: str) -> bytes:
        """The record's line; a sample's files are written before it. Raises ValueError if it is malformed."""
        if record.kind != "sample":
            return dataset.line(record, received, None)
        self._has_new_samples = True
        name = file_name(record.id)
        (suffix, raw), line = dataset.raw_file(record), dataset.line(record, received, name)
        dataset.write_whole(dataset.samples_folder(self.folder) / f"{name}.{suffix}", raw)
        dataset.write_whole(dataset.samples_folder(self.folder) / f"{name}.json", line)
        return line

    def _append(self, file: Path, text: bytes) -> None:
        """Add lines after the last one known to be whole: what a failed append left there is written over."""
        whole_bytes = self._whole_bytes.get(file, 0)
        is_new = file not in self._whole_bytes
        with file.open("ab") as f:
            f.truncate(whole_bytes)
            f.write(text)
            f.flush()
            os.fsync(f.fileno())
        if is_new:
            dataset.sync_folder(file.parent)
        self._whole_bytes[file] = whole_bytes + len(text)


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


def _cut_torn_line(file: Path) -> int:
    """Cut off what follows the last newline, make the rest durable, and say how long it is in bytes."""
    with file.open("rb+") as f:
        whole_bytes = _after_last_newline(f)
        if whole_bytes < f.seek(0, os.SEEK_END):  # a file that is whole keeps its time of change
            f.truncate(whole_bytes)
        os.fsync(f.fileno())
    return whole_bytes


def _after_last_newline(f: BinaryIO) -> int:
    end = f.seek(0, os.SEEK_END)
    while end:
        start = max(end - _CHUNK_BYTES, 0)
        f.seek(start)
        at = f.read(end - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0

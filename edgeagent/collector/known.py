"""What a dataset holds already, read back at the start: from `known.json`, and from the lines that came after it.

The lines are the truth, the file only saves time: it says which ids are in so many bytes of each day's file. Where
these bytes are not as they were, all lines are read. Two lines: JSON, and its SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from edgeagent.collector import dataset
from edgeagent.collector.ids import Ids, Span

_NAME = "known.json"
_CHUNK_BYTES = 1 << 16
_SEAL_BYTES = 4096


class _Read(NamedTuple):
    """So many bytes of a file have been read, and the CRC-32 of the last of them."""

    size_bytes: int
    seal: int


class _Known(msgspec.Struct, frozen=True):
    files: dict[str, _Read]
    runs: dict[str, list[Span]]


def read_back(folder: Path) -> tuple[Ids, dict[Path, int]]:
    """The ids that are in the folder, and how long each day's file is up to its last whole line.

    What follows that line was cut short by a crash, and is cut off. Raises OSError, and StorageFault if a line is no
    record.
    """
    sizes_bytes = {file: _cut_torn_line(file) for file in dataset.day_files(folder)}
    known = _known(folder)
    ids = Ids(known.runs)
    for file, size_bytes in sizes_bytes.items():
        start = known.files[file.name].size_bytes if file.name in known.files else 0
        if start < size_bytes:
            for head in dataset.lines_of(file, start):
                ids.add(head["id"])
    return ids, sizes_bytes


def note(folder: Path, ids: Ids, sizes_bytes: Mapping[Path, int]) -> None:
    """Write down what need not be read again; only what is durable may be in it. Raises OSError."""
    files = {
        file.name: _Read(size_bytes, _seal(file, size_bytes)) for file, size_bytes in sizes_bytes.items()
    }
    text = msgspec.json.encode(_Known(files, ids.spans()))
    dataset.write_whole(folder / _NAME, b"%b\n%b\n" % (text, _sha256(text)))
    dataset.sync_folder(folder)


def _known(folder: Path) -> _Known:
    """What was noted, if it still is so; nothing if any of it is not."""
    try:
        text, seal = (folder / _NAME).read_bytes().splitlines()
        known = msgspec.json.decode(text, type=_Known)
        records = dataset.records_folder(folder)
        if seal == _sha256(text) and all(
            _seal(records / name, read.size_bytes) == read.seal for name, read in known.files.items()
        ):
            return known
    except (OSError, ValueError):  # there is none, or a file of lines is gone
        pass
    return _Known({}, {})


def _sha256(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode()


def _seal(file: Path, size_bytes: int) -> int:
    """Of the last bytes up to a size: another one if lines before it were taken out or put in."""
    with file.open("rb") as f:
        f.seek(max(size_bytes - _SEAL_BYTES, 0))
        return zlib.crc32(f.read(size_bytes - f.tell()), size_bytes)


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

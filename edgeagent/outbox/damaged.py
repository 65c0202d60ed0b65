"""What can still be read of a damaged outbox: parcel by parcel, from each page on which some begin.

What spoils a file seldom spoils all of it, but SQLite finds a row only from the root down. So the pages are read
one by one (https://www.sqlite.org/fileformat2.html), as the log beside them left them, and a row counts if it
is whole. Pages on the list of free ones are passed over: what they hold has been delivered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

from edgeagent.outbox.files import PAGE_BYTES
from edgeagent.outbox.parcels import PRIORITY_SHIFT, find_records
from edgeagent.records import Kind, Priority

_LEAF = 0x0D
_LOCAL_BYTES = PAGE_BYTES - 35  # a longer row continues on other pages
_LEAST_LOCAL_BYTES = (PAGE_BYTES - 12) * 32 // 255 - 23
_CHAIN_BYTES = PAGE_BYTES - 4
_LONGEST_ROW_BYTES = 200_000_000
_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)
_FRAME_BYTES = 24 + PAGE_BYTES
_KINDS = [kind.encode() for kind in get_args(Kind)]


class Found(NamedTuple):
    """A parcel that could be read: its row, what looks like its records, and the file that holds a large one."""

    row: int
    records: list[bytes]
    file: str | None


class DamagedFile:
    """A database that was set aside, with its log. Nothing of it is changed. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._log_at: dict[int, int] = {}
        log = path.with_name(f"{path.name}-wal")
        self._log = log.open("rb") if log.exists() else None
        self._read_log()
        self.pages = max([-(-path.stat().st_size // PAGE_BYTES), *self._log_at])
        self._free = self._free_pages()

    def close(self) -> None:
        self._file.close()
        if self._log:
            self._log.close()

    def rows(self, page: int) -> Iterator[Found]:
        """The parcels that begin on a page; pages are counted from 1."""
        content = self._page(page)
        if page in self._free or content[:1] != bytes([_LEAF]):
            return
        (cells,) = struct.unpack_from(">H", content, 3)
        for at in range(8, min(8 + 2 * cells, PAGE_BYTES - 1), 2):
            try:
                yield from self._record(content, *struct.unpack_from(">H", content, at))
            except (IndexError, ValueError, struct.error):
                continue  # not a row, or not a whole one

    def _record(self, page: bytes, at: int) -> Iterator[Found]:
        """The row at a place of a page, if it is one of table `record`."""
        size, at = _varint(page, at)
        row, at = _varint(page, at)
        if row >> PRIORITY_SHIFT not in list(Priority):
            return
        _, kind, _, _, payload, file, *_ = _columns(self._row(page, at, size))
        if kind in _KINDS and payload:
            yield Found(row, find_records(payload), file.decode() if file else None)

    def _row(self, page: bytes, at: int, size: int) -> bytes:
        """All bytes of a row, also those on other pages."""
        if size <= _LOCAL_BYTES:
            return page[at : at + size]
        if size > _LONGEST_ROW_BYTES:
            raise ValueError("no row is as long as that")
        local = _LEAST_LOCAL_BYTES + (size - _LEAST_LOCAL_BYTES) % _CHAIN_BYTES
        local = local if local <= _LOCAL_BYTES else _LEAST_LOCAL_BYTES
        parts = [page[at : at + local]]
        (next_page,) = struct.unpack_from(">I", page, at + local)
        for _ in range(-(-(size - local) // _CHAIN_BYTES)):
            content = self._page(next_page)
            (next_page,) = struct.unpack_from(">I", content)
            parts.append(content[4:])
        return b"".join(parts)[:size]

    def _page(self, page: int) -> bytes:
        """A page as the log left it; empty beyond the end."""
        if self._log and page in self._log_at:
            self._log.seek(self._log_at[page])
            return self._log.read(PAGE_BYTES)
        if page < 1:
            return b""
        self._file.seek((page - 1) * PAGE_BYTES)
        try:
            return self._file.read(PAGE_BYTES)
        except OSError:  # a bad block of the disk
            return b""

    def _read_log(self) -> None:
        """Where the newest committed version of each page lies in the log."""
        if not self._log:
            return
        salts = self._log.read(32)[16:24]
        at, pending = 32, dict[int, int]()
        while len(head := self._log.read(_FRAME_BYTES)[:24]) == 24 and head[8:16] == salts:
            page, committed = struct.unpack_from(">II", head)
            pending[page] = at + 24
            at += _FRAME_BYTES
            if committed:
                self._log_at.update(pending)
                pending.clear()

    def _free_pages(self) -> set[int]:
        """The pages that hold nothing any more, as far as the list of them can be followed."""
        free: set[int] = set()
        head = self._page(1)
        trunk = struct.unpack_from(">I", head, 32)[0] if len(head) == PAGE_BYTES else 0
        while 0 < trunk <= self.pages and trunk not in free:
            free.add(trunk)
            content = self._page(trunk)
            if len(content) < PAGE_BYTES:
                break
            trunk, count = struct.unpack_from(">II", content)
            free.update(struct.unpack_from(f">{min(count, PAGE_BYTES // 4 - 2)}I", content, 8))
        return free


def _columns(row: bytes) -> list[bytes | None]:
    """A row's columns, the numbers among them as they are stored. Raises ValueError if it is cut short."""
    end, at = _varint(row, 0)
    columns: list[bytes | None] = []
    place = end
    while at < end:
        kind, at = _varint(row, at)
        size = (kind - 12) // 2 if kind >= 12 else _INTEGER_BYTES[kind] if kind < 7 else 0
        columns.append(row[place : place + size] if kind else None)
        place += size
    if place != len(row):
        raise ValueError("the row is not whole")
    return columns


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """SQLite's number of 1 to 9 bytes, and where it ends. Raises IndexError."""
    value = 0
    for byte in range(8):
        value = value << 7 | data[at + byte] & 0x7F
        if data[at + byte] < 0x80:
            return value, at + byte + 1
    return value << 8 | data[at + 8], at + 9

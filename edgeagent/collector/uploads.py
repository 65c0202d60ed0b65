"""Large records that come in pieces: each under the SHA-256 of the whole, until a batch refers to it."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from threading import Lock

from edgeagent.errors import StorageFault

MAX_BYTES = 256_000_000
KEPT = 100  # unfinished ones: a device that never comes back leaves no more than these
_NAME = re.compile(r"[0-9a-f]{64}")


class Refused(ValueError):
    """A piece does not fit; the upload goes on at `offset`."""

    def __init__(self, why: str, offset: int) -> None:
        super().__init__(why)
        self.offset = offset


class Uploads:
    """A folder of pieces. Safe to use from several threads. Raises StorageFault where the disk fails."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()

    def offset(self, name: str) -> int:
        """How much of it is here. Raises ValueError if the name is no SHA-256."""
        with suppress(FileNotFoundError):
            return self._path(name).stat().st_size
        return 0

    def add(self, name: str, offset: int, total_bytes: int, piece: bytes) -> int:
        """Put a piece where the last one ended, and say how much is here. The last one must make the hash right.

        Raises Refused, or ValueError if the name is no SHA-256.
        """
        with self._lock:
            here = self.offset(name)
            if offset != here or offset + len(piece) > total_bytes:
                raise Refused(f"{here} bytes are here", here)
            try:
                return self._append(self._path(name), offset + len(piece) == total_bytes, piece)
            except OSError as e:
                hint = "The folder must be writable and its disk have room."
                raise StorageFault(f"a piece cannot be written: {e.strerror}", where=name, hint=hint) from e

    def whole(self, name: str) -> bytes | None:
        """What has been uploaded under a name; None if it is not all there."""
        try:
            content = self._path(name).read_bytes()
        except (OSError, ValueError):
            return None
        return content if hashlib.sha256(content).hexdigest() == name else None

    def forget(self, name: str) -> None:
        with suppress(OSError):
            self._path(name).unlink()

    def _append(self, path: Path, is_last: bool, piece: bytes) -> int:  # noqa: FBT001 (of ours alone)
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            self._make_room(path.parent)
        with path.open("ab") as f:
            f.write(piece)
            f.flush()
            os.fsync(f.fileno())
        if is_last and self.whole(path.name) is None:
            path.unlink()
            raise Refused("the whole does not have that SHA-256", 0)
        return path.stat().st_size

    def _make_room(self, folder: Path) -> None:
        by_age = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for path in by_age[: max(len(by_age) - KEPT + 1, 0)]:
            path.unlink()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError("not a SHA-256 in lower case")
        return self._folder / name

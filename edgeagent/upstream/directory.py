"""Records into a folder, or onto a USB stick: `stick: {directory: {path: /media/stick}}`.

A file a batch, as PROTOCOL.md has it, named for its first record and its content: whole or not there, and
never written over by another. Batches of two files may overlap after a power cut: the id tells.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

import msgspec

from edgeagent.config.quantities import FilePath
from edgeagent.errors import UpstreamFault
from edgeagent.upstream import Name, Result
from edgeagent.upstream.codec import encode_batch, file_name, id_of


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`path` must be there already: a stick that is not mounted must not fill the card it would hide."""

    path: FilePath


def build(name: str, options: Options, device: str) -> Directory:
    del device
    return Directory(name, options)


class Directory:
    """Writes a file a batch. `name` is the upstream's: two may write into one folder, and the same batch."""

    def __init__(self, name: str, options: Options) -> None:
        self.bytes_sent = 0
        self._name = quote(name, safe="")
        self._folder = options.path

    def send(self, batch: Mapping[Name, bytes]) -> Result:
        if not batch:
            if not os.access(self._folder, os.W_OK):
                raise self._fault("is not there, or cannot be written")
            return Result()
        records = list(batch.values())
        body = encode_batch(records)
        name = f"{file_name(id_of(records[0]))},{hashlib.sha256(body).hexdigest()[:8]}"
        target = self._folder / f"{name}.msgpack"
        young = self._folder / f".{name}.{self._name}.tmp"
        self.bytes_sent += len(body)
        try:
            with young.open("wb") as f:
                f.write(body)
                f.flush()
                os.fsync(f.fileno())
            young.rename(target)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as e:
            with suppress(OSError):  # on a full stick it would take room from those to come
                young.unlink()
            raise self._fault(f"cannot be written: {e.strerror}") from e
        return Result(accepted=frozenset(batch))

    def _fault(self, what: str) -> UpstreamFault:
        hint = "Is the stick in, mounted and writable, and has it room?"
        return UpstreamFault(what, where=str(self._folder), hint=hint)

    def idle(self) -> None:
        """Nothing is held open."""

    def close(self) -> None:
        """Nothing is held open."""

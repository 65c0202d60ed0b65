"""What lies in a bucket: records as JSON lines under zstd, samples as WebDataset shards. Bytes only, no network.

A sample is two files of a shard, named for its id: `.json`, the record without its raw data, and `.npy`, the array
[samples, channels] as the sensor gave it, or `.jpg`, the picture as the camera made it.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from backports import zstd

from edgeagent.packing import unpack
from edgeagent.records import MAX_RAW_BYTES, PICTURES, Channel, Raw, Record
from edgeagent.upstream import Name
from edgeagent.upstream.codec import as_json, decode_record, file_name

BLOCK = 4096
"""So many of a run's sequence numbers share a folder, and the letters that say which of them are there."""

UNDATED = "undated"
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6
_PICTURES = {"jpeg": "jpg"}  # the others are called as they are
_DTYPES = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}


class Place(NamedTuple):
    """A folder of the bucket. A record's place is always the same, but for one whose day is found out later."""

    device: str
    date: str
    kind: str
    run: str
    block: int


class Entry(NamedTuple):
    """A record on its way into an object: its place, its number there, and the files it is written as."""

    name: Name
    place: Place
    number: int
    day_came_later: bool
    files: tuple[tuple[str, bytes], ...]


class _Array(Raw, frozen=True, kw_only=True):
    channels: tuple[Channel, ...]


def entry(name: Name, payload: bytes) -> Entry:
    """A record as it will stand in an object. Raises ValueError saying why it cannot."""
    record = decode_record(payload)
    device, run, seq = record.id.split("/")
    block, number = divmod(int(seq), BLOCK)
    date = record.time[:10] if record.time else UNDATED
    files = tuple(_sample(record)) if record.kind == "sample" else (("", as_json(record)),)
    place = Place(device, date, record.kind, run, block)
    return Entry(name, place, number, record.clock == "corrected", files)


def suffix(kind: str) -> str:
    return "tar.gz" if kind == "sample" else "jsonl.zst"


def pack(kind: str, entries: Sequence[Entry]) -> bytes:
    """The bytes of one object."""
    if kind == "sample":
        return _shard(file for one in entries for file in one.files)
    return zstd.compress(b"".join(line + b"\n" for one in entries for _, line in one.files), _ZSTD_LEVEL)


def _sample(record: Record) -> Iterator[tuple[str, bytes]]:
    """The files of one sample; WebDataset takes what stands before the first dot for its name."""
    name = file_name(record.id).replace(".", "%2E")
    about = {k: v for k, v in record.body.items() if k not in ("data", "packing")}
    yield f"{name}.json", as_json(msgspec.structs.replace(record, body=about))
    raw = msgspec.convert(record.body, Raw)
    if raw.encoding in PICTURES:
        yield f"{name}.{_PICTURES.get(raw.encoding, raw.encoding)}", raw.data
    else:
        yield f"{name}.npy", _npy(record)


def _npy(record: Record) -> bytes:
    """The counts or values, [samples, channels]. Raises ValueError if the data does not fit its description."""
    raw = msgspec.convert(record.body, _Array)
    kind, channels = np.dtype(_DTYPES[raw.encoding]), len(raw.channels)
    if not 0 <= raw.samples * channels <= MAX_RAW_BYTES // kind.itemsize:
        raise ValueError(f"{raw.samples} samples of {channels} channels")
    if raw.packing == "none":
        planar = np.frombuffer(raw.data, kind).reshape(channels, raw.samples)
    else:
        planar = unpack(raw.data, channels, raw.samples, kind.str)
    file = io.BytesIO()
    np.save(file, planar.T)
    return file.getvalue()


def _shard(files: Iterator[tuple[str, bytes]]) -> bytes:
    """A tar file of the same bytes for the same files, whenever it is made."""
    shard = io.BytesIO()
    with tarfile.open(fileobj=shard, mode="w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(shard.getvalue(), _GZIP_LEVEL, mtime=0)

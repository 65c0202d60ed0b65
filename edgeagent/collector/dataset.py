"""The dataset folder: plain files that need no edgeagent to be read.

records/DATE.jsonl   one record a line, by the date in the record's own time, or, if it has none, of its arrival
samples/ID.npz       a sample's arrays: values float32[n, channels], t_mono_ns int64[n], names, units
samples/ID.jpg       or .png, .bmp: a sample that is a picture, as the camera made it
samples/ID.json      why it was kept: the record without its raw data
known.json           which ids are in the lines, so that a collector need not read all of them at its start (known.py)
packed/              the same as Parquet and tar shards (pack.py)
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple, TypedDict

import msgspec
import numpy as np

from edgeagent.collector.ids import Ids
from edgeagent.errors import StorageFault
from edgeagent.records import (
    NS_PER_S,
    PICTURES,
    Channel,
    Float32Array,
    Int64Array,
    Raw,
    Record,
    decode_raw,
)

_DATA = "data"
_SLOWEST_HZ, _FASTEST_HZ = 1e-6, 1e12
_LAST_NS = 2**62
_SUFFIXES = {"jpeg": "jpg"}  # the others are called as they are


class _Sample(Raw, frozen=True, kw_only=True):
    """What must be in a sample record's body for its arrays; `t_mono_ns` is the first sample's time."""

    t_start_ns: int
    rate_hz: float
    channels: tuple[Channel, ...]
    t_mono_ns: int | None = None


class Head(TypedDict):
    """What of a line says which record it is."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[^/]+/[0-9a-f]{12}/[1-9][0-9]{0,17}$")]
    kind: str


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(Head).decode


class Summary(NamedTuple):
    """What a dataset folder holds: distinct records by kind, and files of samples."""

    records: int
    kinds: dict[str, int]
    devices: int
    samples: int


def records_folder(folder: Path) -> Path:
    return folder / "records"


def samples_folder(folder: Path) -> Path:
    return folder / "samples"


def day(record: Record, received: bytes) -> str:
    """The name of the file that a record's line goes to, without its suffix.

    One that was made before the device knew the time goes where it arrived: files that are complete stay so.
    """
    return (record.time or received.decode())[:10]


def line(record: Record, received: bytes, sample: str | None = None) -> bytes:
    """A record as JSON, with the newline; `received` is when (RFC 3339, UTC), `sample` names the files of its raw data.

    Raises ValueError if it holds what JSON cannot say.
    """
    try:
        if sample is None:
            return b'%b,"received":"%b"}\n' % (_encode(record)[:-1], received)
        body = {k: v for k, v in record.body.items() if k != _DATA}
        shown = _encode(msgspec.structs.replace(record, body=body))[:-1]
        return b'%b,"received":"%b","sample":"%b"}\n' % (shown, received, sample.encode())
    except (TypeError, RecursionError, OverflowError) as e:
        raise ValueError(f"the body cannot be written as JSON: {e}") from e


def raw_file(record: Record) -> tuple[str, bytes]:
    """Suffix and content of the file for a sample record's raw data. Raises ValueError if it does not fit together."""
    if str(record.body.get("encoding")) not in PICTURES:
        return "npz", arrays(record)
    raw = msgspec.convert(record.body, Raw)
    if not raw.data.startswith(PICTURES[raw.encoding]):
        raise ValueError(f"not a picture of the kind {raw.encoding}")
    return _SUFFIXES.get(raw.encoding, raw.encoding), raw.data


def arrays(record: Record) -> bytes:
    """A sample record's raw data as the bytes of an .npz file. Raises ValueError if it does not fit together."""
    sample = msgspec.convert(record.body, _Sample)
    if not sample.channels or not _SLOWEST_HZ <= sample.rate_hz <= _FASTEST_HZ:
        raise ValueError("a sample needs channels and a rate")
    file = io.BytesIO()
    np.savez(
        file,
        values=_values(sample),
        t_mono_ns=_times(sample),
        names=np.array([c.name for c in sample.channels]),
        units=np.array([c.unit for c in sample.channels]),
    )
    return file.getvalue()


def _values(sample: _Sample) -> Float32Array:
    if sample.samples < 0:  # numpy would take it for "as many as there are"
        raise ValueError(f"{sample.samples} samples")
    with np.errstate(all="ignore"):
        return decode_raw(sample, sample.channels)


def _times(sample: _Sample) -> Int64Array:
    first_ns = sample.t_start_ns if sample.t_mono_ns is None else sample.t_mono_ns
    since_ns = np.rint(np.arange(sample.samples) * (NS_PER_S / sample.rate_hz))
    if abs(first_ns) + float(since_ns.max(initial=0)) > _LAST_NS:
        raise ValueError("the times do not fit into 64 bits")
    times: Int64Array = since_ns.astype(np.int64) + np.int64(first_ns)
    return times


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file so that it is whole and durable, or not there. The folder is the caller's to sync."""
    young = path.with_name(f".{path.name}.tmp")
    with young.open("wb") as f:
        yield f
        f.flush()
        os.fsync(f.fileno())
    young.rename(path)


def write_whole(path: Path, content: bytes) -> None:
    """The same for content that is at hand."""
    with writing_whole(path) as f:
        f.write(content)


def unwritable(error: OSError, folder: Path) -> StorageFault:
    return StorageFault(
        f"the dataset cannot be written: {error.strerror}",
        where=str(error.filename or folder),
        hint="The folder must be writable and its disk have room.",
    )


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def day_files(folder: Path) -> list[Path]:
    return sorted(records_folder(folder).glob("*.jsonl"))


def lines(folder: Path) -> Iterator[Head]:
    """The id and kind of every line in the folder's files. A last line that was cut short is passed over.

    Raises StorageFault if a line is no record.
    """
    for file in day_files(folder):
        yield from lines_of(file)


def lines_of(file: Path, start: int = 0) -> Iterator[Head]:
    """Those of one file, from a byte on at which a line begins."""
    with file.open("rb") as f:
        f.seek(start)
        for number, text in enumerate(f, 1):
            if text.endswith(b"\n"):
                try:
                    yield _decode_head(text)
                except (ValueError, RecursionError) as e:
                    place = f"line {number} after byte {start} of {file}" if start else f"{file}:{number}"
                    hint = "Remove or repair the line; the others are not affected."
                    raise StorageFault(f"not a record ({e})", where=place, hint=hint) from e


def count_ids(folder: Path) -> dict[str, int]:
    """Distinct record ids by kind, read back from the files. Raises StorageFault if a line is no record."""
    return summary(folder).kinds


def summary(folder: Path) -> Summary:
    """What the folder holds, read back from the files. Raises StorageFault."""
    ids = Ids()
    kinds = Counter(head["kind"] for head in lines(folder) if ids.add(head["id"]))
    samples = sum(1 for _ in samples_folder(folder).glob("*.json"))
    return Summary(kinds.total(), dict(sorted(kinds.items())), ids.devices(), samples)

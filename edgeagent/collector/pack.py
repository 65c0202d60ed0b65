"""The dataset folder for training: Parquet and WebDataset shards, made of its plain files (extra `dataset`).

packed/records/DATE.parquet      a row a record, by the days of the plain files
packed/samples/DATE-NNNN.tar     WebDataset: a sample's files one after the other, under the record's `sample`

A day that has changed is packed anew. Each file is whole or not there; a dot in front says that it is not finished.
"""

from __future__ import annotations

import fcntl
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from pyarrow import parquet

from edgeagent.collector.dataset import (
    records_folder,
    samples_folder,
    sync_folder,
    unwritable,
    writing_whole,
)
from edgeagent.errors import StorageFault

SHARD_BYTES = 100_000_000
_ROWS_AT_ONCE = 20_000
_STATE = b"edgeagent.plain"
_SUFFIXES = ("json", "npz", "jpg", "png", "bmp")
_INT64 = range(-(2**63), 2**63)

# What is in the bodies of many records and asked for often: columns of their own, null where a body has none.
_FACTS = {
    "pipeline": str,
    "sensor": str,
    "type": str,
    "label": str,
    "score": float,
    "margin": float,
    "reason": str,
    "probability": float,
}
_TEXTS = ("id", "device", "kind", "run", "boot_id", "clock", "sample")
_TIMES = ("time", "received")
_NUMBERS = ("mono_ns", "priority", "schema")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.timestamp("us", "UTC")) for name in _TIMES),
        *((name, pa.int64()) for name in _NUMBERS),
        *((name, pa.string() if kind is str else pa.float64()) for name, kind in _FACTS.items()),
        ("body", pa.string()),
    ]
)


class Packed(NamedTuple):
    """What one round of packing has written."""

    days: int
    records: int
    shards: int


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    kind: str
    run: str
    boot_id: str
    mono_ns: int
    clock: str
    priority: int
    schema: int
    body: msgspec.Raw
    time: str | None = None
    received: str | None = None
    sample: str | None = None


_decode_line = msgspec.json.Decoder(_Line).decode


def pack(dataset: Path, shard_bytes: int = SHARD_BYTES) -> Packed:
    """Bring `packed/` up to date. A collector may go on writing meanwhile.

    Raises StorageFault if the dataset cannot be read or written, or is being packed already.
    """
    target = dataset / "packed"
    try:
        with _alone(target):
            days = sorted(records_folder(dataset).glob("*.jsonl"))
            done = [_pack_day(dataset, day, target, shard_bytes) for day in days]
    except StorageFault:
        raise
    except OSError as e:
        raise unwritable(e, dataset) from e
    new = [one for one in done if one]
    return Packed(len(new), sum(records for records, _ in new), sum(shards for _, shards in new))


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Nobody else packs here; what was left by one who was killed at it is cleared away."""
    for folder in (target / "records", target / "samples"):
        folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for young in target.glob("*/.*.tmp"):
            young.unlink()
        yield
    except BlockingIOError as e:
        raise StorageFault("it is being packed already", where=str(target)) from e
    finally:
        os.close(descriptor)


def _pack_day(dataset: Path, plain: Path, target: Path, shard_bytes: int) -> tuple[int, int] | None:
    """Records and shards of a day; None if it has not changed. The Parquet file comes last: all is done then."""
    packed, about = target / "records" / f"{plain.stem}.parquet", plain.stat()
    state = f"{about.st_size} {about.st_mtime_ns}".encode()
    if _state(packed) == state:
        return None
    names = (line.sample for line in _lines(plain, about.st_size) if line.sample)
    shards = _write_shards(names, samples_folder(dataset), target / "samples", plain.stem, shard_bytes)
    records = _write_records(_lines(plain, about.st_size), packed, state)
    return records, shards


def _lines(plain: Path, size_bytes: int) -> Iterator[_Line]:
    """The records of a day, so far as the file was written when its size was taken. Raises StorageFault."""
    with plain.open("rb") as f:
        for number, text in enumerate(f, 1):
            if f.tell() > size_bytes or not text.endswith(b"\n"):
                return
            try:
                yield _decode_line(text)
            except ValueError as e:
                hint = "Remove or repair the line; the others are not affected."
                raise StorageFault(f"not a record ({e})", where=f"{plain}:{number}", hint=hint) from e


# --- samples ------------------------------------------------------------------------------------------


def _write_shards(names: Iterable[str], samples: Path, target: Path, day: str, shard_bytes: int) -> int:
    """A day's shards, in the order of its lines: what comes later changes none but the last."""
    written = set()
    for number, files in enumerate(_by_size(names, samples, shard_bytes)):
        shard = target / f"{day}-{number:04}.tar"
        with writing_whole(shard) as f, tarfile.open(fileobj=f, mode="w") as tar:
            for file in files:
                _add(tar, file)
        written.add(shard)
    for old in set(target.glob(f"{day}-*.tar")) - written:
        old.unlink()
    sync_folder(target)
    return len(written)


def _by_size(names: Iterable[str], samples: Path, shard_bytes: int) -> Iterator[list[Path]]:
    """The files of so many samples as a shard has room for; at least one."""
    shard: list[Path] = []
    room_bytes = shard_bytes
    for name in names:
        paths = (samples / f"{name}.{suffix}" for suffix in _SUFFIXES)
        files = [path for path in paths if path.exists()]
        room_bytes -= (size_bytes := sum(file.stat().st_size for file in files))
        if shard and room_bytes < 0:
            yield shard
            shard, room_bytes = [], shard_bytes - size_bytes
        shard += files
    if shard:
        yield shard


def _add(tar: tarfile.TarFile, file: Path) -> None:
    content = tarfile.TarInfo(f"{_key(file.stem)}{file.suffix}")
    content.size = file.stat().st_size
    with file.open("rb") as f:
        tar.addfile(content, f)


def _key(sample: str) -> str:
    """WebDataset takes what stands before the first dot for a sample's name."""
    return sample.replace(".", "%2E")


# --- records ------------------------------------------------------------------------------------------


def _state(packed: Path) -> bytes | None:
    """Of which state of the plain file a Parquet file was made; None if there is none that can be read."""
    try:
        metadata: dict[bytes, bytes] = parquet.read_schema(packed).metadata
    except (OSError, ValueError):
        return None
    return metadata.get(_STATE)


def _write_records(lines: Iterator[_Line], packed: Path, state: bytes) -> int:
    schema, records = SCHEMA.with_metadata({_STATE: state}), 0
    with (
        writing_whole(packed) as f,
        parquet.ParquetWriter(f, schema, compression="zstd") as writer,
    ):
        while rows := [_row(line) for line in islice(lines, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            records += len(rows)
    sync_folder(packed.parent)
    return records


def _row(line: _Line) -> dict[str, Any]:
    body = msgspec.json.decode(line.body)
    return {
        "id": line.id,
        "device": line.id.partition("/")[0],
        **{name: getattr(line, name) for name in ("kind", "run", "boot_id", "clock")},
        "sample": _key(line.sample) if line.sample else None,
        **{name: _time(getattr(line, name)) for name in _TIMES},
        **{name: n if (n := getattr(line, name)) in _INT64 else None for name in _NUMBERS},
        **{name: _fact(body.get(name), kind) for name, kind in _FACTS.items()},
        "body": bytes(line.body).decode(),
    }


def _fact(value: object, kind: type) -> str | float | None:
    if kind is str:
        return value if isinstance(value, str) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < _INT64.stop else None  # type: ignore[arg-type]


def _time(text: str | None) -> datetime | None:
    """Null also where the text has a 31st of June: the protocol looks at its form only."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None

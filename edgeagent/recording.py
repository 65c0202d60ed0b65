"""Recordings: a folder that holds what was handed to the pipeline core, in order, each with its `now`.

`recording.yaml` says what the columns are (schema, config hash, channels with units and lsb, labels if
known); `journal.bin` is a row of frames, each a little-endian uint32 length and that many bytes of
MessagePack: an `Entry`. A frame cut short at the end is what a power cut leaves, and is left out.
`run --journal` writes one, `replay` reads it, the fake chips play it, and the held-out data of a bundle is one.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from edgeagent.errors import StorageFault
from edgeagent.records import Block, Channel, Float32Array, Int64Array, Layout, Raw, decode_raw, encode_raw

SCHEMA = 1
_LENGTH = struct.Struct("<I")
_MAX_FRAME_BYTES = 64 << 20


class Label(msgspec.Struct, frozen=True):
    """What was really happening from `t_start_ns` until before `t_end_ns` of the recording's own time."""

    label: str
    t_start_ns: int
    t_end_ns: int


class Header(msgspec.Struct, frozen=True):
    """`recording.yaml`. `sensors` are the layouts known at the start; a later change is an entry."""

    schema: int
    sensors: dict[str, Layout]
    labels: tuple[Label, ...] = ()
    config_sha256: str = ""
    source: str = ""
    licence: str = ""


class LayoutEntry(msgspec.Struct, frozen=True, array_like=True, tag="layout"):
    """A sensor announced its layout."""

    now_ns: int
    sensor: str
    layout: Layout


class BlockEntry(msgspec.Struct, frozen=True, array_like=True, tag="block"):
    """A block reached the core."""

    now_ns: int
    sensor: str
    seq: int
    t_mono_ns: bytes  # int64 little-endian, first as it is, then differences
    raw: Raw
    t_read_ns: int
    lost: int
    reasons: tuple[str, ...]
    pictures: tuple[bytes, ...] = ()


class PredictionEntry(msgspec.Struct, frozen=True, array_like=True, tag="prediction"):
    """A prediction arrived, or (`error`) its failure: replay computes the numbers again."""

    now_ns: int
    pipeline: str
    window_seq: int
    error: str = ""


class TickEntry(msgspec.Struct, frozen=True, array_like=True, tag="tick"):
    """Time passed."""

    now_ns: int


Entry = LayoutEntry | BlockEntry | PredictionEntry | TickEntry


def block_entry(block: Block, layout: Layout, now_ns: int) -> BlockEntry:
    """Pack a block; counts where the layout has an lsb and they are exact."""
    times = np.diff(block.t_mono_ns, prepend=0).astype("<i8").tobytes()
    raw = encode_raw(block.values, layout.channels)
    return BlockEntry(
        now_ns,
        block.sensor,
        block.seq,
        times,
        raw,
        block.t_read_ns,
        block.lost,
        block.reasons,
        block.pictures,
    )


def entry_block(entry: BlockEntry, layout: Layout) -> Block:
    """The inverse of `block_entry`. Raises ValueError if the bytes do not fit together."""
    times = np.cumsum(np.frombuffer(entry.t_mono_ns, dtype="<i8")).astype(np.int64)
    values = decode_raw(entry.raw, layout.channels)
    if len(times) != len(values):
        raise ValueError(f"{len(times)} times for {len(values)} samples")
    if len(entry.pictures) not in (0, len(values)):
        raise ValueError(f"{len(entry.pictures)} pictures for {len(values)} samples")
    return Block(
        entry.sensor,
        entry.seq,
        times,
        values,
        entry.t_read_ns,
        entry.lost,
        entry.reasons,
        entry.pictures,
    )


class Writer:
    """Writes a recording into a new or empty folder. Raises StorageFault if it cannot."""

    def __init__(self, folder: Path, header: Header) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = (folder / "journal.bin").open(
                "xb"
            )  # first: a recording is never written over
            with (folder / "recording.yaml").open("w") as f:
                YAML(typ="safe").dump(msgspec.to_builtins(header), f)
        except OSError as e:
            raise StorageFault(
                str(e), where=str(folder), expected="a new or empty folder that this user may write"
            ) from e
        self._encode = msgspec.msgpack.Encoder().encode

    def write(self, entry: Entry) -> None:
        frame = self._encode(entry)
        self._file.write(_LENGTH.pack(len(frame)) + frame)

    def flush(self) -> None:
        """Hand what was written to the kernel: whoever kills this process cannot take it away any more."""
        self._file.flush()

    def close(self) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())


class Recording:
    """A recording on disk. Raises StorageFault if the folder holds none or its header is not one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            text = (folder / "recording.yaml").read_text()
            self._journal = (folder / "journal.bin").read_bytes()
            self.header = msgspec.convert(YAML(typ="safe").load(text), Header)
        except (OSError, YAMLError, ValueError) as e:
            raise StorageFault(
                f"no recording can be read ({getattr(e, 'strerror', None) or e})",
                where=str(folder),
                expected="a recording: recording.yaml and journal.bin",
            ) from e
        if self.header.schema != SCHEMA:
            raise StorageFault(
                f"recording of schema {self.header.schema}", where=str(folder), expected=f"schema {SCHEMA}"
            )
        self.sha256 = hashlib.sha256(text.encode() + self._journal).hexdigest()

    def entries(self) -> Iterator[Entry]:
        """The entries in order; ends quietly at a frame that was cut short."""
        decode = msgspec.msgpack.Decoder(Entry).decode
        at, end = 0, len(self._journal)
        while at + _LENGTH.size <= end:
            (length,) = _LENGTH.unpack_from(self._journal, at)
            at += _LENGTH.size
            if length > _MAX_FRAME_BYTES or at + length > end:
                return
            try:
                entry = decode(self._journal[at : at + length])
            except ValueError as e:
                raise StorageFault(f"byte {at}: {e}", where=str(self.folder / "journal.bin")) from e
            yield entry
            at += length

    def series(self, sensor: str) -> tuple[Int64Array, Float32Array]:
        """All of one sensor's samples: t_mono_ns int64[n], values float32[n, channels]."""
        blocks = self._blocks(sensor)
        return (
            np.concatenate([b.t_mono_ns for b in blocks]),
            np.concatenate([b.values for b in blocks]),
        )

    def pictures(self, sensor: str) -> list[bytes]:
        """All of a camera's pictures, one a sample; b"" where there was none."""
        return [p for b in self._blocks(sensor) for p in b.pictures or (b"",) * len(b.values)]

    def _blocks(self, sensor: str) -> list[Block]:
        layouts = dict(self.header.sensors)
        if sensor not in layouts:
            raise StorageFault(
                f"no sensor {sensor!r}", where=str(self.folder), expected=f"one of {', '.join(layouts)}"
            )
        blocks = []
        for entry in self.entries():
            if isinstance(entry, LayoutEntry):
                layouts[entry.sensor] = entry.layout
            elif isinstance(entry, BlockEntry) and entry.sensor == sensor:
                blocks.append(entry_block(entry, layouts[sensor]))
        if not blocks:
            raise StorageFault(f"no samples of {sensor!r}", where=str(self.folder))
        return blocks


def label_between(labels: tuple[Label, ...], t_start_ns: int, t_end_ns: int) -> str | None:
    """The label that holds over all of a stretch of time, or None."""
    for one in labels:
        if one.t_start_ns <= t_start_ns and t_end_ns <= one.t_end_ns:
            return one.label
    return None


def write_series(folder: Path, header: Header, sensor: str, values: Float32Array, chunk: int = 50) -> None:
    """Write a recording of blocks only, from one array float32[n, channels] at the layout's rate from time 0."""
    layout: Layout = header.sensors[sensor]
    period_ns = 1e9 / layout.rate_hz
    writer = Writer(folder, header)
    for seq, at in enumerate(range(0, len(values), chunk)):
        part = values[at : at + chunk]
        t_ns = np.rint(np.arange(at, at + len(part)) * period_ns).astype(np.int64)
        now_ns = int(t_ns[-1])
        writer.write(block_entry(Block(sensor, seq, t_ns, part, now_ns), layout, now_ns))
    writer.close()


__all__ = ["Channel", "Entry", "Header", "Label", "Recording", "Writer", "label_between", "write_series"]

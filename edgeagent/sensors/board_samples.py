"""The numbers in a board's SAMPLES, as values in the units of its channels. Bytes in, arrays out; no I/O, no clock.

After 10 ms of waiting the processor's caches hold nothing of ours, and a call to numpy costs 40 us instead of one: so
there are few, for all the frames of a read at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeagent.records import Float32Array
from firmware_bridge.messages import ChannelInfo, ChannelType, Hello, Samples
from firmware_bridge.samples import LETTERS, NO_READING, enabled


class Run(NamedTuple):
    """Neighbouring channels of one type, which are read and scaled at once."""

    names: tuple[str, ...]
    row: np.dtype[Any]
    """How one sample of them lies."""
    scales: NDArray[Any]
    failed: bytes | None
    """Stands for a reading that failed; None where that is NaN."""


class Numbers:
    """From the bytes of SAMPLES to values in the units of the channels, one sample each `period_us`."""

    def __init__(self, hello: Hello) -> None:
        channels = enabled(hello)
        self.period_us = 1e6 / channels[0].rate_hz if channels else 1e6
        self._runs = list(_runs(channels))
        self._row = np.dtype([(f"{i}", run.row) for i, run in enumerate(self._runs)])

    def values(self, data: bytes) -> tuple[Float32Array, tuple[str, ...]]:
        """float32[samples, channels], and why some are NaN."""
        if len(self._runs) == 1:  # as on most boards, and quicker
            (run,) = self._runs
            values, reasons = _scaled(run, np.frombuffer(data, run.row), data)
            return values, tuple(reasons)
        rows = np.frombuffer(data, self._row)
        parts = [_scaled(run, rows[f"{i}"], data) for i, run in enumerate(self._runs)]
        return np.hstack([values for values, _ in parts]), tuple(chain(*(why for _, why in parts)))


class Stretch(NamedTuple):
    """Frames of one read that follow one another, and `lost` samples before the first: what will be a block."""

    numbers: Numbers
    t_read_ns: int
    lost: int
    frames: list[Samples]

    def values(self) -> tuple[Float32Array, tuple[str, ...]]:
        """float32[samples, channels], and why some are NaN."""
        return self.numbers.values(b"".join([frame.data for frame in self.frames]))


def _scaled(run: Run, numbers: NDArray[Any], data: bytes) -> tuple[Float32Array, list[str]]:
    values: Float32Array = (numbers * run.scales).astype(np.float32)
    if run.failed is not None and run.failed not in data:
        return values, []
    failed = np.isnan(values) if run.failed is None else numbers == np.frombuffer(run.failed, numbers.dtype)
    values[failed] = np.nan
    names = [run.names[k] for k in np.flatnonzero(failed.any(axis=0))]
    return values, [f"{name}: the board could not read it" for name in names]


def _runs(channels: Iterable[ChannelInfo]) -> Iterator[Run]:
    for type_, group in groupby(channels, key=lambda channel: channel.type):
        run = list(group)
        letter, least = f"<{LETTERS[type_]}", NO_READING.get(type_)
        exact = np.float32 if type_ == ChannelType.FLOAT32 else np.float64
        yield Run(
            names=tuple(channel.name for channel in run),
            row=np.dtype((letter, (len(run),))),
            scales=np.array([channel.scale for channel in run], exact),
            failed=None if least is None else struct.pack(letter, least),
        )

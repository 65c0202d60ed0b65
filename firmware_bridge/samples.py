"""How the numbers lie in SAMPLES, for readers without numpy."""

from __future__ import annotations

import math
from struct import Struct

from firmware_bridge.messages import ChannelInfo, ChannelType, Hello, Samples

LETTERS: dict[int, str] = {ChannelType.INT16: "h", ChannelType.INT32: "i", ChannelType.FLOAT32: "f"}
"""Of the `struct` module."""

NO_READING: dict[int, int] = {ChannelType.INT16: -(2**15), ChannelType.INT32: -(2**31)}
"""The number that says that a reading failed; of a float it is NaN."""


def enabled(hello: Hello) -> tuple[ChannelInfo, ...]:
    """The channels that are in SAMPLES, in their order."""
    return tuple(c for c in hello.channels if c.enabled)


def row(hello: Hello) -> Struct:
    """One sample. Raises KeyError if HELLO names a type that is not in the table."""
    return Struct("<" + "".join(LETTERS[c.type] for c in enabled(hello)))


def readings(hello: Hello, samples: Samples) -> list[tuple[float | None, ...]]:
    """Each sample in the units of its channels; None where a reading failed."""
    channels = enabled(hello)
    return [
        tuple(_reading(n, c) for n, c in zip(numbers, channels, strict=True))
        for numbers in row(hello).iter_unpack(samples.data)
    ]


def _reading(number: float, channel: ChannelInfo) -> float | None:
    failed = math.isnan(number) or number == NO_READING.get(channel.type)
    return None if failed else number * channel.scale

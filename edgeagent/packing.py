"""Makes things small: raw samples by differences, bytes of one significance together, and zstd; bodies by zstd alone.

A signal that changes slowly has small differences, whose upper bytes are nearly all alike. Measured
(`make bench ARGS=raw`): 1.7 times smaller on synthetic IMU data, 1.5 times on recorded, where zstd alone gives 1.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from backports import zstd

_LEVEL = 3  # a window of two seconds becomes 4 % smaller than at 1, as quickly
_BODY_LEVEL = 1  # a batch becomes 5 times smaller; at 3 by another 6 %, in twice the time
_WINDOW_LOG = 23  # RFC 9659: 8 MB, so that a frame of some bytes cannot ask for any memory it likes


class TooLong(ValueError):
    """What was compressed is more than it may be."""


def compress(body: bytes) -> bytes:
    """A body as one zstd frame."""
    return zstd.compress(body, _BODY_LEVEL)


def decompress(frame: bytes, most_bytes: int) -> bytes:
    """The inverse of `compress`, in bounded memory whatever the frame claims.

    Raises TooLong, or ValueError if it is not one zstd frame, whole and alone.
    """
    decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    try:
        body = decoder.decompress(frame, max_length=most_bytes + 1)
    except zstd.ZstdError as e:
        raise ValueError(f"not a zstd frame: {e}") from e
    if len(body) > most_bytes:
        raise TooLong(f"more than {most_bytes} bytes")
    if not decoder.eof or decoder.unused_data:
        raise ValueError("not one whole zstd frame")
    return body


def pack(planar: npt.NDArray[Any]) -> bytes:
    """Pack [channels, n] of int16, int32 or float32, little-endian.

    Along each channel the differences of the bits, taken as unsigned numbers that wrap around, the first from 0;
    of all of them the first bytes, then the second, and so on; all that as one zstd frame.
    """
    bits = planar.view(f"<u{planar.itemsize}")
    steps = np.diff(bits, axis=1, prepend=bits.dtype.type(0))
    shuffled = steps.view(np.uint8).reshape(-1, planar.itemsize).T
    return zstd.compress(shuffled.tobytes(), _LEVEL)


def unpack(data: bytes, channels: int, samples: int, dtype: str) -> npt.NDArray[Any]:
    """The inverse of `pack`: [channels, samples]. Takes no more memory than that, whatever the bytes claim.

    Raises ValueError if they are not what this shape was packed into.
    """
    kind = np.dtype(dtype)
    size = channels * samples * kind.itemsize
    try:
        shuffled = zstd.ZstdDecompressor().decompress(data, max_length=size + 1)
    except zstd.ZstdError as e:
        raise ValueError(f"not a zstd frame: {e}") from e
    if len(shuffled) != size:
        raise ValueError(
            f"{channels} channels of {samples} samples are {size} bytes, these are another number"
        )
    steps = np.zeros(channels * samples, f"<u{kind.itemsize}")
    for place, part in enumerate(np.frombuffer(shuffled, np.uint8).reshape(kind.itemsize, -1)):
        steps |= part.astype(steps.dtype) << 8 * place
    return np.cumsum(steps.reshape(channels, samples), axis=1, dtype=steps.dtype).view(kind)

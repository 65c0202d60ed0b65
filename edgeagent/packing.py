"""Makes raw samples small: differences, bytes of one significance together, zstd.

A signal that changes slowly has small differences, whose upper bytes are nearly all alike. Measured
(`make bench ARGS=raw`): 1.7 times smaller on synthetic IMU data, 1.5 times on recorded, where zstd alone gives 1.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from backports import zstd

_LEVEL = 3  # a window of two seconds becomes 4 % smaller than at 1, as quickly


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

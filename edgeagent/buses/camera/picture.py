"""From a picture as it came to its pixels. The bytes are a stranger's: they are bounded before they are unpacked."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edgeagent.errors import DeviceFault

FORMATS = ("JPEG", "PNG", "BMP")  # each decoder that is not asked is one that cannot be attacked
MAX_PIXELS = 16_000_000  # 48 MB unpacked; the Pi's largest camera has 12 million

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def decode(data: bytes, width: int, height: int, where: str = "") -> npt.NDArray[np.uint8]:
    """uint8[height, width, 3], red green blue: the middle of the picture in that shape, scaled down.

    Raises DeviceFault for what is no whole picture, or one too large to unpack.
    """
    if not data:
        raise DeviceFault("a picture of 0 bytes", where=where)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            _bound(picture.width * picture.height, where)
            picture.draft("RGB", (width, height))  # of a JPEG, only as much as is needed is unpacked
            whole = ImageOps.fit(picture.convert("RGB"), (width, height), Image.Resampling.BOX)
    except UnidentifiedImageError as e:
        raise DeviceFault(f"no picture ({len(data)} bytes)", where=where, expected=", ".join(FORMATS)) from e
    except _BOMB as e:
        raise _too_large(str(e), where) from e
    except DeviceFault:
        raise  # it is an OSError too
    except _BROKEN as e:
        raise DeviceFault(f"a broken picture ({e})", where=where) from e
    return np.asarray(whole)


def _bound(pixels: int, where: str) -> None:
    if pixels > MAX_PIXELS:
        raise _too_large(f"{pixels / 1e6:.0f} million pixels", where)


def _too_large(what: str, where: str) -> DeviceFault:
    return DeviceFault(
        f"a picture too large to unpack ({what})",
        where=where,
        expected=f"{MAX_PIXELS // 10**6} million pixels at most",
        hint="Is it a picture? A decompression bomb looks like this. Else let the camera send a smaller one.",
    )

"""From a picture as it came to its pixels. The bytes are a stranger's: they are bounded before they are unpacked."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edgeagent.buses.camera import MAX_BYTES
from edgeagent.errors import DeviceFault

FORMATS = ("JPEG", "PNG", "BMP")  # each decoder that is not asked is one that cannot be attacked
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}  # of a BMP the length is in its head
MAX_PIXELS = 16_000_000  # 48 MB unpacked; the Pi's largest camera has 12 million

Resize = Literal["stretch", "letterbox", "crop"]
_FILTER = Image.Resampling.BILINEAR  # with antialiasing, as Pillow has it and training tools do

_QUALITY = 90  # of a JPEG that is made here; Pillow's own 75 shows its blocks
# A webcam's luma goes from 16 to 235 and its chroma from 16 to 240 (BT.601); a JPEG's both from 0 to 255 (JFIF).
_CODES = np.arange(256)
_FULL_LUMA = np.clip((_CODES - 16) * 255 / 219, 0, 255).round().astype(np.uint8)
_FULL_CHROMA = np.clip((_CODES - 128) * 255 / 224 + 128, 0, 255).round().astype(np.uint8)

_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def examine(data: bytes, where: str = "") -> None:
    """Look at the head and the end of a picture, without unpacking it: it takes 0.05 ms.

    Raises DeviceFault for what is no picture, is cut short, or too large to keep or to unpack.
    """
    if len(data) > MAX_BYTES:
        raise DeviceFault(f"a picture of more than {MAX_BYTES // 10**6} MB", where=where)
    with _opened(data, where) as picture:
        if picture.format == "BMP":
            is_whole = len(data) >= int.from_bytes(data[2:6], "little")
        else:
            is_whole = data.rstrip(b"\0").endswith(ENDS[picture.format or ""])  # webcams pad their JPEGs
    if not is_whole:
        raise DeviceFault(f"a picture cut short ({len(data)} bytes)", where=where)


def decode(
    data: bytes, width: int, height: int, where: str = "", resize: Resize = "crop"
) -> npt.NDArray[np.uint8]:
    """uint8[height, width, 3], red green blue: the picture scaled to that size.

    Where its shape is another, `crop` takes its middle, `letterbox` puts black beside it, `stretch` distorts it.
    Raises DeviceFault for what is no whole picture, or one too large to unpack.
    """
    size = width, height
    with _opened(data, where) as picture:
        picture.draft(
            "RGB", _inside(picture, size) if resize == "letterbox" else size
        )  # unpacks only what is needed
        whole: Image.Image = picture if picture.mode == "RGB" else picture.convert("RGB")
        if resize == "crop":
            whole = ImageOps.fit(whole, size, _FILTER)
        elif resize == "letterbox":
            whole = ImageOps.pad(whole, size, _FILTER)
        else:
            whole = whole.resize(size, _FILTER)
        return np.asarray(whole)


def jpeg_of_yuyv(frame: bytes, width: int, height: int, line_bytes: int) -> bytes:
    """A webcam's raw frame as a JPEG: 2 x width bytes a line, Y0 Cb Y1 Cr, a colour for two pixels (ITU-R BT.601).

    A frame that is cut short stays as it is, and so is no picture.
    """
    if len(frame) < height * line_bytes:
        return frame
    lines = np.frombuffer(frame, np.uint8, height * line_bytes).reshape(height, line_bytes)[:, : 2 * width]
    planes = np.empty((height, width, 3), np.uint8)
    planes[..., 0] = _FULL_LUMA[lines[:, 0::2]]
    planes[..., 1] = _FULL_CHROMA[lines[:, 1::4]].repeat(2, axis=1)
    planes[..., 2] = _FULL_CHROMA[lines[:, 3::4]].repeat(2, axis=1)
    out = BytesIO()
    whole = Image.frombuffer("YCbCr", (width, height), planes, "raw", "YCbCr", 0, 1)
    whole.save(out, "JPEG", quality=_QUALITY, subsampling="4:2:2")
    return out.getvalue()


def _inside(picture: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the picture's own shape that lies in another."""
    scale = min(size[0] / picture.width, size[1] / picture.height)
    return max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)


@contextmanager
def _opened(data: bytes, where: str) -> Iterator[Image.Image]:
    """A picture of which the head has been read; whatever Pillow finds wrong with it is a DeviceFault."""
    if not data:
        raise DeviceFault("a picture of 0 bytes", where=where)
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            _bound(picture.width * picture.height, where)
            yield picture
    except UnidentifiedImageError as e:
        raise DeviceFault(f"no picture ({len(data)} bytes)", where=where, expected=", ".join(FORMATS)) from e
    except _BOMB as e:
        raise _too_large(str(e), where) from e
    except DeviceFault:
        raise  # it is an OSError too
    except _BROKEN as e:
        raise DeviceFault(f"a broken picture ({e})", where=where) from e


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

"""A window and a picture made ready for the model: by our steps beside SciPy, and beside Pillow alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import chain
from statistics import median
from typing import Any, Literal

import numpy as np
import scipy.fft
import scipy.signal
from PIL import Image

from bench.figure import Figure, times_us
from edgeagent.buses.camera.picture import decode
from edgeagent.config.schema import Part
from edgeagent.inference.preprocess import Form, band_pass, fft_magnitude, resample
from edgeagent.inference.preprocess.chain import Chain
from edgeagent.records import Channel

MAX_WINDOW_US, MAX_PICTURE_RATIO = 200, 1.1
ROUNDS, CALLS, PICTURES = 20, 100, 10

RATE_HZ = 100.0
GIVEN = Form((500, 6), tuple(Channel(name, "1") for name in "abcdef"), RATE_HZ)
WINDOW = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
SOS = scipy.signal.butter(4, [5, 20], "bandpass", fs=RATE_HZ, output="sos")
STEPS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "detrend": ("linear", lambda x: scipy.signal.detrend(x, axis=0)),
    "band_pass": (
        band_pass.Options(from_=5.0, to=20.0),
        lambda x: scipy.signal.sosfilt(SOS, x, axis=0, zi=scipy.signal.sosfilt_zi(SOS)[:, :, None] * x[0])[0],
    ),
    "fft_magnitude": (fft_magnitude.Options(), lambda x: np.abs(scipy.fft.rfft(x, axis=0))),
    "normalise": ("channel", lambda x: (x - x.mean(0)) / x.std(0)),
}
MORE: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "band_pass, zero phase": (
        band_pass.Options(from_=5.0, to=20.0, zero_phase=True),
        lambda x: scipy.signal.sosfiltfilt(SOS, x, axis=0),
    ),
    "resample": (resample.Options(to=40.0), lambda x: scipy.signal.resample_poly(x, 2, 5, axis=0)),
    "statistics": (
        ["mean", "std", "rms", "peak", "crest"],
        lambda x: (x.mean(0), x.std(0), np.sqrt((x * x).mean(0)), np.abs(x).max(0)),
    ),
}


def measure() -> Iterator[Figure]:
    whole = Chain([Part(name, options) for name, (options, _) in STEPS.items()], GIVEN)
    ours_us, scipys_us = _in_turns(lambda: whole(WINDOW), _scipys, CALLS)
    yield Figure(
        f"window of 5 s, 6 x 100 Hz: {', '.join(STEPS)}",
        f"{ours_us:.0f} us",
        f"{scipys_us:.0f} us (SciPy)",
        f"{ours_us / scipys_us:.2f}",
        f"<= {MAX_WINDOW_US} us",
        ours_us <= MAX_WINDOW_US,
    )
    quiet_us = min(median(times_us(lambda: whole(WINDOW), CALLS)) for _ in range(ROUNDS))
    yield Figure(f"  the quietest of {ROUNDS} rounds", f"{quiet_us:.0f} us")
    for name, (options, scipys) in (STEPS | MORE).items():
        step = Chain([Part(name.partition(",")[0], options)], GIVEN)
        wide = WINDOW.astype(np.float64)
        ours_us, scipys_us = _in_turns(lambda: step(WINDOW), lambda: scipys(wide), CALLS)  # noqa: B023
        yield Figure(
            f"  {name} alone", f"{ours_us:.0f} us", f"{scipys_us:.0f} us", f"{ours_us / scipys_us:.2f}"
        )
    yield from _pictures()


def _scipys() -> Any:
    values = WINDOW.astype(np.float64)
    for _, scipys in STEPS.values():
        values = scipys(values)
    return values


def _pictures() -> Iterator[Figure]:
    data = _jpeg()
    ways: tuple[Literal["stretch", "crop", "letterbox"], ...] = ("stretch", "crop", "letterbox")
    for resize in ways:
        ours_us, pillows_us = _in_turns(
            lambda: decode(data, 224, 224, resize=resize),  # noqa: B023
            lambda: _pillows(data),
            PICTURES,
        )
        ratio = ours_us / pillows_us
        yield Figure(
            f"JPEG of 1280x720 as 224x224, {resize}",
            f"{ours_us / 1000:.2f} ms",
            f"{pillows_us / 1000:.2f} ms (Pillow)",
            f"{ratio:.2f}",
            f"<= {MAX_PICTURE_RATIO}",
            ratio <= MAX_PICTURE_RATIO,
        )


def _pillows(data: bytes) -> Any:
    picture: Image.Image = Image.open(BytesIO(data))
    picture.draft("RGB", (224, 224))
    return np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR))


def _jpeg() -> bytes:
    """As smooth as photographs are."""
    coarse = np.random.default_rng(1).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(coarse).resize((1280, 720), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


def _in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], calls: int) -> tuple[float, float]:
    """The medians in us; in turns, so that whatever else this machine does falls on both alike."""
    rounds = [(times_us(ours, calls), times_us(theirs, calls)) for _ in range(ROUNDS)]
    one, other = (median(chain.from_iterable(each)) for each in zip(*rounds, strict=True))
    return one, other

"""Raw windows made small: how much smaller, how quickly, on synthetic IMU data and on the recording that is shipped."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import numpy as np
import numpy.typing as npt
from backports import zstd

from bench.agent import RECORDING
from bench.figure import Figure, times_us
from edgeagent.packing import pack, unpack
from edgeagent.recording import Recording

MIN_RATIO, MIN_MB_S = 1.6, 100
ROUNDS = 15
Counts = npt.NDArray[np.int16]


def measure() -> Iterator[Figure]:
    recorded, synthetic = _recorded(), _synthetic(100_000)
    yield from _figures("synthetic IMU, 6 axes at 1 kHz, 100 s", synthetic, MIN_RATIO, MIN_MB_S)
    yield from _figures("  a window of 2 s of it", synthetic[:, :2000].copy())
    yield from _figures("recorded IMU, 6 axes at 50 Hz, 280 s", recorded, floor_mb_s=MIN_MB_S)
    yield from _figures("  a capture of 10 s of it", recorded[:, 1000:1500].copy())
    yield from _figures("  a window of 2 s of it", recorded[:, 1000:1100].copy())


def _figures(
    name: str, counts: Counts, floor: float | None = None, floor_mb_s: float | None = None
) -> Iterator[Figure]:
    """How many times smaller, beside zstd alone; and how quickly, beside a copy of the bytes."""
    channels, samples = counts.shape
    packed = pack(counts)
    ratio, plain = counts.nbytes / len(packed), counts.nbytes / len(zstd.compress(counts.tobytes(), 3))
    yield Figure(
        f"{name}: times smaller",
        f"{ratio:.2f}",
        f"{plain:.2f} (zstd)",
        f"{ratio / plain:.2f}",
        f">= {floor}" if floor else "",
        ratio >= floor if floor else None,
    )
    pack_mb_s = counts.nbytes / median(times_us(lambda: pack(counts), ROUNDS))
    unpack_mb_s = counts.nbytes / median(times_us(lambda: unpack(packed, channels, samples, "<i2"), ROUNDS))
    yield Figure(
        "    packed; unpacked",
        f"{pack_mb_s:.0f} MB/s",
        f"{unpack_mb_s:.0f} MB/s",
        f"{pack_mb_s / unpack_mb_s:.2f}",
        f">= {floor_mb_s} MB/s" if floor_mb_s else "",
        min(pack_mb_s, unpack_mb_s) >= floor_mb_s if floor_mb_s else None,
    )


def _recorded() -> Counts:
    recording = Recording(RECORDING)
    lsb = np.array([c.lsb for c in recording.header.sensors["imu"].channels])
    counts: Counts = np.rint(recording.series("imu")[1] / lsb).T.astype("<i2")
    return np.ascontiguousarray(counts)


def _synthetic(samples: int) -> Counts:
    """Each axis four sines of 0.5 to 20 Hz, and noise of 40 counts."""
    dice = np.random.default_rng(1)
    t_s = np.arange(samples) / 1000
    hz, size, phase = (
        dice.uniform(low, high, (6, 4, 1)) for low, high in ((0.5, 20.0), (200.0, 3000.0), (0.0, 6.0))
    )
    counts = (size * np.sin(2 * np.pi * hz * t_s + phase)).sum(axis=1) + dice.normal(0, 40, (6, samples))
    clipped: Counts = np.clip(np.rint(counts), -(2**15), 2**15 - 1).astype("<i2")
    return clipped

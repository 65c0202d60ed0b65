"""`resample: 25 Hz`: the window at another rate, without what the lower of the two could not show.

Samples are weighted by a sinc under a Kaiser window (beta 5, ten zeros to each side), as SciPy's resample_poly does it
by default; the line from the first to the last sample is taken out before and put back after, so that ends stay put.
"""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import numpy as np

from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import Form, Step, Values, must_be_in_time

_ZEROS, _BETA = 10, 5.0
_LARGEST = 1000
_BLOCK = 32


class Options(msgspec.Struct, frozen=True, kw_only=True):
    to: Hz


def build(options: Options, given: Form) -> Step:
    must_be_in_time(given)
    up, down = _ratio(options.to, given.rate_hz)
    samples, channels = given.shape
    kept = -(-samples * up // down)
    # `up` results later the weights are the same, on samples `down` later: one matrix serves block after block.
    turns = -(-_BLOCK // up)
    block, advance = min(turns * up, kept), turns * down
    weights, reach = _weights(up, down, block)
    blocks, seen = -(-kept // block), len(weights)
    padded_to = (blocks - 1) * advance + seen
    strides = (8 * padded_to, 8 * advance, 8)
    line = np.linspace(0, 1, samples)
    new_line = np.arange(kept) * down / up / max(samples - 1, 1)

    def apply(values: Values) -> Values:
        rows = values.T
        first = rows[:, :1]
        rise = rows[:, -1:] - first
        padded = np.zeros((channels, padded_to))
        padded[:, reach : reach + samples] = rows - first - rise * line
        by_block = np.ndarray((channels, blocks, seen), np.float64, padded, strides=strides)
        resampled: Values = (by_block.reshape(-1, seen) @ weights).reshape(channels, -1)[:, :kept]
        resampled += first + rise * new_line
        return resampled.T

    form = Form((kept, channels), given.channels, given.rate_hz * up / down)
    return Step(form, apply)


def _weights(up: int, down: int, count: int) -> tuple[Values, int]:
    """By what `count` results weigh the samples, float64[samples, count]; and so many of these lie before the first.

    The result at m weighs the samples k for which taps[m * down - k * up + half] exists.
    """
    taps = _taps(up, down)
    half = len(taps) // 2
    reach = half // up + 1
    k = np.arange(-reach, (count - 1) * down // up + reach + 1)[:, None]
    tap = np.arange(count) * down - k * up + half
    is_there = (tap >= 0) & (tap < len(taps))
    return np.where(is_there, taps[np.clip(tap, 0, len(taps) - 1)], 0.0), reach


def _ratio(to_hz: float, rate_hz: float) -> tuple[int, int]:
    ratio = Fraction(to_hz / rate_hz).limit_denominator(_LARGEST)
    if ratio.numerator > _LARGEST or not math.isclose(ratio, to_hz / rate_hz, rel_tol=1e-9):
        raise ConfigFault(
            f"from {rate_hz:g} to {to_hz:g} Hz",
            expected=f"rates like 50 and 40 Hz, as 5 is to 4: numbers up to {_LARGEST}",
        )
    return ratio.numerator, ratio.denominator


def _taps(up: int, down: int) -> Values:
    """The low-pass at `up` times the rate, with the gain `up`."""
    most = max(up, down)
    if most == 1:
        return np.ones(1)
    n = np.arange(-_ZEROS * most, _ZEROS * most + 1)
    taps = np.sinc(n / most) * np.kaiser(len(n), _BETA)
    gained: Values = taps * (up / taps.sum())
    return gained

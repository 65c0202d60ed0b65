"""`fft_magnitude: {window: hann}`: how strong each frequency is in each channel, as the amplitude of its sine.

A row a frequency, from 0 Hz to half the rate in steps of 1 / window length; `from` and `to` keep the rows between.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from edgeagent.config.quantities import Hz
from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import Form, Step, Values, must_be_in_time


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`window`: what the samples are weighted with, so that a frequency between two rows leaks less into others."""

    window: Literal["hann", "none"] = "hann"
    from_: Hz | None = msgspec.field(default=None, name="from")
    to: Hz | None = None


def build(options: Options, given: Form) -> Step:
    must_be_in_time(given)
    samples = given.shape[0]
    frequencies_hz = np.fft.rfftfreq(samples, 1 / given.rate_hz)
    first = np.searchsorted(frequencies_hz, options.from_ or 0.0)
    stop = np.searchsorted(frequencies_hz, options.to or np.inf, side="right")
    if first >= stop:
        raise ConfigFault(
            "no frequency lies there",
            expected=f"some from 0 to {frequencies_hz[-1]:g} Hz, which are {frequencies_hz[1]:g} Hz apart",
        )
    # A sine that fits into the window comes out as its amplitude; 0 Hz and half the rate have no second half.
    weights = np.ones(samples) if options.window == "none" else np.hanning(samples + 1)[:-1]
    gain = np.full(len(frequencies_hz), 2.0 / weights.sum())
    gain[0] /= 2
    if samples % 2 == 0:
        gain[-1] /= 2
    kept, gain = slice(first, stop), gain[first:stop]

    def apply(values: Values) -> Values:
        spectrum = np.fft.rfft(values.T * weights)
        magnitude: Values = np.abs(spectrum[:, kept]) * gain
        return magnitude.T

    return Step(Form((int(stop - first), given.shape[1]), given.channels, 0.0), apply)

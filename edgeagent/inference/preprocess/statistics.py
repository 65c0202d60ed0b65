"""`statistics: [rms, crest]`: figures of each channel over the window, a row each, in their order here.

rms is the root of the mean square, crest the peak (of the absolute values) over the rms, kurtosis that of Fisher (0 for
a normal distribution). A channel that is all zero has crest 0, one that does not change skewness and kurtosis 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import STILL, Form, Step, Values, must_be_in_time

Options = list[Literal["mean", "std", "rms", "peak", "crest", "skewness", "kurtosis"]]


def build(options: Options, given: Form) -> Step:
    must_be_in_time(given)
    if not options:
        raise ConfigFault("none", expected=f"some of {', '.join(_FIGURES)}")
    figures = [_FIGURES[name] for name in options]
    form = Form((len(figures), given.shape[1]), given.channels, 0.0)

    def apply(values: Values) -> Values:
        return np.stack([figure(values.T) for figure in figures])

    return Step(form, apply)


def _mean(x: Values) -> Values:
    mean: Values = np.add.reduce(x, axis=1) / x.shape[1]  # mean() takes twice as long
    return mean


def _std(x: Values) -> Values:
    return _rms(x - _mean(x)[:, None])


def _rms(x: Values) -> Values:
    rms: Values = np.sqrt(_mean(x * x))
    return rms


def _peak(x: Values) -> Values:
    peak: Values = np.abs(x).max(axis=1)
    return peak


def _crest(x: Values) -> Values:
    rms = _rms(x)
    return _over(_peak(x), rms, is_there=rms > 0)


def _skewness(x: Values) -> Values:
    off, variance, varies = _spread(x)
    return _over(_mean(off * off * off), variance**1.5, varies)


def _kurtosis(x: Values) -> Values:
    off, variance, varies = _spread(x)
    return _over(_mean((off * off) ** 2), variance**2, varies) - np.where(varies, 3.0, 0.0)


def _spread(x: Values) -> tuple[Values, Values, Values]:
    """The differences from the mean, the variance, and whether there is any."""
    mean = _mean(x)
    off = x - mean[:, None]
    variance = _mean(off * off)
    return off, variance, np.sqrt(variance) > STILL * np.abs(mean)


def _over(above: Values, below: Values, is_there: Values) -> Values:
    """0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=is_there)


_FIGURES: dict[str, Callable[[Values], Values]] = {
    "mean": _mean,
    "std": _std,
    "rms": _rms,
    "peak": _peak,
    "crest": _crest,
    "skewness": _skewness,
    "kurtosis": _kurtosis,
}

"""`normalise: channel`: each window by itself, less its own mean, divided by its own standard deviation.

Over each `channel` (or colour), or over `all` of them together. What does not change becomes 0. Fixed numbers from
training are `input.scaling`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgeagent.inference.preprocess import Form, Step, Values

Options = Literal["channel", "all"]


def build(options: Options, given: Form) -> Step:
    every = tuple(range(len(given.shape)))
    over = every if options == "all" else every[:-1]

    def apply(values: Values) -> Values:
        off = values - values.mean(axis=over, keepdims=True)
        std = np.sqrt(np.mean(off * off, axis=over, keepdims=True))
        normalised: Values = np.divide(off, std, out=np.zeros_like(off), where=std > 0)
        return normalised

    return Step(given, apply)

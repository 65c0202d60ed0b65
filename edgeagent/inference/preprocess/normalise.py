"""`normalise: channel`: each window by itself, less its own mean, divided by its own standard deviation.

Over each `channel` (or colour), or over `all` of them together. What does not change becomes 0. Fixed numbers from
training are `input.scaling`.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from edgeagent.inference.preprocess import STILL, Form, Step, Values

Options = Literal["channel", "all"]


def build(options: Options, given: Form) -> Step:
    rows = 1 if options == "all" else given.shape[-1]
    share = np.full(math.prod(given.shape) // rows, rows / math.prod(given.shape))

    def apply(values: Values) -> Values:
        by_channel = values.T.reshape(rows, -1)
        mean = by_channel @ share  # mean() and std() take five times as long
        off = by_channel - mean[:, None]
        std = np.sqrt((off * off) @ share)
        std[std <= STILL * np.abs(mean)] = np.inf
        off /= std[:, None]
        normalised: Values = off.reshape(values.T.shape).T
        return normalised

    return Step(given, apply)

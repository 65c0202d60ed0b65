"""`detrend: linear`: less each channel's mean (constant), or the straight line nearest to it (linear)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from edgeagent.inference.preprocess import Form, Step, Values, must_be_in_time

Options = Literal["constant", "linear"]


def build(options: Options, given: Form) -> Step:
    must_be_in_time(given)
    at = np.arange(given.shape[0], dtype=np.float64)
    powers = [at**0] if options == "constant" else [at**0, at]
    basis = np.linalg.qr(np.stack(powers, axis=1))[0]
    along = basis.T.copy()

    def apply(values: Values) -> Values:
        rows = values.T
        detrended: Values = rows - (rows @ basis) @ along
        return detrended.T

    return Step(given, apply)

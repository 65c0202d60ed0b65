"""`baseline: {uniform: 0.01}`: every window alike, those without a prediction too."""

from __future__ import annotations

import msgspec

from edgeagent.config.quantities import Fraction
from edgeagent.records import Prediction, Priority

PRIORITY = Priority.BULK


class Options(msgspec.Struct, frozen=True, kw_only=True):
    uniform: Fraction


def probability(options: Options, prediction: Prediction) -> float:
    del prediction
    return options.uniform

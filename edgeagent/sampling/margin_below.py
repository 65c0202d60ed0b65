"""`unsure: {margin_below: 0.2, keep: 0.5}`: windows on which the model hardly preferred one label to the next.

A window without a prediction has no margin and is never kept by this policy.
"""

from __future__ import annotations

import msgspec

from edgeagent.config.quantities import Fraction
from edgeagent.records import Prediction, Priority

PRIORITY = Priority.UNCERTAIN


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`margin_below`: best score less the second best; `keep`: the share that is kept of those below."""

    margin_below: Fraction
    keep: Fraction = 1.0


def probability(options: Options, prediction: Prediction) -> float:
    if prediction.skipped or prediction.margin is None:
        return 0.0
    return options.keep if prediction.margin < options.margin_below else 0.0

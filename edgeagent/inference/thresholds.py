"""From where an anomaly model has its threshold on this device, and how one is found: by what is normal here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from edgeagent.errors import Fault

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Percentile = Annotated[float, msgspec.Meta(gt=0, lt=100)]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What normal running says of the threshold.

    `threshold` is the `percentile` of the errors of so many windows, in place of the one `before`; `alarms` and
    `alarms_before` are the shares of those windows above them. `alarms_later`: what a threshold of the first half of
    the windows makes of the second: where that is much more, they were too few, or normal is not the same all the time.
    """

    threshold: Annotated[float, msgspec.Meta(gt=0)]
    percentile: Percentile
    windows: int
    before: float
    alarms: Share
    alarms_before: Share
    alarms_later: Share

    @property
    def wanders(self) -> bool:
        """Whether the first half of the windows did not say what the second would be like."""
        return self.alarms_later > 3 * (1 - self.percentile / 100) + 2 / self.windows


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds: of which training of which version, from where, and when (UTC; None: nobody knew)."""

    version: str
    models: list[str]
    found: Found
    source: str
    time: str | None


def find_threshold(errors: Sequence[float], percentile: float, before: float) -> Found:
    """What these errors, of windows that are all normal, say. Raises Fault if they are too few for the percentile."""
    least = math.ceil(100 / (100 - percentile) - 1e-9)
    if len(errors) < least:
        raise Fault(
            f"{len(errors)} windows were measured",
            expected=f"at least {least} for the {percentile:g}th percentile",
            hint="Measure for longer (--for), or take a lower --percentile",
        )
    seen, half = np.asarray(errors, np.float64), len(errors) // 2
    threshold = _rounded(float(np.percentile(seen, percentile)))
    if not threshold > 0:
        raise Fault(
            "the model rebuilds each window without any error",
            expected="a sensor that moves",
            hint="See `edgeagent sensors read`: is it the right one, and does it give anything?",
        )
    early = float(np.percentile(seen[:half], percentile)) if half else threshold
    return Found(
        threshold=threshold,
        percentile=percentile,
        windows=len(seen),
        before=before,
        alarms=float((seen > threshold).mean()),
        alarms_before=float((seen > before).mean()),
        alarms_later=float((seen[half:] > early).mean()),
    )


def _rounded(threshold: float) -> float:
    """To four digits, upwards: no window that was normal becomes an alarm by it."""
    if threshold <= 0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(threshold)) - 3)
    return float(f"{math.ceil(threshold / digit - 1e-9) * digit:.4g}")

"""Which predictions become records: `report: all | changes | every 1 min`."""

from __future__ import annotations

from edgeagent.config.quantities import DURATION, parse_quantity
from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_S, Prediction


class Report:
    """One pipeline's choice. Raises ConfigFault if the text is none of the three forms.

    `changes` keeps a prediction whose label, or reason for there being none, differs from the last one's.
    """

    def __init__(self, text: str) -> None:
        words = text.split(maxsplit=1)
        if text not in ("all", "changes") and (len(words) != 2 or words[0] != "every"):
            raise ConfigFault(f"report: {text}", expected="all, changes, or every with a time: every 1 min")
        self._changes_only = text == "changes"
        self._every_ns = round(parse_quantity(words[1], DURATION) * NS_PER_S) if words[0] == "every" else 0
        self._last: Prediction | None = None

    def wants(self, prediction: Prediction) -> bool:
        """Whether this one becomes a record."""
        last = self._last
        if last is not None:
            if self._changes_only and (last.label, last.skipped) == (prediction.label, prediction.skipped):
                return False
            # A slow answer comes after those to later windows: of `all` it is one like any other.
            if self._every_ns and prediction.t_end_ns - last.t_end_ns < self._every_ns:
                return False
        self._last = prediction
        return True

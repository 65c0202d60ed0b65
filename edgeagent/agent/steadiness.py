"""Whether a sensor that answers gives what it should: at its rate, samples that can be used, and at the first try."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeagent.records import NS_PER_MS, NS_PER_S, Block
from edgeagent.sensors import Sensor

JUDGED_NS, JUDGED_SAMPLES = (
    10 * NS_PER_S,
    30,
)  # whichever takes longer: a rate cannot be told from few samples
TOLERATED, WELL_AGAIN = (
    0.2,
    0.1,
)  # of what it should give; two numbers, so that it does not go to and fro between
TOO_LONG = 0.8  # of a period: a reading that takes more is why the rate is not held


class Steadiness:
    """One sensor from an opening on, judged a stretch of time at a time.

    A rate is judged where the driver counts one (`true_rate_hz`): who states none may give what it likes.
    """

    def __init__(self, sensor: Sensor, now_ns: int) -> None:
        self._sensor = sensor
        self._poor = False
        self._begin(now_ns)

    def judge(self, block: Block | None, now_ns: int) -> str | None:
        """After each read: None while nothing new is known; else what is wrong, "" if all is well."""
        self._reads += 1
        if block is not None:
            self._count(block)
        if now_ns < self._until_ns:
            return None
        why = self._wrong(now_ns)
        self._poor = bool(why)
        self._begin(now_ns)
        return why

    def _begin(self, now_ns: int) -> None:
        layout = self._sensor.layout
        least_ns = round(JUDGED_SAMPLES * NS_PER_S / layout.rate_hz) if layout is not None else 0
        self._since_ns, self._until_ns = now_ns, now_ns + max(JUDGED_NS, least_ns)
        self._reads = self._given = self._unusable = 0
        self._why_unusable = ""
        self._retries_before = _retries(self._sensor.counters())

    def _count(self, block: Block) -> None:
        self._given += len(block.values)
        if block.reasons:  # rarely: the common case is to cost nothing
            self._unusable += int(np.isnan(block.values).all(axis=1).sum())
            self._why_unusable = block.reasons[-1]

    def _wrong(self, now_ns: int) -> str:
        most = WELL_AGAIN if self._poor else TOLERATED
        counted = self._sensor.counters()
        retries = _retries(counted) - self._retries_before
        if self._unusable > most * self._given:
            return f"{self._unusable} of {self._given} samples could not be used: {self._why_unusable}"
        if retries > most * self._reads:
            return f"{retries} retries in {self._reads} reads. Check wiring, cable length and pull-ups"
        rate_hz = self._given * NS_PER_S / (now_ns - self._since_ns)
        return self._off_its_rate(rate_hz, most, counted) if "true_rate_hz" in counted else ""

    def _off_its_rate(self, rate_hz: float, most: float, counted: dict[str, Any]) -> str:
        layout = self._sensor.layout
        if layout is None or (1 - most) * layout.rate_hz <= rate_hz <= layout.rate_hz / (1 - most):
            return ""
        if rate_hz > layout.rate_hz:
            return (
                f"it gives {rate_hz:.3g} Hz, more than the {layout.rate_hz:g} Hz of its `rate:`. Correct that"
            )
        return f"it cannot hold {layout.rate_hz:g} Hz and gives {rate_hz:.3g} Hz. {_cure(layout.rate_hz, counted)}"


def _cure(rate_hz: float, counted: dict[str, Any]) -> str:
    took_ms = counted.get("reading_ms")
    if took_ms is None:
        return "Correct its `rate:`, or see what holds the device up"
    if took_ms * NS_PER_MS > TOO_LONG * NS_PER_S / rate_hz:
        return f"A reading takes {took_ms:.3g} ms: lower its `rate:`, or raise the bus clock"
    return "The board is busy, or the other sensors of its bus are: lower its `rate:`"


def _retries(counted: dict[str, int | float]) -> int:
    return int(sum(n for cause, n in counted.items() if cause.endswith("_retries")))


def has_values(block: Block | None) -> bool:
    """Whether there is anything in it that could be used."""
    return block is not None and not (block.reasons and np.isnan(block.values).all())

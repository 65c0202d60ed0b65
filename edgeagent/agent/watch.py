"""One sensor watched for people: opened, read, retried as the agent does it, and what it gave kept in short."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from edgeagent.agent.alone import Alone
from edgeagent.agent.threads import Announced
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Layout
from edgeagent.sensors import Sensor
from edgeagent.timebase import Clock

STEP_NS = 100 * NS_PER_MS
BUCKET_S = 0.25
BUCKETS = 60
RATE_OVER_NS = 5 * NS_PER_S
KEPT_REASONS = 3


class Series:
    """One channel: its range over everything, and the mean of each of the last stretches of time."""

    def __init__(self, name: str, unit: str) -> None:
        self.name, self.unit = name, unit
        self.last = self.low = self.high = math.nan
        self._buckets: deque[tuple[int, float, int]] = deque(maxlen=BUCKETS)

    def add(self, value: float, bucket: int) -> None:
        """A value; NaN counts for nothing."""
        self.last = value
        if math.isnan(value):
            return
        self.low, self.high = np.fmin(self.low, value).item(), np.fmax(self.high, value).item()
        if self._buckets and self._buckets[-1][0] == bucket:
            _, total, n = self._buckets.pop()
            self._buckets.append((bucket, total + value, n + 1))
        else:
            self._buckets.append((bucket, value, 1))

    def recent(self, until: int) -> list[float | None]:
        """The last means up to a bucket; None where nothing came."""
        means = {bucket: total / n for bucket, total, n in self._buckets}
        return [means.get(bucket) for bucket in range(until - BUCKETS + 1, until + 1)]


class Watch(Alone):
    """A sensor, and in short what it gave."""

    def __init__(self, name: str, sensor: Sensor, clock: Clock) -> None:
        super().__init__(name, sensor, clock)
        self._start_ns = clock.now_ns()
        self._bucket_ns = round(BUCKET_S * NS_PER_S)
        self._arrivals: deque[tuple[int, int]] = deque()
        self._reasons: deque[str] = deque(maxlen=KEPT_REASONS)
        self.name = name
        self.series: list[Series] = []
        self.layout: Layout | None = None
        self.samples = self.missing = self.lost = 0
        self.changes: list[tuple[float, str, str]] = []
        """When the state changed (s from the start), to what, and why."""

    @property
    def bucket_s(self) -> float:
        """How much time one point of a curve is."""
        return self._bucket_ns / NS_PER_S

    @property
    def elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._start_ns) / NS_PER_S

    def step(self) -> None:
        """Read what is due, or wait a tenth of a second for it. Raises nothing that a device can cause."""
        before = self.state
        messages = self.heard(self._clock.now_ns() + STEP_NS)
        if self.state != before:
            self.changes.append((round(self.elapsed_s, 2), self.state, self.reason))
            for series in self.series:
                series.last = math.nan  # a value of before must not stand as the one of now
        for message in messages:
            match message:
                case Announced():
                    self._announced(message.layout)
                case Block():
                    self._take(message)

    def rate_hz(self) -> float:
        """Samples a second over the last five."""
        now_ns = self._clock.now_ns()
        since_ns = max(now_ns - RATE_OVER_NS, self._start_ns)
        while self._arrivals and self._arrivals[0][0] < since_ns:
            self._arrivals.popleft()
        return sum(n for _, n in self._arrivals) * NS_PER_S / max(now_ns - since_ns, 1)

    def recent(self, series: Series) -> list[float | None]:
        """The means of a channel up to now, for a sparkline; None where nothing came."""
        return series.recent((self._clock.now_ns() - self._start_ns) // self._bucket_ns)

    def summary(self) -> dict[str, Any]:
        """Everything that is known, as it stands."""
        return {
            "sensor": self.name,
            "state": self.state,
            "reason": self.reason,
            "seconds": round(self.elapsed_s, 3),
            "samples": self.samples,
            "missing": self.missing,
            "lost": self.lost,
            "rate_hz": round(self.rate_hz(), 3),
            "nominal_hz": self.layout.rate_hz if self.layout else None,
            "channels": {
                s.name: {"unit": s.unit, **{k: _finite(getattr(s, k)) for k in ("last", "low", "high")}}
                for s in self.series
            },
            "errors": self.errors(),
            "changes": [{"at_s": at_s, "state": state, "reason": why} for at_s, state, why in self.changes],
            "reasons": list(self._reasons),
        }

    def errors(self) -> dict[str, int | float]:
        """What the driver counted."""
        return self._device.sensor.counters()

    def _announced(self, layout: Layout) -> None:
        """Channels that stay keep what is known of them: a replug is no new beginning."""
        known = {(s.name, s.unit): s for s in self.series}
        self.layout = layout
        self.series = [known.get((c.name, c.unit)) or Series(c.name, c.unit) for c in layout.channels]
        self._bucket_ns = max(round(BUCKET_S * NS_PER_S), round(NS_PER_S / layout.rate_hz))

    def _take(self, block: Block) -> None:
        self.samples += len(block.values)
        self.lost += block.lost
        self.missing += int(np.isnan(block.values).any(axis=1).sum())
        self._arrivals.append((block.t_read_ns, len(block.values)))
        self._reasons.extend(reason for reason in block.reasons if reason not in self._reasons)
        buckets = ((block.t_mono_ns - self._start_ns) // self._bucket_ns).tolist()
        for series, column in zip(self.series, block.values.T.tolist(), strict=True):
            for value, bucket in zip(column, buckets, strict=True):
                series.add(value, bucket)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

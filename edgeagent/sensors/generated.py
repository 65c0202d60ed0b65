"""What the sensors without hardware share: samples that are due at a rate, made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_S, Block, Float32Array, Layout
from edgeagent.timebase import Clock

GATHER_S = 0.05
MOST_ROWS = 4096
MISSING = "missing where it was recorded"

Truth = Callable[[int, int], str | None]
Make = Callable[[int, int], Float32Array]
"""(first, count): float32[count, channels] of the samples from number `first` on, counted from 0 at each open."""
Show = Callable[[int, int], tuple[bytes, ...]]
"""The same of their pictures."""


class Generated:
    """A sensor of samples that are computed."""

    wake: Callable[[], None] | None = None

    def __init__(
        self,
        name: str,
        layout: Layout,
        clock: Clock,
        make: Make,
        truth: Truth | None = None,
        show: Show | None = None,
    ) -> None:
        self.port = f"generated {name}"
        self.layout: Layout | None = layout
        self._name, self._clock, self._make = name, clock, make
        self._truth_at, self._show = truth, show
        self.truth: Truth | None = self._truth if truth else None
        self._period_ns = NS_PER_S / layout.rate_hz
        self._gather_ns = max(round(GATHER_S * NS_PER_S), round(self._period_ns))
        self._zero_ns: int | None = None
        self._count = self._seq = self._due_ns = 0

    def open(self) -> None:
        self._zero_ns = self._clock.now_ns()
        self._count = 0
        self._due_ns = self._zero_ns + self._gather_ns

    def due_ns(self) -> int:
        return self._due_ns

    def read(self) -> Block | None:
        """All samples that have become due since the last read."""
        if self._zero_ns is None:
            raise DeviceFault("the sensor is not open", where=self.port)
        now_ns = self._clock.now_ns()
        count = min(int((now_ns - self._zero_ns) // self._period_ns) - self._count, MOST_ROWS)
        self._due_ns = now_ns + self._gather_ns
        if count <= 0:
            return None
        values = self._make(self._count, count)
        pictures = self._show(self._count, count) if self._show else ()
        numbers = np.arange(self._count + 1, self._count + count + 1)
        t_ns = self._zero_ns + np.rint(numbers * self._period_ns).astype(np.int64)
        self._count += count
        self._seq += 1
        reasons = (MISSING,) if np.isnan(values).any() else ()
        return Block(self._name, self._seq, t_ns, values, now_ns, reasons=reasons, pictures=pictures)

    def close(self) -> None:
        self._zero_ns = None

    def counters(self) -> dict[str, int | float]:
        return {"true_rate_hz": NS_PER_S / self._period_ns}

    def _truth(self, t_start_ns: int, t_end_ns: int) -> str | None:
        if self._truth_at is None or self._zero_ns is None:
            return None
        began_ns = self._zero_ns + round(self._period_ns)  # when sample 0 is taken
        return self._truth_at(t_start_ns - began_ns, t_end_ns - began_ns)

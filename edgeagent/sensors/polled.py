"""What the drivers of chips that must be asked share: absolute deadlines, one row a deadline, and saying how it went.

A driver writes a `Probe`: how its chip is made ready and how one reading is taken. `Polled` is the sensor around it.
Deadlines lie on a grid fixed at the first opening: no delay adds up, and what was missed (the chip was slow, away,
or the thread was held up) is the number of grid points without a reading.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from edgeagent.errors import ConfigFault, DeviceFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Layout
from edgeagent.timebase import Clock

GATHER_S = 0.05  # rows of this time go into one block
RASTER_S = 0.02  # of the deadlines, or the period: one wake-up serves many sensors
REMEMBERED = 1000  # readings, for jitter and true rate
BAD_IN_A_ROW = 10
AVERAGED = 50  # readings, for how long they take


class Row(NamedTuple):
    """One reading in the units of the layout; NaN what could not be had, and `reason` why."""

    values: tuple[float, ...]
    reason: str = ""


Measurement = Row | Generator[float, None, Row]


def no_faster(chip: str, rate_hz: float, reading_s: float, how: str = "") -> None:
    """Raises ConfigFault for a rate that leaves no time for readings of so many seconds."""
    if rate_hz * reading_s > 1:
        raise ConfigFault(
            f"the {chip} cannot measure {rate_hz:g} times a second",
            where="rate",
            expected=f"{1 / reading_s:.3g} Hz at most{how}",
        )


class Probe(Protocol):
    """What a polled driver writes. The sensor's thread alone calls it."""

    @property
    def port(self) -> str:
        """Bus or port; sensors of one port share its reader thread."""
        ...

    @property
    def where(self) -> str:
        """Port and address, as faults name them."""
        ...

    def start(self) -> float:
        """Identify and configure, from nothing each time: in how many seconds the first reading is there.

        Raises DeviceFault.
        """
        ...

    def measure(self) -> Measurement:
        """One reading. While the chip converts, `yield` the seconds to wait: the bus is free for others meanwhile.

        Raises DeviceFault.
        """
        ...

    def counters(self) -> Mapping[str, int]:
        """What went wrong so far by cause."""
        ...

    def close(self) -> None:
        """Let go of the port; never raises."""
        ...


class Polled:
    """A sensor that is asked, once a deadline."""

    wake: Callable[[], None] | None = None
    truth: Callable[[int, int], str | None] | None = None

    def __init__(self, name: str, layout: Layout, clock: Clock, probe: Probe) -> None:
        self.port = probe.port
        self.layout: Layout | None = layout
        self._name, self._clock, self._probe = name, clock, probe
        self._grid = Grid(layout.rate_hz)
        self._pending = Pending(name, max(int(GATHER_S * layout.rate_hz), 1))
        self._pace = Pace(layout.rate_hz)
        self._steps: Generator[float, None, Row] | None = None
        self._is_open = False
        self._fault: DeviceFault | None = None
        self._due_ns = self._began_ns = 0
        self._bad = self._bad_in_a_row = 0

    def open(self) -> None:
        """Raises DeviceFault: see the probe's `start`."""
        self._forget()
        first_s = self._probe.start()
        self._due_ns = self._grid.restart(self._clock.now_ns() + math.ceil(first_s * NS_PER_S))
        self._is_open = True

    def due_ns(self) -> int:
        return self._due_ns

    def read(self) -> Block | None:
        """Begin, go on with, or finish a reading, as far as it is due. Raises DeviceFault."""
        if not self._is_open:
            raise DeviceFault("the sensor is not open", where=self._probe.where)
        if self._fault is not None:
            raise self._fault
        now_ns = self._clock.now_ns()
        if now_ns < self._due_ns:
            return None
        try:
            row = self._step(now_ns)
        except DeviceFault as fault:
            self._fault = fault  # first what has been read until now
            if block := self._pending.flush(now_ns):
                return block
            raise
        return None if row is None else self._keep(row)

    def close(self) -> None:
        self._is_open = False
        self._forget()
        self._probe.close()

    def counters(self) -> dict[str, int | float]:
        return {
            "readings_bad": self._bad,
            "deadlines_missed": self._grid.missed,
            "late_p99_ms": self._pace.late_p99_ms,
            "reading_ms": self._pace.reading_ms,
            "true_rate_hz": self._pace.true_rate_hz,
            **self._probe.counters(),
        }

    def _forget(self) -> None:
        self._steps = self._fault = None
        self._bad_in_a_row = 0
        self._grid.give_back(self._pending.drop())

    def _step(self, now_ns: int) -> Row | None:
        if self._steps is None:
            self._grid.take(now_ns)
            self._pace.late(self._grid.late_ns(now_ns))
            self._began_ns = now_ns
            measurement = self._probe.measure()
            if isinstance(measurement, Row):
                return measurement
            self._steps = measurement
        try:
            wait_s = next(self._steps)
        except StopIteration as done:
            self._steps = None
            row: Row = done.value
            return row
        self._due_ns = self._clock.now_ns() + math.ceil(wait_s * NS_PER_S)
        return None

    def _keep(self, row: Row) -> Block | None:
        now_ns = self._clock.now_ns()
        self._due_ns = self._grid.next_ns()
        self._check(row)
        t_ns = (self._began_ns + now_ns) // 2
        self._pace.read(t_ns, now_ns - self._began_ns)
        return self._pending.add(row, t_ns, self._grid.lost(), now_ns)

    def _check(self, row: Row) -> None:
        """Count readings without any value; too many in a row are a fault of the device."""
        if not all(math.isnan(value) for value in row.values):
            self._bad_in_a_row = 0
            return
        self._bad += 1
        self._bad_in_a_row += 1
        if self._bad_in_a_row >= BAD_IN_A_ROW:
            self._fault = DeviceFault(
                f"{BAD_IN_A_ROW} readings in a row could not be used: {row.reason}",
                where=self._probe.where,
                hint="Check wiring, cable length and pull-ups.",
            )


class Grid:
    """Deadlines at a rate, by number: where they lie, which is next, how many were missed."""

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = NS_PER_S / rate_hz
        self._raster_ns = min(self._period_ns, RASTER_S * NS_PER_S)
        self._zero_ns: int | None = None
        self._next = 0
        self._now = self._last = -1  # the deadline being served, and the last one delivered
        self.missed = 0

    def restart(self, ready_ns: int) -> int:
        """The first deadline at or after a time; the very first one lies on the raster, by the clock."""
        if self._zero_ns is None:
            self._zero_ns = round(math.ceil(ready_ns / self._raster_ns) * self._raster_ns)
        self._next = max(self._next, math.ceil((ready_ns - self._zero_ns) / self._period_ns))
        return self.next_ns()

    def next_ns(self) -> int:
        return self._at(self._next)

    def take(self, now_ns: int) -> None:
        """Serve the newest deadline that has passed."""
        newest = int((now_ns - self._at(0)) // self._period_ns)
        number = max(self._next, newest)
        self.missed += number - self._next
        self._now, self._next = number, number + 1

    def late_ns(self, now_ns: int) -> int:
        return now_ns - self._at(self._now)

    def lost(self) -> int:
        """The deadline is served: how many lie between it and the last that was."""
        lost = self._now - self._last - 1
        self._last = self._now
        return lost

    def give_back(self, rows: int) -> None:
        """The last readings were thrown away before anybody had them."""
        self._last -= rows

    def _at(self, number: int) -> int:
        return (self._zero_ns or 0) + round(number * self._period_ns)


class Pending:
    """Rows until they make a block."""

    def __init__(self, sensor: str, enough: int) -> None:
        self._sensor, self._enough = sensor, enough
        self._rows: list[Row] = []
        self._t_ns: list[int] = []
        self._lost = self._seq = 0

    def add(self, row: Row, t_ns: int, lost: int, now_ns: int) -> Block | None:
        """A block if there are enough; or before a hole, which a block can only have in front."""
        block = self.flush(now_ns) if lost else None
        if not self._rows:
            self._lost = lost
        self._rows.append(row)
        self._t_ns.append(t_ns)
        return self.flush(now_ns) if block is None and len(self._rows) >= self._enough else block

    def flush(self, now_ns: int) -> Block | None:
        if not self._rows:
            return None
        self._seq += 1
        values = np.array([row.values for row in self._rows], dtype=np.float32)
        reasons = tuple(dict.fromkeys(row.reason for row in self._rows if row.reason))
        t_ns = np.array(self._t_ns, dtype=np.int64)
        block = Block(self._sensor, self._seq, t_ns, values, now_ns, self._lost, reasons)
        self.drop()
        return block

    def drop(self) -> int:
        """Throw away what there is: how many rows."""
        rows = len(self._rows)
        self._rows, self._t_ns = [], []
        return rows


class Pace:
    """How well the rate is held: what was really reached, how late readings began, and how long they took."""

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._late_ns: deque[int] = deque(maxlen=REMEMBERED)
        self._t_ns: deque[int] = deque(maxlen=REMEMBERED)
        self._took_ns: deque[int] = deque(maxlen=AVERAGED)

    def late(self, late_ns: int) -> None:
        self._late_ns.append(late_ns)

    def read(self, t_ns: int, took_ns: int) -> None:
        self._t_ns.append(t_ns)
        self._took_ns.append(took_ns)

    @property
    def late_p99_ms(self) -> float:
        """How late 99 of 100 readings began at most."""
        late_ns = sorted(self._late_ns)
        return late_ns[(len(late_ns) - 1) * 99 // 100] / NS_PER_MS if late_ns else 0.0

    @property
    def reading_ms(self) -> float:
        """How long a reading takes, conversion and all."""
        return sum(self._took_ns) / len(self._took_ns) / NS_PER_MS if self._took_ns else 0.0

    @property
    def true_rate_hz(self) -> float:
        """Readings a second over the last thousand; the nominal rate while there is but one."""
        if len(self._t_ns) < 2:
            return self._rate_hz
        return (len(self._t_ns) - 1) * NS_PER_S / (self._t_ns[-1] - self._t_ns[0])

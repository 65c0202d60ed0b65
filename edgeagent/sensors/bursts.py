"""Chips that sample by a clock of their own into a FIFO, read in bursts: a late reader loses nothing.

A driver writes a `Fifo`: how its chip is made ready, how many samples wait, and how they are taken out. `FromFifo` is
the sensor around it: when to read, the samples' times, and what was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Float32Array, Layout
from edgeagent.timebase import Clock, SampleTimes

MIN_BURST_NS, MAX_BURST_NS, BURST_SAMPLES = 40 * NS_PER_MS, 100 * NS_PER_MS, 5
SILENCE_NS = NS_PER_S


def burst_ns(rate_hz: float, fifo_samples: int) -> int:
    """How long to let samples gather: five of them, within 40 to 100 ms; at a slow rate until there is one.

    Never more than half of what the FIFO holds: the other half is for a reader that comes late.
    """
    period_ns = NS_PER_S / rate_hz
    wanted_ns = max(MIN_BURST_NS, min(MAX_BURST_NS, BURST_SAMPLES * period_ns), period_ns)
    return round(min(wanted_ns, max(fifo_samples / 2, 1) * period_ns))


class Fifo(Protocol):
    """What the driver of a chip with a FIFO writes. The sensor's thread alone calls it; all may raise DeviceFault."""

    @property
    def port(self) -> str:
        """The bus; sensors of one bus share its reader thread."""
        ...

    @property
    def where(self) -> str:
        """Bus and address, as faults name them."""
        ...

    def start(self) -> None:
        """Identify and configure, from nothing each time."""
        ...

    def empty(self) -> None:
        """Throw away what the FIFO holds, and let it fill anew."""
        ...

    def waiting(self) -> int | None:
        """How many whole samples wait; None if some were pushed out: nobody knows how many."""
        ...

    def take(self, samples: int) -> Float32Array:
        """The oldest samples, float32[n, channels] in the units of the layout. Never tried twice: it takes them out."""
        ...

    def counters(self) -> Mapping[str, int]:
        """What went wrong so far by cause."""
        ...

    def close(self) -> None:
        """Let go of the bus; never raises."""
        ...


class FromFifo:
    """A sensor that is read in bursts. Samples lost (overflow, broken burst, time closed) are told by the next block.

    Args:
        name: Its name.
        layout: Channels, and the chip's rate.
        clock: Its clock.
        chip: The chip.
        holds: How many samples its FIFO holds.
        truth: What really happened between two times, where a fake plays a labelled recording.
    """

    wake: Callable[[], None] | None = None

    def __init__(
        self,
        name: str,
        layout: Layout,
        clock: Clock,
        chip: Fifo,
        holds: int,
        truth: Callable[[int, int], str | None] | None = None,
    ) -> None:
        self.port, self.truth = chip.port, truth
        self.layout: Layout | None = layout
        self._clock, self._chip = clock, chip
        self._bursts = Bursts(name, layout.rate_hz, holds)
        self._is_open = False
        self._overflows = self._broken_bursts = 0

    def open(self) -> None:
        """Raises DeviceFault: see the chip's `start`."""
        self._chip.start()
        self._restart()
        self._is_open = True

    def due_ns(self) -> int:
        return self._bursts.due_ns()

    def read(self) -> Block | None:
        """All samples that wait. Raises DeviceFault."""
        if not self._is_open:
            raise DeviceFault("the sensor is not open", where=self._chip.where)
        before_ns = self._clock.now_ns()
        samples = self._chip.waiting()
        counted_ns = self._clock.now_ns()
        if samples is None:
            self._overflows += 1
            self._restart()
            return None
        if samples == 0:
            self._bursts.nothing(counted_ns, self._chip.where)
            return None
        try:
            values = self._chip.take(samples)
        except DeviceFault:  # half way: nobody knows where in a sample the FIFO stands
            self._broken_bursts += 1
            self._restart()  # raises if the bus is down for good
            return None
        return self._bursts.block(values, before_ns, counted_ns, self._clock.now_ns())

    def close(self) -> None:
        self._is_open = False
        self._chip.close()

    def counters(self) -> dict[str, int | float]:
        return {
            "fifo_overflows": self._overflows,
            "broken_bursts": self._broken_bursts,
            **self._chip.counters(),
            "true_rate_hz": self._bursts.true_rate_hz,
            "jitter_ms": self._bursts.jitter_ms,
        }

    def _restart(self) -> None:
        self._chip.empty()
        self._bursts.restart(self._clock.now_ns())


class Bursts:
    """The bursts of one sensor as blocks: numbered, timed, with what was lost before each.

    Args:
        sensor: Its name.
        rate_hz: The chip's rate.
        fifo_samples: How many samples its FIFO holds.
    """

    def __init__(self, sensor: str, rate_hz: float, fifo_samples: int) -> None:
        self._sensor, self._period_ns = sensor, NS_PER_S / rate_hz
        self._gather_ns = burst_ns(rate_hz, fifo_samples)
        self._times = SampleTimes(rate_hz)
        self._last_ns: int | None = None  # the newest sample delivered, by any opening
        self._restarted = False
        self._asked_ns = self._progress_ns = 0
        self._seq = 0

    @property
    def true_rate_hz(self) -> float:
        """The rate that the chip really has, as far as it is known."""
        return self._times.true_rate_hz

    @property
    def jitter_ms(self) -> float:
        """How far a burst lies from where it was expected."""
        return self._times.jitter_ms

    def due_ns(self) -> int:
        return self._asked_ns + self._gather_ns

    def restart(self, now_ns: int) -> None:
        """The FIFO was emptied: what it held is lost."""
        self._times.reset()
        self._restarted = True
        self._asked_ns = self._progress_ns = now_ns

    def nothing(self, now_ns: int, where: str) -> None:
        """The FIFO was empty. Raises DeviceFault if it is for too long: a chip without power for a moment sleeps."""
        self._asked_ns = now_ns
        silent_ns = now_ns - self._progress_ns
        if silent_ns > SILENCE_NS + BURST_SAMPLES * self._period_ns:
            raise DeviceFault(
                f"answers, but has taken no sample for {silent_ns / NS_PER_S:.1f} s",
                where=where,
                hint="It was probably without power for a moment: check its supply.",
            )

    def block(self, values: Float32Array, before_ns: int, counted_ns: int, read_ns: int) -> Block:
        """A burst, float32[n, channels]; its samples were counted between `before_ns` and `counted_ns`."""
        # The newest sample was taken at some moment of the last period before the count was.
        earliest_ns = before_ns - round(self._period_ns)
        t_ns = self._times.stamp(len(values), counted_ns, earliest_ns=earliest_ns)
        lost = self._missed(int(t_ns[0]))
        self._asked_ns = self._progress_ns = counted_ns
        self._last_ns, self._restarted = int(t_ns[-1]), False
        self._seq += 1
        return Block(self._sensor, self._seq, t_ns, values, read_ns, lost)

    def _missed(self, first_ns: int) -> int:
        """How many samples were thrown away since the last block, by the time that passed."""
        if not self._restarted or self._last_ns is None:
            return 0
        return max(round((first_ns - self._last_ns) / self._period_ns) - 1, 0)

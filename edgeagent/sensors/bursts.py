"""What the drivers of chips with a FIFO share: when to read, the samples' times, and what was lost."""

from __future__ import annotations

from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Float32Array
from edgeagent.timebase import SampleTimes

MIN_BURST_NS, MAX_BURST_NS, BURST_SAMPLES = 40 * NS_PER_MS, 100 * NS_PER_MS, 5
SILENCE_NS = NS_PER_S


def burst_ns(rate_hz: float, fifo_samples: int) -> int:
    """How long to let samples gather: five of them, within 40 to 100 ms; at a slow rate until there is one.

    Never more than half of what the FIFO holds: the other half is for a reader that comes late.
    """
    period_ns = NS_PER_S / rate_hz
    wanted_ns = max(MIN_BURST_NS, min(MAX_BURST_NS, BURST_SAMPLES * period_ns), period_ns)
    return round(min(wanted_ns, max(fifo_samples / 2, 1) * period_ns))


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

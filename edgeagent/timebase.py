"""Boot, run, monotonic and wall time.

A Pi has no clock until the network comes. So order is boot id and CLOCK_MONOTONIC, never wall time, and
wall time is computed from the boot's offset once it is known.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from edgeagent.records import NS_PER_MS, NS_PER_S, Int64Array, Record


class Wall(NamedTuple):
    """Wall minus monotonic time in ns, whether that is known to be right, and who says so: the system, or a sensor."""

    offset_ns: int
    synced: bool
    source: str = "system"


def best_wall(system: Wall, told: Wall | None) -> Wall:
    """The system's clock if it is set: the network sets it to milliseconds, a sensor knows tenths of a second."""
    return system if told is None or system.synced else told


class Clock(Protocol):
    """What everything that must wait is handed. `agent/clock.py` has the real, scaled and virtual ones."""

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC, in ns."""
        ...

    def wall(self) -> Wall:
        """How wall time lies over monotonic time at this moment."""
        ...

    def tell_wall(self, told: Wall) -> None:
        """What a sensor knows of it, which counts while the system's clock is not set. From any thread."""
        ...

    def sleep_s(self, seconds: float) -> None: ...

    def wait(self, event: Event, until_ns: int) -> bool:
        """Wait until the event is set (True) or the clock shows `until_ns` (False)."""
        ...

    def let_run(self, duration_ns: int | None) -> None:
        """Whoever must not come late says how far time may run on before he has said it again; None: for ever.

        Only a time that several programs share for show waits for anybody: agent/clock.py, `SharedClock`.
        """
        ...

    def real_s(self, duration_ns: int) -> float:
        """How many real seconds such a duration takes: the time-out to hand to `poll`, a socket or a queue."""
        ...


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def new_run() -> str:
    """Twelve random hex digits that name one process start."""
    return secrets.token_hex(6)


def rfc3339(wall_ns: int) -> str:
    """Wall time in ns since 1970 as RFC 3339 UTC with microseconds."""
    seconds, ns = divmod(wall_ns, NS_PER_S)
    return f"{_utc(seconds)}.{ns // 1000:06d}Z"


@lru_cache(
    maxsize=16
)  # the records of a commit share their second, and strftime costs more than their encoding
def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def correct(record: Record, this_boot: str, wall: Wall) -> Record:
    """Stamp a record that was made before the time was known; from another boot it stays as it is."""
    if record.clock != "unsynced" or not wall.synced or record.boot_id != this_boot:
        return record
    return msgspec.structs.replace(record, time=rfc3339(record.mono_ns + wall.offset_ns), clock="corrected")


class SampleTimes:
    """Times for samples that arrive in bursts from a device that counts by a clock of its own.

    A phase-locked loop over the bursts: each new sample is one period after the last; the newest one's
    observed time pulls phase and period gently, so that jitter in the read does not become jitter in the
    samples. A jump of more than `slack` periods re-anchors at once.

    Args:
        rate_hz: The nominal sample rate.
        slack: How many periods the observation may be off before it is a jump, not jitter.
    """

    __slots__ = ("_jitter_ns", "_last_ns", "_nominal_ns", "_period_ns", "_slack_ns")

    PHASE_GAIN = 0.1
    PERIOD_GAIN = 0.005
    PERIOD_LIMIT = 0.05
    JITTER_GAIN = 0.05
    STEP_LIMIT = 0.5  # no correction makes time run back, or looks like a hole

    def __init__(self, rate_hz: float, slack: float = 25.0) -> None:
        self._nominal_ns = self._period_ns = NS_PER_S / rate_hz
        self._slack_ns = slack * self._nominal_ns
        self._last_ns: float | None = None
        self._jitter_ns = 0.0

    @property
    def true_rate_hz(self) -> float:
        """The rate that the device really has, as far as it is known."""
        return NS_PER_S / self._period_ns

    @property
    def jitter_ms(self) -> float:
        """How far a burst lies from where it was expected, on the average of the last twenty or so."""
        return self._jitter_ns / NS_PER_MS

    def reset(self) -> None:
        """Forget the phase: the device was restarted."""
        self._last_ns = None

    def stamp(self, count: int, newest_ns: int, lost: int = 0, earliest_ns: int | None = None) -> Int64Array:
        """int64[count]: a time for each of `count` samples, the last of them observed at `newest_ns`.

        Where all that is known is that the last was taken between `earliest_ns` and `newest_ns`, what was
        expected is believed as far as it lies between: a reader held up does not move the samples.
        """
        steps, step_ns, error_ns = max(count + lost, 1), self._period_ns, 0.0
        earliest_ns = newest_ns if earliest_ns is None else earliest_ns
        if self._last_ns is None:
            end_ns = (earliest_ns + newest_ns) / 2
        else:
            expected_ns = self._last_ns + steps * step_ns
            end_ns = min(max(expected_ns, earliest_ns), newest_ns)
            error_ns = end_ns - expected_ns
            if error_ns and abs(error_ns) <= self._slack_ns:
                step_ns = self._pull(error_ns, steps)
                end_ns = self._last_ns + steps * step_ns
        self._jitter_ns += self.JITTER_GAIN * (abs(error_ns) - self._jitter_ns)
        self._last_ns = end_ns
        whole_ns, last_ns = max(round(step_ns), 1), round(end_ns)
        return np.arange(last_ns - (count - 1) * whole_ns, last_ns + 1, whole_ns)

    def _pull(self, error_ns: float, steps: int) -> float:
        """The step between this burst's samples: the period, and the phase's correction spread over them all."""
        most_ns = self.STEP_LIMIT * self._period_ns
        step_ns = self._period_ns + min(max(self.PHASE_GAIN * error_ns / steps, -most_ns), most_ns)
        limit_ns = self._nominal_ns * self.PERIOD_LIMIT
        period_ns = self._period_ns + self.PERIOD_GAIN * error_ns / steps
        self._period_ns = min(max(period_ns, self._nominal_ns - limit_ns), self._nominal_ns + limit_ns)
        return step_ns

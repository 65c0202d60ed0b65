"""How quickly the outbox fills and the card is written to, by what this process has seen of the last day."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import NamedTuple

from edgeagent.records import NS_PER_S

DAY_S = 86_400
_STEP_NS = 600 * NS_PER_S
_LEAST_NS = 60 * NS_PER_S


class Reading(NamedTuple):
    """Bytes of records made durable, and bytes written to disks by this process, from its start on."""

    now_ns: int
    queued_bytes: int
    written_bytes: int | None


class PerDay(NamedTuple):
    """Bytes a day; `written_bytes` is None where the kernel does not count."""

    queued_bytes: float
    written_bytes: float | None

    def days_to_full(self, room_bytes: float) -> float | None:
        """How long the network may be away; None if nothing is made."""
        return max(room_bytes, 0.0) / self.queued_bytes if self.queued_bytes else None


class Pace:
    """Readings of a day, one every ten minutes, and the newest."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=DAY_S * NS_PER_S // _STEP_NS)
        self._newest: Reading | None = None

    def note(self, reading: Reading) -> None:
        self._newest = reading
        if not self._readings or reading.now_ns - self._readings[-1].now_ns >= _STEP_NS:
            self._readings.append(reading)

    def per_day(self) -> PerDay | None:
        """None in the first minute: too little has been seen."""
        if self._newest is None or self._newest.now_ns - self._readings[0].now_ns < _LEAST_NS:
            return None
        first, last = self._readings[0], self._newest
        days = (last.now_ns - first.now_ns) / NS_PER_S / DAY_S
        counted = first.written_bytes is not None and last.written_bytes is not None
        return PerDay(
            (last.queued_bytes - first.queued_bytes) / days,
            ((last.written_bytes or 0) - (first.written_bytes or 0)) / days if counted else None,
        )

    def is_over(self, written_a_day_bytes: int) -> bool:
        """Whether more is written to disks than so many bytes a day, as far as that can be told."""
        per_day = self.per_day()
        return per_day is not None and (per_day.written_bytes or 0.0) > written_a_day_bytes


def written_bytes() -> int | None:
    """What this process has given to the disks so far; None if the kernel does not count that."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)

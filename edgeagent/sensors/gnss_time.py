"""Wall time as a satellite receiver tells it, believed only when there is reason to. Times in, an offset out; no I/O.

A sentence comes late, by as much as the receiver computes and the line takes, and never early: of those of the last
minute the one that came soonest is the nearest. So the time is good to some tenths of a second.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from edgeagent.records import NS_PER_MS, NS_PER_S

AGREEING = 5  # sentences in a row, before the first of them is believed
KEPT = 60
APART_NS = 2 * NS_PER_S
DRIFT = 200e-6  # of a board's quartz at its worst: after a day without satellites 17 s
BACK_NS = 86_400 * NS_PER_S
NOT_BEFORE_NS = round(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S
"""This program was written then: an earlier date is of a receiver whose week number has rolled over."""


class GnssTime:
    """What one receiver says of the time."""

    def __init__(self) -> None:
        self.doubted = 0
        self._offsets: deque[int] = deque(maxlen=KEPT)
        self._agreed_ns = 0

    @property
    def offset_ns(self) -> int | None:
        """Wall minus monotonic time; None until enough sentences have agreed."""
        return max(self._offsets) if len(self._offsets) >= AGREEING else None

    def hear(self, utc: datetime, now_ns: int, system_ns: int) -> str:
        """The time of a sentence with a fix, which came at `now_ns`: why it is not believed, "" if it is not doubted.

        `system_ns` is what the system's unset clock shows. It starts from where the last boot ended: before that it
        is not. Once a time is believed, nothing moves it but what a quartz can drift.
        """
        utc_ns = round(utc.timestamp() * 1e3) * NS_PER_MS
        why = self._doubt(utc_ns, now_ns, system_ns)
        if why:
            self.doubted += 1
        else:
            self._offsets.append(utc_ns - now_ns)
            self._agreed_ns = now_ns
        return why

    def _doubt(self, utc_ns: int, now_ns: int, system_ns: int) -> str:
        if utc_ns < max(NOT_BEFORE_NS, system_ns - BACK_NS):
            return "that has been: its week number has rolled over, or the system's clock is wrong"
        apart_ns = APART_NS + DRIFT * (now_ns - self._agreed_ns)
        if not self._offsets or abs(utc_ns - now_ns - max(self._offsets)) <= apart_ns:
            return ""
        if self.offset_ns is None:
            self._offsets.clear()  # neither is known to be right: begin again
        return "it has leapt"

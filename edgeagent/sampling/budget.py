"""Bytes a day, as a token bucket on monotonic time, which no clock step can refill."""

from __future__ import annotations

from edgeagent.records import NS_PER_S

DAY_NS = 86_400 * NS_PER_S
BURSTS_A_DAY = 24


class ByteBudget:
    """Never lets through more than `per_day_bytes` in any 86,400 seconds.

    The bucket holds an hour's share and starts full; it refills by the rest of the budget over a day, so that a
    full bucket and a day of refilling are together the budget. Counted in whole byte-nanoseconds: exact, and
    the same in a replay.

    Args:
        per_day_bytes: The budget.
        spent_bytes: What is not refilled yet from before a restart (`spent_bytes` then), or, where only that is
            known, all that was spent in the last day. More than the bucket holds is a debt to wait out.
    """

    def __init__(self, per_day_bytes: int, spent_bytes: int = 0) -> None:
        burst_bytes = per_day_bytes // BURSTS_A_DAY
        self._refill_bytes_a_day = per_day_bytes - burst_bytes
        self._full = burst_bytes * DAY_NS
        self._level = (burst_bytes - spent_bytes) * DAY_NS
        self._now_ns: int | None = None

    def take(self, size_bytes: int, now_ns: int) -> bool:
        """Spend so many bytes; False, and nothing is spent, if they are not there."""
        if self._now_ns is not None:
            refilled = max(now_ns - self._now_ns, 0) * self._refill_bytes_a_day
            self._level = min(self._level + refilled, self._full)
        self._now_ns = now_ns
        if size_bytes * DAY_NS > self._level:
            return False
        self._level -= size_bytes * DAY_NS
        return True

    @property
    def spent_bytes(self) -> int:
        """What is not refilled yet, as of the last `take`, rounded up: hand it in after a restart."""
        return -((self._level - self._full) // DAY_NS)

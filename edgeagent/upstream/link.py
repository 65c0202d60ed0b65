"""How much may go over one link now: its budget, its pace, and how quick it has been. No clock, no port."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from edgeagent.records import NS_PER_S, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream.sync import LIMITS, Limits

EVENTS_SHARE = 10  # the last tenth of a month's budget is kept for events, captures and gaps
LEAST_BATCH_BYTES, FIRST_BATCH_BYTES = 50_000, 250_000
BATCH_S = 5.0  # a batch should take no longer, or what happens meanwhile waits for it
MOST_PACKED = 20  # zstd makes no batch of ours so many times smaller: then it was the last piece of a record
_CHECK_S = 60.0  # a budget that is spent is looked at so often: the clock may be set, the month end
_BURST_S = 2.0


class Allowance(NamedTuple):
    """What may be sent now; nothing for `pause_s` seconds if there are any. `why`: what holds some of it back."""

    limits: Limits
    pause_s: float = 0.0
    why: str = ""


class Link:
    """One upstream's link.

    Args:
        per_month_bytes: At most so much in a calendar month (UTC), and one record more. 0: no limit.
        per_second_bytes: On the average. 0: no limit.
        sent_bytes: What was sent before this start, by month (`2026-11`).
    """

    def __init__(self, per_month_bytes: int, per_second_bytes: int, sent_bytes: Mapping[str, int]) -> None:
        self._per_month_bytes, self._per_second_bytes = per_month_bytes, per_second_bytes
        self.sent_bytes = dict(sent_bytes)
        burst_bytes = round(per_second_bytes * _BURST_S) or LIMITS.max_bytes
        self._most_bytes = min(burst_bytes, LIMITS.max_bytes)
        self._batch_bytes = min(FIRST_BATCH_BYTES, self._most_bytes)
        self._free_ns: int | None = None  # when the pace lets the next batch go

    def month(self, now_ns: int, wall: Wall) -> str:
        """The month that bytes count for: while the clock is not set, the last one that was known."""
        if not wall.synced:
            return max(self.sent_bytes, default="")
        return datetime.fromtimestamp((now_ns + wall.offset_ns) / NS_PER_S, UTC).strftime("%Y-%m")

    def allowance(self, now_ns: int, wall: Wall) -> Allowance:
        """What the next batch may be."""
        if self._free_ns is not None and now_ns < self._free_ns:
            return Allowance(LIMITS, (self._free_ns - now_ns) / NS_PER_S)
        limits = LIMITS._replace(max_bytes=self._batch_bytes)
        if not self._per_month_bytes:
            return Allowance(limits)
        sent = self.sent_bytes.get(self.month(now_ns, wall), 0)
        left = self._per_month_bytes - sent
        said = f"has sent {sent / 1e6:.1f} of {self._per_month_bytes / 1e6:.1f} MB this month"
        if left <= 0:
            return Allowance(limits, _CHECK_S, f"{said}, and waits for the next")
        reserve = self._per_month_bytes // EVENTS_SHARE
        if left <= reserve:
            limits = limits._replace(max_bytes=min(left, self._batch_bytes), least=Priority.EVENT)
            return Allowance(limits, 0.0, f"{said}: the rest is for events, captures and gaps")
        return Allowance(limits._replace(max_bytes=min(left - reserve, self._batch_bytes)))

    def sent(self, size_bytes: int, took_ns: int, now_ns: int, wall: Wall) -> str:
        """So many bytes went, whatever became of them; for which month they count."""
        month = self.month(now_ns, wall)
        total_bytes = self.sent_bytes.get(month, 0) + size_bytes
        self.sent_bytes = self.sent_bytes | {month: total_bytes}  # a new one: the status reads it meanwhile
        if self._per_second_bytes:
            began_ns = now_ns - took_ns
            self._free_ns = began_ns + size_bytes * NS_PER_S // self._per_second_bytes
        return month

    def worked(self, bytes_sent: int, bytes_settled: int, took_ns: int) -> None:
        """They arrived: the next batch is as large as the link can take in some seconds, up to twice this one.

        A batch is measured as it lies in the outbox; what goes over the link may be zstd, or a piece of a record.
        """
        size_bytes = max(bytes_sent, min(bytes_settled, MOST_PACKED * bytes_sent))
        if size_bytes < LEAST_BATCH_BYTES:  # says more of the way there and back than of the link
            return
        in_time = size_bytes * BATCH_S * NS_PER_S / took_ns if took_ns else LIMITS.max_bytes
        self._batch_bytes = self._within(min(int(in_time), 2 * self._batch_bytes))

    def failed(self) -> None:
        """They did not, though the far end is there: less is asked of the link."""
        self._batch_bytes = self._within(self._batch_bytes // 2)

    def _within(self, size_bytes: int) -> int:
        return min(max(size_bytes, LEAST_BATCH_BYTES), self._most_bytes)

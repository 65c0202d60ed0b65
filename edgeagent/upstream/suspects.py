"""The record at which a receiver fails, though it takes all others: found, and set apart, so that it blocks none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeagent.records import Priority
from edgeagent.upstream import Queue, Queued
from edgeagent.upstream.sync import LIMITS

SHARE = 8  # a batch that fails is tried again by eighths
MOST_ASIDE = 4  # if so many fail one after the other, it is no record's fault
STRIKES = 3


class Suspects:
    """Of one upstream. A batch that fails becomes smaller; one that fails alone is left aside while another is tried.

    Only if that is taken does it count against the first, and after three times that is refused. No clock, no port.
    """

    def __init__(self) -> None:
        self.most_records = LIMITS.max_records
        self._aside: dict[str, str] = {}
        self._guilty: dict[str, str] = {}
        self._strikes: Counter[str] = Counter()

    def take(
        self, queue: Queue, upstream: str, max_records: int, max_bytes: int, least: Priority
    ) -> Sequence[Queued]:
        """What goes next, as `Queue.take`: what is aside only if nothing else waits. Raises StorageFault."""
        bounds = min(max_records, self.most_records), max_bytes, least
        taken = queue.take(upstream, *bounds)
        if not (self._aside or self._guilty):
            return taken
        aside: list[Queued] = []
        while taken and (known := [q for q in taken if q.id in self._aside or q.id in self._guilty]):
            queue.settle(
                upstream, (), {q.row: self._guilty.pop(q.id) for q in known if q.id in self._guilty}, ()
            )
            aside += [q for q in known if q.id in self._aside]
            taken = [q for q in taken if q not in known] or queue.take(upstream, *bounds)
        first, others = (aside[:0], aside) if taken else (aside[:1], aside[1:])
        queue.settle(upstream, (), {}, [q.row for q in others])
        return taken or first

    def failed(self, ids: Sequence[str], why: str) -> None:
        """The receiver is there, and fails at these."""
        if len(ids) > 1:
            self.most_records = max(len(ids) // SHARE, 1)
            return
        self._aside |= dict.fromkeys(ids, why)
        if len(self._aside) > MOST_ASIDE:
            self._aside.clear()
            self._strikes.clear()

    def worked(self) -> None:
        """It has taken others than those that are aside."""
        self.most_records = min(self.most_records * SHARE, LIMITS.max_records)
        self._strikes.update(self._aside.keys())
        for one, why in self._aside.items():
            if self._strikes[one] >= STRIKES:
                del self._strikes[one]
                self._guilty[one] = f"the receiver takes others, and fails at it: {why}"
        self._aside.clear()

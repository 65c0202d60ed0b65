"""The record at which a receiver fails, though it takes all others: found, and set apart, so that it blocks none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import islice

from edgeagent.records import Priority
from edgeagent.upstream import Queue
from edgeagent.upstream.codec import id_of
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
    ) -> Mapping[int, bytes]:
        """What goes next, as `Queue.take`: what is aside only if nothing else waits. Raises StorageFault."""
        bounds = min(max_records, self.most_records), max_bytes, least
        taken = queue.take(upstream, *bounds)
        if not (self._aside or self._guilty):
            return taken
        aside: dict[int, bytes] = {}
        while known := self._known(taken):
            guilty = {row: self._guilty.pop(one) for row, one in known.items() if one in self._guilty}
            queue.settle(upstream, (), guilty, ())
            aside |= {row: taken[row] for row in known if row not in guilty}
            others = {row: record for row, record in taken.items() if row not in known}
            taken = others or queue.take(upstream, *bounds)
        first = dict(islice(aside.items(), 0 if taken else 1))
        queue.settle(upstream, (), {}, aside.keys() - first.keys())
        return taken or first

    def _known(self, taken: Mapping[int, bytes]) -> dict[int, str]:
        """The ids of those that have failed before, by row."""
        ids = {row: id_of(record) for row, record in taken.items()}
        return {row: one for row, one in ids.items() if one in self._aside or one in self._guilty}

    def failed(self, records: Collection[bytes], why: str) -> None:
        """The receiver is there, and fails at these."""
        if len(records) > 1:
            self.most_records = max(len(records) // SHARE, 1)
            return
        self._aside |= dict.fromkeys(map(id_of, records), why)
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

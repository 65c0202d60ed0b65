"""One step of sending, without the loop, and how long the loop pauses after a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edgeagent.errors import UpstreamFault
from edgeagent.records import Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import Queue, Result, Sink
from edgeagent.upstream.codec import stamp_all

DAMAGED = "damaged on the device's disk"


class Limits(NamedTuple):
    """How large a batch may be. A record larger than `max_bytes` goes alone."""

    max_records: int = 2500
    max_bytes: int = 1_000_000
    least: Priority = Priority.BULK
    """Nothing of less worth goes."""


LIMITS = Limits()


class Report(NamedTuple):
    """What one step did; `sent` is 0 if nothing waited.

    `bytes_sent` went over the line, `bytes_settled` are the records that ended with it, as they lie in the outbox.
    """

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    bytes_sent: int = 0
    bytes_settled: int = 0


def sync_once(
    upstream: str, queue: Queue, sink: Sink, boot_id: str, wall: Wall, limits: Limits = LIMITS
) -> Report:
    """Take the most worthy records, send them, and settle each: accepted, rejected or kept.

    Whatever goes wrong, up to a crash, what was not settled as accepted or rejected is kept.
    Raises UpstreamFault (what was not settled is kept) and StorageFault.
    """
    taken = queue.take(upstream, *limits)
    if not taken:
        return Report()
    batch = stamp_all(taken, boot_id, wall)
    rejected = dict.fromkeys(taken.keys() - batch.keys(), DAMAGED)
    before, result = sink.bytes_sent, Result()
    try:
        if batch:
            result = sink.send(batch)
    finally:
        accepted = batch.keys() & result.accepted
        rejected |= {row: why for row, why in result.rejected.items() if row in batch}
        kept = [row for row in taken if row not in accepted and row not in rejected]
        queue.settle(upstream, accepted, rejected, kept)
    if result.fault:
        raise result.fault
    if not accepted and not rejected and not result.unfinished:
        raise UpstreamFault("the receiver answers, but neither takes nor refuses any record", where=upstream)
    bytes_settled = sum(map(len, taken.values())) - sum(len(taken[row]) for row in kept)
    return Report(len(batch), len(accepted), len(rejected), sink.bytes_sent - before, bytes_settled)


def pause_s(away_s: float, random: Callable[[], float], least_s: float = 1.0, most_s: float = 60.0) -> float:
    """How long to pause before an upstream that has been away for so long is asked again.

    At most a quarter of that time, so that an outage never seems much longer than it was, and a random part of it (full
    jitter), so that a thousand devices do not come back in the same second. `random` gives numbers from 0 to 1.
    """
    return random() * min(max(away_s / 4, least_s), most_s)

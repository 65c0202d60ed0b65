"""The real outbox at work on a watched disk, and what must be true of whatever a power cut leaves of it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

from outboxes import RUN, UNSYNCED, open_outbox, record, take
from watched_disk import Disk

from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.parcels import Queued
from edgeagent.records import NS_PER_S, Draft, Kind, Priority

MONTH = "2026-11"
KINDS: tuple[Kind, ...] = ("prediction", "event", "sample", "health")

STARTS_WITHIN_S = 5.0
LARGE_BYTES = 3000  # one in ten records is a file of its own
OPTIONS: dict[str, Any] = {
    "large_bytes": LARGE_BYTES,
    "expire_s": {"health": 2.0},
    "newest": {"fleet": ["prediction"]},
}


class Promise(NamedTuple):
    """`durable`: the run's first records, that `append` has returned from. `sent`: handed to the upstream.
    `settled`: of those, the ones that `settle` has returned from. Of the bytes that went over the link so many are
    counted at least and at most.
    """

    durable: int = 0
    sent: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()
    least_bytes: int = 0
    most_bytes: int = 0


def work(disk: Disk, dice: random.Random, steps: int, **options: int) -> None:
    """Append, deliver, refuse, expire and reopen at random, noting in the disk's log what was promised.

    A large record is on its way for several batches, as one is that goes up in pieces. A step takes a second.
    """
    promise = Promise()
    disk.note(promise)
    outbox = open_outbox(disk.folder, **OPTIONS | options)
    for step in range(steps):
        chance = dice.random()
        if chance < 0.55:
            outbox.append(some_drafts(dice, step * NS_PER_S), UNSYNCED)
            promise = promise._replace(durable=outbox.next_seq - 1, least_bytes=counted_bytes(outbox))
        elif chance < 0.85:
            promise = _send(outbox, disk, dice, promise)
        elif chance < 0.95:
            outbox.expire(step * NS_PER_S, UNSYNCED)
            promise = promise._replace(durable=outbox.next_seq - 1)
        else:
            outbox.close()
            outbox = open_outbox(disk.folder, **OPTIONS | options)
        disk.note(promise)
    outbox.close()


def _send(outbox: Outbox, disk: Disk, dice: random.Random, promise: Promise) -> Promise:
    taken = take(outbox, "fleet", dice.randrange(1, 40), 60_000)
    sent_bytes = sum(len(q.payload) for q in taken)
    kept = {q.row for q in taken if len(q.payload) >= LARGE_BYTES and dice.random() < 0.6}
    done = [q for q in taken if q.row not in kept]
    promise = promise._replace(
        sent=promise.sent | {q.id for q in done}, most_bytes=counted_bytes(outbox) + sent_bytes
    )
    disk.note(promise)
    refused = {q.row: "no" for q in done if dice.random() < 0.1}
    outbox.note_sent("fleet", MONTH, sent_bytes)
    outbox.settle("fleet", [q.row for q in done if q.row not in refused], refused, kept)
    return promise._replace(
        settled=promise.sent, least_bytes=counted_bytes(outbox) if done else promise.least_bytes
    )


def counted_bytes(outbox: Outbox) -> int:
    return sum(outbox.sent_bytes("fleet").values())


def some_drafts(dice: random.Random, now_ns: int) -> list[Draft]:
    """Every other time all of one kind and priority, so that they lie in parcels, which are then taken apart."""
    size = dice.choice([10, 200, 200, 5000])
    kinds, priorities = KINDS, list(Priority)
    if dice.random() < 0.5:
        kinds, priorities = (dice.choice(kinds),), [dice.choice(priorities)]
    return [
        Draft(dice.choice(kinds), now_ns, dice.choice(priorities), {"pad": bytes(dice.randrange(size))})
        for _ in range(dice.randrange(1, 16))
    ]


def faults_found(folder: Path, promise: Promise, **options: int) -> list[str]:
    """What is wrong with the outbox that is found in a folder after a power cut; nothing, it is to be hoped."""
    began_s = process_time()
    outbox = open_outbox(folder, run="f" * 12, **OPTIONS | options)
    took_s = process_time() - began_s
    try:
        slow = [f"a start took {took_s:.1f} s"] if took_s > STARTS_WITHIN_S else []
        return [*slow, *_faults(outbox, promise)]
    finally:
        outbox.close()


def _faults(outbox: Outbox, promise: Promise) -> list[str]:
    faults = []
    (verdict,) = outbox._db.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok" or outbox.set_aside:
        faults.append(f"damaged: {verdict} {outbox.set_aside}")
    taken = take(outbox, "fleet", 10**6, 10**9)
    waiting = [queued.id for queued in taken]
    counters = outbox.counters()
    durable = {f"press-07/{RUN}/{n}" for n in range(1, promise.durable + 1)}
    lost = len(durable - promise.sent - set(waiting)) - counters.evicted
    if lost > 0:
        faults.append(f"{lost} of {len(durable)} durable records are lost")
    if again := set(waiting) & promise.settled:
        faults.append(f"{len(again)} settled records wait again")
    if len(set(waiting)) < len(waiting):
        faults.append("a record waits twice")
    if torn := [queued.id for queued in taken if not is_whole(queued)]:
        faults.append(f"torn: {torn}")
    if not promise.least_bytes <= (sent_bytes := counted_bytes(outbox)) <= promise.most_bytes:
        faults.append(
            f"{sent_bytes} bytes are counted as sent: {promise.least_bytes} to {promise.most_bytes}"
        )
    if counters.waiting != len(waiting):
        faults.append(f"{counters.waiting} are counted, {len(waiting)} wait")
    if counters.made != counters.delivered + counters.rejected + counters.evicted + counters.waiting:
        faults.append(f"the counters do not add up: {counters}")
    return faults


def is_whole(queued: Queued) -> bool:
    with suppress(ValueError):
        return record(queued).id == queued.id
    return False

"""The real outbox at work on a watched disk, and what must be true of whatever a power cut leaves of it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from outboxes import RUN, UNSYNCED, open_outbox, record
from watched_disk import Disk

from edgeagent.outbox.dispatch import Queued
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Kind, Priority

KINDS: tuple[Kind, ...] = ("prediction", "event", "sample", "health")

LARGE_BYTES = 3000  # one in ten records is a file of its own


class Promise(NamedTuple):
    """`durable`: the run's first records, that `append` has returned from. `sent`: handed to the upstream.
    `settled`: of those, the ones that `settle` has returned from.
    """

    durable: int = 0
    sent: frozenset[str] = frozenset()
    settled: frozenset[str] = frozenset()


def work(disk: Disk, dice: random.Random, steps: int, **options: int) -> None:
    """Append, deliver, refuse and reopen at random, noting in the disk's log what was promised."""
    promise = Promise()
    disk.note(promise)
    outbox = open_outbox(disk.folder, large_bytes=LARGE_BYTES, **options)
    for _ in range(steps):
        chance = dice.random()
        if chance < 0.6:
            outbox.append(some_drafts(dice), UNSYNCED)
            promise = promise._replace(durable=outbox.next_seq - 1)
        elif chance < 0.95:
            taken = outbox.take("fleet", dice.randrange(1, 40), 60_000)
            promise = promise._replace(sent=promise.sent | {q.id for q in taken})
            disk.note(promise)
            refused = {q.row: "no" for q in taken if dice.random() < 0.1}
            outbox.settle("fleet", [q.row for q in taken if q.row not in refused], refused)
            promise = promise._replace(settled=promise.sent)
        else:
            outbox.close()
            outbox = open_outbox(disk.folder, large_bytes=LARGE_BYTES, **options)
        disk.note(promise)
    outbox.close()


def some_drafts(dice: random.Random) -> list[Draft]:
    size = dice.choice([10, 200, 200, 5000])
    return [
        Draft(dice.choice(KINDS), n, dice.choice(list(Priority)), {"pad": bytes(dice.randrange(size))})
        for n in range(dice.randrange(1, 16))
    ]


def faults_found(folder: Path, promise: Promise, **options: int) -> list[str]:
    """What is wrong with the outbox that is found in a folder after a power cut; nothing, it is to be hoped."""
    outbox = open_outbox(folder, run="f" * 12, **options)
    try:
        return list(_faults(outbox, promise))
    finally:
        outbox.close()


def _faults(outbox: Outbox, promise: Promise) -> list[str]:
    faults = []
    (verdict,) = outbox._db.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok" or outbox.set_aside:
        faults.append(f"damaged: {verdict} {outbox.set_aside}")
    taken = outbox.take("fleet", 10**6, 10**9)
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
    if counters.waiting != len(waiting):
        faults.append(f"{counters.waiting} are counted, {len(waiting)} wait")
    if counters.made != counters.delivered + counters.rejected + counters.evicted + counters.waiting:
        faults.append(f"the counters do not add up: {counters}")
    return faults


def is_whole(queued: Queued) -> bool:
    with suppress(ValueError):
        return record(queued).id == queued.id
    return False

"""The process that is killed: the real outbox in a loop, telling on stdout what it has done.

A n     the run's first n records are durable (append or expire has returned)
B n     so many bytes will have gone over the link in all, if what follows is settled
D id n  an upstream has this record (said before it is settled), which tells of n that became too old
S n     all of them are settled (settle has returned), and so many bytes are counted
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from outboxes import UNSYNCED, open_outbox, record, take

from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.parcels import Queued
from edgeagent.records import NS_PER_S, Draft, Kind, Priority

LARGE_BYTES = 1500
PIECES = 0.5  # of the large records so many are not all there with one batch
KINDS: tuple[Kind, ...] = ("prediction", "prediction", "health")
EXPIRE_S = 6.0
MONTH = "2026-11"


def say(text: str) -> None:
    os.write(1, text.encode())


def main(folder: Path, run: str) -> None:
    dice, now_ns = random.Random(run), 0
    outbox = open_outbox(
        folder,
        run=run,
        large_bytes=LARGE_BYTES,
        expire_s={"health": EXPIRE_S},
        newest={"fleet": ["prediction"]},
    )
    while True:
        now_ns += NS_PER_S
        outbox.append(some_drafts(dice, now_ns), UNSYNCED)
        if dice.random() < 0.2:
            outbox.expire(now_ns, UNSYNCED)
        say(f"A {outbox.next_seq - 1}\n")
        if dice.random() < 0.3:
            send(outbox, dice)


def some_drafts(dice: random.Random, now_ns: int) -> list[Draft]:
    """Every other time all of one kind and priority, so that they lie in parcels."""
    size = dice.choice([500, 500, 3000])
    kinds, priorities = KINDS, list(Priority)
    if dice.random() < 0.5:
        kinds, priorities = (dice.choice(kinds),), [dice.choice(priorities)]
    return [
        Draft(dice.choice(kinds), now_ns, dice.choice(priorities), {"pad": bytes(dice.randrange(size))})
        for _ in range(dice.randrange(1, 30))
    ]


def send(outbox: Outbox, dice: random.Random) -> None:
    taken = take(outbox, "fleet", dice.randrange(1, 60), 100_000)
    sent_bytes = sum(len(queued.payload) for queued in taken)
    say(f"B {sum(outbox.sent_bytes('fleet').values()) + sent_bytes}\n")
    kept = {q.row for q in taken if len(q.payload) >= LARGE_BYTES and dice.random() < PIECES}
    done = [queued for queued in taken if queued.row not in kept]
    say("".join(f"D {queued.id} {too_old(queued)}\n" for queued in done))
    outbox.note_sent("fleet", MONTH, sent_bytes)
    outbox.settle("fleet", [queued.row for queued in done], {}, kept)
    if done:
        say(f"S {sum(outbox.sent_bytes('fleet').values())}\n")


def too_old(queued: Queued) -> int:
    """Of a gap record: of how many records it tells; of any other 0."""
    told = record(queued)
    return int(told.body["records"]) if told.kind == "gap" else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""The process that is killed: the real outbox in a loop, telling on stdout what it has done.

A n     the first n drafts are durable (append has returned)
D id    an upstream has this record (said before it is settled)
S       all of them are settled (settle has returned)
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from outboxes import UNSYNCED, open_outbox

from edgeagent.records import Draft, Priority

LARGE_BYTES = 1500


def say(text: str) -> None:
    os.write(1, text.encode())


def main(folder: Path, run: str) -> None:
    dice = random.Random(run)
    outbox = open_outbox(folder, run=run, large_bytes=LARGE_BYTES)
    made = 0
    while True:
        count = dice.randrange(1, 30)
        size = dice.choice([500, 500, 3000])
        drafts = [
            Draft("prediction", made + n, dice.choice(list(Priority)), {"pad": bytes(dice.randrange(size))})
            for n in range(count)
        ]
        made += outbox.append(drafts, UNSYNCED)
        say(f"A {made}\n")
        if dice.random() < 0.3:
            taken = outbox.take("fleet", dice.randrange(1, 60), 100_000)
            say("".join(f"D {queued.id}\n" for queued in taken))
            outbox.settle("fleet", [queued.row for queued in taken], {})
            say("S\n")


main(Path(sys.argv[1]), sys.argv[2])

"""A device's way out, real from the outbox to the network: `device_at_work.py CONFIG`, driven by lines on stdin.

`put N` makes N records, `hurry` tries a lost upstream now. Each tenth of a second it says how it stands, in JSON.
"""

from __future__ import annotations

import json
import os
import select
import sys
from pathlib import Path

from edgeagent.agent.clock import RealClock
from edgeagent.agent.fit import check
from edgeagent.agent.outgoing import Outgoing
from edgeagent.agent.threads import Inbox
from edgeagent.config.load import require
from edgeagent.health.progress import Progress
from edgeagent.records import Draft, Priority
from edgeagent.timebase import new_run


def main() -> None:
    outgoing = Outgoing(require(check(Path(sys.argv[1]))), RealClock(), new_run())
    outgoing.start(Inbox(), Progress())
    while True:
        if select.select([sys.stdin], [], [], 0.1)[0]:
            match sys.stdin.readline().split():
                case "put", count:
                    outgoing.put([_draft(n) for n in range(int(count))])
                case ["hurry"]:
                    outgoing.hurry()
                case _:
                    break
        status = outgoing.status()
        (upstream,) = status["upstream"].values()
        print(json.dumps(upstream), flush=True)
    outgoing.close()


def _draft(n: int) -> Draft:
    """Of 200 bytes that no packing makes smaller, and of any worth."""
    return Draft("event", n, Priority(n % len(Priority)), {"n": n, "pad": os.urandom(100)})


if __name__ == "__main__":
    main()

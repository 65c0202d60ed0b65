"""A device's way out, real from the outbox to the network: `device_at_work.py CONFIG`, driven by lines on stdin.

`put N` makes N records, `hurry` tries a lost upstream now. Each tenth of a second it says how it stands, in JSON.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
        print(json.dumps(upstream | {"made": status["outbox"].get("made", 0)}), flush=True)
    outgoing.close()


WITH_SBIN = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


class Device:
    """This program in a process of its own, run by `enter`; its config and its state lie in `folder`."""

    def __init__(
        self, folder: Path, upstream: str, *enter: str, env: Mapping[str, str] | None = None
    ) -> None:
        config = folder / "edgeagent.yaml"
        config.write_text(f"device: {{id: press-07}}\nstate: state\nupstream: {{far: {{{upstream}}}}}\n")
        self._process = subprocess.Popen(
            [*enter, sys.executable, __file__, str(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=WITH_SBIN | dict(env or {}),
        )

    def tell(self, what: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def wait(self, until: Callable[[dict[str, Any]], Any], *, hurry: bool = False) -> dict[str, Any]:
        """Read what it says until that is so; the test's own deadline is the only one."""
        assert self._process.stdout
        for line in self._process.stdout:
            if until(status := json.loads(line)):
                return dict(status)
            if hurry:
                self.tell("hurry")
        raise AssertionError("the device's process has ended")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._hang_up()

    def close(self) -> None:
        self.tell("stop")
        assert self._process.wait(30) == 0
        self._hang_up()

    def _hang_up(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()


def _draft(n: int) -> Draft:
    """Of 200 bytes that no packing makes smaller, and of any worth."""
    return Draft("event", n, Priority(n % len(Priority)), {"n": n, "pad": os.urandom(100)})


if __name__ == "__main__":
    main()

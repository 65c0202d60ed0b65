"""Run the agent in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads the config."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from edgeagent.agent.clock import RealClock, ScaledClock, SharedClock
from edgeagent.agent.fit import check
from edgeagent.agent.outgoing import Outgoing
from edgeagent.agent.run import Agent, Job, Store
from edgeagent.agent.threads import Inbox
from edgeagent.cli import FAULTS, OK, Duration, config_option
from edgeagent.config.schema import Config
from edgeagent.errors import Fault
from edgeagent.health.progress import Progress
from edgeagent.records import Draft
from edgeagent.timebase import new_run

_M_ARENA_MAX = -8


class _ClockSpec(click.ParamType[RealClock]):
    """SPEED@ORIGIN_NS[:FILE]: what the demo hands to its agent, so that all its parts share one scaled time."""

    name = "speed@origin_ns[:file]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RealClock:
        start, _, file = str(value).partition(":")
        speed, _, origin_ns = start.partition("@")
        try:
            if file:
                return SharedClock(float(speed), int(origin_ns), Path(file))
            return ScaledClock(float(speed), int(origin_ns))
        except ValueError:
            self.fail(f"{value!r}: expected SPEED@ORIGIN_NS[:FILE]", param, ctx)


@click.command(name="run")
@config_option()
@click.option("--once", is_flag=True, help="Until each pipeline has predicted once, deliver, exit.")
@click.option("--for", "for_s", type=Duration(), help='For a time ("10s"), deliver, exit.')
@click.option("--dry-run", is_flag=True, help="Read, predict, decide and print; drive, store, send nothing.")
@click.option(
    "--journal",
    type=click.Path(path_type=Path),
    help="Write a recording of everything the core is handed into this new folder.",
)
@click.option("--clock", type=_ClockSpec(), hidden=True)
def command(
    config: Path,
    once: bool,
    for_s: float | None,
    dry_run: bool,
    journal: Path | None,
    clock: RealClock | None,
) -> int:
    """Run the agent in the foreground until SIGTERM or Ctrl-C; SIGHUP reloads the config."""
    _share_one_heap()
    loaded = check(config)
    for finding in loaded.findings:
        print(finding, file=sys.stderr)
    if loaded.config is None:
        return FAULTS
    run, clock = new_run(), clock or RealClock()
    store: Store = Printed() if dry_run else Outgoing(loaded.config, clock, run)
    done = Agent(Job(config, once, for_s, dry_run, journal), loaded, store, clock, run).run()
    return OK if done else FAULTS


def _share_one_heap() -> None:
    """One heap for all threads: glibc would give each its own, which the interpreter's lock makes pointless.

    mallopt(3); 0.6 MB of an agent's memory. Another C library has no such option, and needs none.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 1)


class Printed:
    """The store of `--dry-run`: a line a record, and nothing is kept."""

    def __init__(self) -> None:
        self._made = 0

    def start(self, inbox: Inbox, progress: Progress) -> None:
        """Nothing to start."""

    def put(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            self._made += 1
            print(f"{draft.mono_ns / 1e9:12.3f}  {draft.kind:<10}  {in_a_line(draft.body)}", flush=True)

    def reroute(self, config: Config) -> Callable[[], None]:
        """There is nowhere to send to."""
        return lambda: None

    def hurry(self) -> None:
        """Nothing waits."""

    def delivered(self) -> bool:
        return True

    def status(self) -> dict[str, Any]:
        return {"outbox": {"made": self._made, "waiting": 0}, "upstream": {}}

    def desk(self, do: str, **arguments: Any) -> Any:
        raise Fault("this agent runs with --dry-run and stores nothing")

    def close(self) -> None:
        """Nothing was kept."""


def in_a_line(body: dict[str, Any]) -> str:
    """A record's body for a terminal: raw data by its size, numbers short."""
    return " ".join(f"{key}={_short(value)}" for key, value in body.items() if value not in (None, "", ()))


def _short(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} B>"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(map(_short, value)) + "]"
    return "{...}" if isinstance(value, dict) else str(value)

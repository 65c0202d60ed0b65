"""A real `edgeagent run` in a process of its own, its config, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.agent.control import ask
from edgeagent.agent.state import read_status
from edgeagent.errors import Fault
from edgeagent.inference.bundle import own_bundles
from edgeagent.records import Record

PATIENCE_S = 30.0
SPEED = 10
RECORDING = own_bundles() / "activity" / "recording"
ACME = Path(__file__).parent / "acme"

IMU = f'{{driver: mpu6050, bus: "fake:mpu6050", rate: 50 Hz, fake: {{recording: {RECORDING}}}}}'
MOTION = f"""\
sensors:
  imu: {IMU}
models: {{activity: {{bundle: activity}}}}
pipelines:
  motion: {{input: imu, model: activity, window: {{hop: 0.5 s}}}}
"""
WIRE = """\
actuators:
  wire: {driver: acme_wire, log: wire, safe: off}
rules:
  many:
    when: counter.n > 100
    do: [{set: {wire: on}}, {event: {message: "{counter.n:.0f}"}}]
"""
# No model to load: up in half a second, and a record each tenth of a second.
COUNTER = """\
sensors:
  counter: {driver: acme_counter, mood: mood}
pipelines:
  all: {input: counter, window: {length: 0.1 s}}
sampling:
  budget: {per_day: 1 GB}
  policies: {everything: {uniform: 1.0}}
"""


class Site:
    """A folder with an agent's config, its state, and the things around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "agent.yaml"
        self.state = folder / "state"
        self.run = self.state / "run"
        self.wire = folder / "wire"
        self.stick = folder / "stick"
        self.stick.mkdir()
        self.wire.touch()
        self.feel("well")

    def write(self, *sections: str) -> None:
        head = f"device: {{id: unit-1}}\nstate: {self.state}\n"
        young = self.config.with_suffix(".new")
        young.write_text(head + "\n".join(sections))
        young.replace(self.config)

    def feel(self, mood: str, file: str = "mood") -> None:
        """How the acme counter fares from now on."""
        young = self.folder / f"{file}.new"
        young.write_text(mood)
        young.replace(self.folder / file)

    def driven(self) -> list[str]:
        """What the acme wire was set to, in order."""
        return self.wire.read_text().split()

    def outbox(self) -> sqlite3.Connection:
        """Its outbox's file, after the agent has ended."""
        return sqlite3.connect(self.state / "outbox" / "outbox.db")

    def records(self) -> int:
        """How many records wait in the outbox's file."""
        with closing(self.outbox()) as db:
            (count,) = db.execute("SELECT count(*) FROM record").fetchone()
        return int(count)

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of the records of a kind that wait, in the order in which they were made."""
        with closing(self.outbox()) as db:
            payloads = [row[0] for row in db.execute("SELECT payload FROM record WHERE kind = ?", (kind,))]
        records = [msgspec.msgpack.decode(payload, type=Record) for payload in payloads]
        return [record.body for record in sorted(records, key=lambda r: r.mono_ns)]

    def last_status(self) -> dict[str, Any]:
        """What the agent wrote last."""
        status = read_status(self.run)
        assert status is not None
        return status


class Running:
    """An agent that runs."""

    def __init__(self, site: Site, process: subprocess.Popen[bytes], log: Path) -> None:
        self.site, self.process, self._log = site, process, log

    @property
    def said(self) -> str:
        """All that it has written to standard error."""
        return self._log.read_text()

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = ask(self.site.run, "status")
        return status

    def until(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first status of which it holds."""
        seen: dict[str, Any] = {}

        def now() -> bool:
            nonlocal seen
            try:
                seen = self.status()
            except Fault:
                return False
            return bool(holds(seen))

        try:
            wait_for(now, unless=lambda: self.process.poll() is not None)
        except TimeoutError as e:
            raise TimeoutError(f"{e}; it says:\n{self.said}\n{seen}") from e
        return seen

    def until_said(self, text: str) -> None:
        wait_for(lambda: text in self.said, unless=lambda: self.process.poll() is not None)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Signal it and wait for its end: how many seconds that took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        return time.monotonic() - began


def wait_for(holds: Callable[[], bool], unless: Callable[[], bool] = lambda: False) -> None:
    """Return as soon as it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if unless():
            raise TimeoutError("it ended before that")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        time.sleep(0.02)


def scaled(speed: float = SPEED) -> tuple[str, str]:
    """The options that make an agent's time run faster, from now on."""
    return "--clock", f"{speed:g}@{time.monotonic_ns()}"


def environment(**more: str) -> dict[str, str]:
    """What a process of ours is started with: no service manager's variables, and the acme package installed."""
    ours = ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC")
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    return {**kept, "PYTHONPATH": str(ACME), **more}


def edgeagent(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edgeagent", *map(str, arguments)]


@contextmanager
def running(site: Site, *options: str, env: dict[str, str] | None = None) -> Iterator[Running]:
    """Start the agent of a site; it is killed at the end if it has not ended by then."""
    log = site.folder / "log.txt"
    with log.open("ab") as words:
        process = subprocess.Popen(
            edgeagent("run", "-c", site.config, *options),
            env=env or environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=words,
            cwd=site.folder,
        )
    try:
        yield Running(site, process, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def command(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        edgeagent(*arguments), env=env or environment(), capture_output=True, text=True, timeout=PATIENCE_S
    )


def children(pid: int) -> Sequence[int]:
    """The processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]

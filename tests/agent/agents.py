"""A real `edgeagent run` in a process of its own, its config, and what it leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from edgeagent.agent.clock import SharedClock
from edgeagent.agent.control import ask
from edgeagent.agent.state import read_status
from edgeagent.cli import main
from edgeagent.errors import Fault
from edgeagent.inference.bundle import own_bundles
from edgeagent.outbox.parcels import find_records
from edgeagent.records import Record

PATIENCE_S = 90.0
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
# Driven from the first sample on. Its input is stale after three seconds: a busy machine does not make it flutter.
WIRE = """\
actuators:
  wire: {driver: acme_wire, log: wire, safe: off}
rules:
  many:
    when: slow.n >= 0
    do: [{set: {wire: on}}]
"""
# No model to load: up in half a second, and a record each tenth of a second.
COUNTER = """\
sensors:
  counter: {driver: acme_counter, mood: mood}
  slow: {driver: acme_counter, mood: well, port: slow, rate: 1 Hz}
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
        for name in ("stdout.txt", "stderr.txt"):
            (folder / name).touch()
        self.feel("well")
        self.feel("well", "well")

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
            (count,) = db.execute("SELECT coalesce(sum(n), 0) FROM record").fetchone()
        return int(count)

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of the records of a kind that wait, in the order in which they were made."""
        with closing(self.outbox()) as db:
            parcels = db.execute("SELECT payload FROM record WHERE kind = ?", (kind,)).fetchall()
        payloads = [payload for (parcel,) in parcels for payload in find_records(parcel)]
        records = [msgspec.msgpack.decode(payload, type=Record) for payload in payloads]
        return [record.body for record in sorted(records, key=lambda r: r.mono_ns)]

    def records_due(self) -> int:
        """How many records the counter's windows made, by the agent's last word; a late reader's may be overrun."""
        counts = self.last_status()["counts"]
        return int(counts["windows"]["all"] - counts["windows_unpredicted"].get("all", 0))

    def last_status(self) -> dict[str, Any]:
        """What the agent wrote last."""
        status = read_status(self.run)
        assert status is not None
        return status


class Running:
    """A command of ours that runs in a process of its own."""

    def __init__(self, site: Site, process: BaseProcess) -> None:
        assert process.pid is not None
        self.site, self.pid, self._process = site, process.pid, process

    @property
    def said(self) -> str:
        """All that this and earlier ones have written to standard error."""
        return (self.site.folder / "stderr.txt").read_text()

    @property
    def printed(self) -> str:
        """The same of standard output."""
        return (self.site.folder / "stdout.txt").read_text()

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
            wait_for(now, unless=self.has_ended)
        except TimeoutError as e:
            raise TimeoutError(f"{e}; it says:\n{self.said}\n{seen}") from e
        return seen

    def until_said(self, text: str) -> None:
        wait_for(lambda: text in self.said, unless=self.has_ended)

    def run_for(self, seconds: float) -> None:
        """Let it be for a while. Raises TimeoutError if it ends by itself."""
        self._process.join(seconds)
        if self.has_ended():
            raise TimeoutError(f"it has ended, and says:\n{self.said}")

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def has_ended(self) -> bool:
        return not self._process.is_alive()

    def wait(self) -> int:
        """Its exit code; minus the signal that killed it."""
        self._process.join(PATIENCE_S)
        if self._process.exitcode is None:
            raise TimeoutError(f"it runs still, and says:\n{self.said}")
        return self._process.exitcode

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Signal it and wait for its end: how many seconds that took."""
        began = time.monotonic()
        self.send(number)
        self.wait()
        return time.monotonic() - began


def wait_for(holds: Callable[[], bool], unless: Callable[[], bool] = lambda: False) -> None:
    """Return as soon as it holds. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if unless():
            raise TimeoutError("it ended before that")
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        time.sleep(0.01)


_clocks = TemporaryDirectory(prefix="clocks-")
_numbers = count()


def scaled(speed: float = SPEED) -> tuple[str, str]:
    """The options that make an agent's time run faster, from now on; no stall overruns a virtual chip's FIFO."""
    file = Path(_clocks.name) / str(next(_numbers))
    return "--clock", SharedClock(speed, time.monotonic_ns(), file).spec


# An interpreter that has imported everything and forks: a start takes 20 ms instead of a second.
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    [
        "pytest",
        *(f"edgeagent.cli.{command}" for command in ("run", "collector")),
        *(f"edgeagent.{part}" for part in ("collector.server", "sensors.bridge", "sensors.mpu6050")),
        *("edgeagent.buses.fake.mpu6050", "edgeagent.upstream.http"),
    ]
)


def _command(arguments: list[str], folder: Path, env: dict[str, str]) -> None:
    """The body of the process: `edgeagent ARGUMENTS`, with the acme package installed, and no service manager."""
    os.chdir(folder)
    for key in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        os.environ.pop(key, None)
    os.environ.update(env)
    sys.path.insert(0, str(ACME))
    for number, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT), number)
    sys.exit(main(arguments))


@contextmanager
def process(site: Site, *arguments: object, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start a command; it is killed at the end if it has not ended by then."""
    texts = [str(argument) for argument in arguments]
    process = _forks.Process(target=_command, args=(texts, site.folder, dict(env or {})))
    process.start()
    try:
        yield Running(site, process)
    finally:
        process.kill()
        process.join()


def running(
    site: Site, *options: str, env: Mapping[str, str] | None = None
) -> AbstractContextManager[Running]:
    """Start the agent of a site."""
    return process(site, "run", "-c", site.config, *options, env=env)


def worker_of(agent: Running) -> int:
    """The process of its one model."""
    (model,) = agent.status()["models"].values()
    return int(model["pid"])

"""A real `edgeagent run` to measure: its config, its start, what it says of itself, and its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil

from edgeagent.agent.control import ask
from edgeagent.agent.state import run_folder
from edgeagent.errors import Fault
from edgeagent.inference.bundle import own_bundles

RECORDING = own_bundles() / "activity" / "recording"
PATIENCE_S = 30.0

# The demo's job on one sensor: windows, an int8 model, two rules, sampling, an outbox.
CONFIG = """\
device: {{id: bench}}
state: {state}
sensors:
  imu: {{driver: mpu6050, bus: "fake:mpu6050", rate: {rate_hz} Hz, fake: {{recording: {recording}}}}}
{sensors}
models:
  activity: {{bundle: activity}}
pipelines:
  motion: {{input: imu, model: activity, window: {{hop: {hop}}}, report: all}}
rules:
  rowing:
    when: motion.label == "row" and motion.score > 0.6
    for: 2 s
    cooldown: 10 s
    do:
      - event: {{message: "{{device.id}} rows: {{motion.score:.2f}}"}}
      - capture: {{before: 2 s, after: 1 s}}
  unsure:
    when: motion.score < 0.4
    for: 3 s
    do:
      - event: {{severity: info, message: "{{motion.label}}?"}}
sampling:
  policies:
    baseline: {{uniform: 0.01}}
    unsure: {{margin_below: 0.2, keep: 0.5}}
inference: {{isolation: {isolation}}}
{upstream}
"""


def write_config(
    folder: Path,
    *,
    rate_hz: int = 50,
    hop: str = "1 s",
    sensors: str = "",
    upstream: str = "",
    isolation: str = "process",
) -> Path:
    """Write the config into a folder that is also its state folder; `sensors` and `upstream` are more YAML."""
    path = folder / "edgeagent.yaml"
    path.write_text(
        CONFIG.format(
            state=folder / "state",
            recording=RECORDING,
            rate_hz=rate_hz,
            hop=hop,
            sensors=sensors,
            upstream=upstream,
            isolation=isolation,
        )
    )
    return path


class Running(NamedTuple):
    """An agent that runs."""

    process: subprocess.Popen[bytes]
    run_folder: Path

    def status(self) -> dict[str, Any]:
        """What it says of itself. Raises Fault while nobody answers."""
        status: dict[str, Any] = ask(self.run_folder, "status")
        return status

    def wait_for_model(self) -> None:
        """Return as soon as its model is loaded and has passed its golden vectors."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.status()["models"]["activity"]["state"] == "ok":
                    return
            except Fault:
                time.sleep(0.005)
        raise TimeoutError(f"no model within {PATIENCE_S:g} s, or the agent ended: {self.process.poll()}")

    def processes(self) -> list[psutil.Process]:
        agent = psutil.Process(self.process.pid)
        return [agent, *agent.children(recursive=True)]

    def cpu_s(self) -> float:
        """What the agent and its worker have used of a core so far."""
        used = [p.cpu_times() for p in self.processes()]
        return sum(times.user + times.system for times in used)


_NOT_A_SERVICES = ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Of the shell that measures: the agent is given its folders, and a service has the system's certificates."""


@contextmanager
def scratch() -> Iterator[Path]:
    with TemporaryDirectory(prefix="edgeagent-bench-") as folder:
        yield Path(folder)


@contextmanager
def running(config: Path) -> Iterator[Running]:
    """Start the agent on a config; stopped at the end."""
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_A_SERVICES}
    log = config.with_suffix(".log")
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeagent", "run", "-c", str(config)],
            env=environment,
            stdout=words,
            stderr=words,
        )
        try:
            yield Running(process, run_folder(config.parent / "state"))
        except BaseException:
            print(log.read_text())
            raise
        finally:
            process.terminate()
            process.wait(10)

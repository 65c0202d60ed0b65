"""The scene of `edgeagent demo`: a board, the agent, the collector, and a network that goes away.

The agent and the collector are the real programs, as child processes; the board is on a pty. All share one
clock, real or scaled. Someone may `kill -9` the agent: it is started again, as systemd would.
"""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import IO, Any, NamedTuple

from edgeagent.agent.clock import RealClock, ScaledClock
from edgeagent.agent.control import ask
from edgeagent.agent.state import read_status
from edgeagent.demo.board import board_at
from edgeagent.errors import Fault
from edgeagent.inference.bundle import own_bundles
from edgeagent.records import NS_PER_S

OUTAGE_FROM, OUTAGE_UNTIL = 0.35, 0.55  # of the demo's length
_PORT_LINE = "collector: "


class Moment(NamedTuple):
    """The scene as it stands, for the view and the summary. `agent` is the agent's own status, {} while it starts."""

    elapsed_s: float
    seconds: float
    network_up: bool
    outage_s: float
    restarts: int
    agent: dict[str, Any]
    over: bool


def _free_port() -> int:
    """One that no connection is given while the collector is away: Linux takes those from 32768 on."""
    for port in secrets.SystemRandom().sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise Fault("found no free port", where="127.0.0.1", expected="one of 20000 to 31999")


class Scene:
    """Everything that the demo starts, and its script.

    Args:
        folder: An empty folder for state, dataset and logs; it stays for the user to look at.
        seconds: How long, in the clock's seconds.
        clock: Real, or scaled.
    """

    def __init__(self, folder: Path, seconds: float, clock: RealClock) -> None:
        self.folder, self._seconds, self._clock = folder, seconds, clock
        self.dataset = folder / "dataset"
        self._run_folder = folder / "state" / "run"
        self._board = ExitStack()
        self._collector: subprocess.Popen[str] | None = None
        self._agent: subprocess.Popen[bytes] | None = None
        self._status: dict[str, Any] = {}
        self._began_ns: int | None = None
        self._away_since_ns: int | None = None
        self._outage_ns = 0
        self._restarts = 0
        self._stopping = False

    def __enter__(self) -> Scene:
        (self.folder / "token").write_text(secrets.token_urlsafe(24))
        self._logs: IO[bytes] = (self.folder / "log.txt").open("wb")
        self._board.enter_context(board_at(self.folder / "board", self._clock, self._logs))
        self._port = _free_port()
        self._start_collector()
        self._await_collector()
        self._write_config()
        self._start_agent(self._seconds)
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._agent, self._collector):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self._board.close()
        self._logs.close()

    # --- the script -----------------------------------------------------------------------------------

    def step(self) -> Moment:
        """Let the script go on to now. Raises Fault if the agent cannot be started."""
        now_ns = self._clock.now_ns()
        with suppress(Fault):
            self._status = ask(self._run_folder, "status")
            if self._began_ns is None and self._status["run"]:
                self._began_ns = now_ns
        elapsed_s = self._elapsed_s(now_ns)
        self._direct_network(elapsed_s, now_ns)
        over = self._tend_agent(elapsed_s)
        return Moment(
            elapsed_s,
            self._seconds,
            self._away_since_ns is None,
            self._outage_s(now_ns),
            self._restarts,
            self._status,
            over,
        )

    def stop(self) -> None:
        """Ctrl-C: give the network back and let the agent deliver what it has."""
        self._stopping = True
        if self._agent is not None and self._agent.poll() is None:
            self._agent.send_signal(signal.SIGTERM)

    def _elapsed_s(self, now_ns: int) -> float:
        return 0.0 if self._began_ns is None else (now_ns - self._began_ns) / NS_PER_S

    def _outage_s(self, now_ns: int) -> float:
        running_ns = 0 if self._away_since_ns is None else now_ns - self._away_since_ns
        return (self._outage_ns + running_ns) / NS_PER_S

    def _direct_network(self, elapsed_s: float, now_ns: int) -> None:
        """The network goes away with the collector's port, and comes back with it."""
        share = elapsed_s / self._seconds
        if OUTAGE_FROM <= share < OUTAGE_UNTIL and not self._stopping:
            if self._away_since_ns is None:
                self._stop_collector()
                self._away_since_ns = now_ns
        elif self._away_since_ns is not None:
            self._outage_ns += now_ns - self._away_since_ns
            self._away_since_ns = None
            self._start_collector()

    def _tend_agent(self, elapsed_s: float) -> bool:
        """Whether the agent has done its job; one that was killed is started again for the rest."""
        if self._agent is None or (code := self._agent.poll()) is None:
            return False
        if code == 0:
            self._status = read_status(self._run_folder) or self._status
            return True
        if code > 0:
            raise Fault(
                f"the agent ended with exit code {code}",
                where=str(self.folder / "log.txt"),
                hint=self._last_words(),
            )
        self._restarts += 1
        self._status = {}
        self._start_agent(max(self._seconds - elapsed_s, 1.0))
        return False

    # --- the parts ------------------------------------------------------------------------------------

    def _write_config(self) -> None:
        text = files("edgeagent.demo").joinpath("edgeagent.yaml").read_text()
        values = {
            "folder": str(self.folder),
            "recording": str(own_bundles() / "activity" / "recording"),
            "url": f"http://127.0.0.1:{self._port}",
        }
        (self.folder / "edgeagent.yaml").write_text(Template(text).substitute(values))

    def _start_agent(self, seconds: float) -> None:
        command = ["run", "-c", str(self.folder / "edgeagent.yaml"), "--for", f"{seconds:.3f} s"]
        if isinstance(self._clock, ScaledClock):
            command += ["--clock", self._clock.spec]
        self._agent = subprocess.Popen(
            [sys.executable, "-m", "edgeagent", *command],
            stdin=subprocess.DEVNULL,
            stdout=self._logs,
            stderr=self._logs,
            start_new_session=True,  # Ctrl-C is ours to hand on
        )

    def _start_collector(self) -> None:
        """Always on the same port."""
        command = ["collector", "--data", str(self.dataset), "--port", str(self._port)]
        self._collector = subprocess.Popen(
            [sys.executable, "-m", "edgeagent", *command, "--token-file", str(self.folder / "token")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._logs,
            text=True,
            start_new_session=True,
        )

    def _await_collector(self) -> None:
        assert self._collector is not None
        assert self._collector.stdout is not None
        if not self._collector.stdout.readline().startswith(_PORT_LINE):
            raise Fault(
                "the collector did not start", where=str(self.folder / "log.txt"), hint=self._last_words()
            )

    def _stop_collector(self) -> None:
        if self._collector is not None:
            self._collector.terminate()
            self._collector.wait()

    def _last_words(self) -> str:
        self._logs.flush()
        lines = (self.folder / "log.txt").read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""

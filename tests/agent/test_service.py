"""What the service manager is told, over its own socket: the truth, in the order in which it expects it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from agents import MOTION, Site, running, scaled, wait_for

from edgeagent.agent.reporting import Reporter
from edgeagent.health.progress import Progress
from edgeagent.records import NS_PER_S

FED_S = 0.05  # half of WatchdogSec, in real seconds: the agent's clock runs ten times as fast
SERVICE = {"WATCHDOG_USEC": "1000000"}


class Manager:
    """The service manager's end."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(20)

    def until(self, message: str) -> list[str]:
        """The first line of each message up to one that begins with this, the watchdog's left out."""
        heard: list[str] = []
        while not (heard and heard[-1].startswith(message)):
            line = self._socket.recv(65536).decode().split("\n")[0]
            if line != "WATCHDOG=1" or message == "WATCHDOG=1":
                heard.append(line)
        return heard

    def rest(self) -> list[str]:
        """What has come and was not read yet."""
        heard = []
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                heard.append(self._socket.recv(65536).decode().split("\n")[0])
        self._socket.settimeout(20)
        return heard

    def silent_for(self, seconds: float) -> bool:
        self._socket.settimeout(seconds)
        with suppress(TimeoutError):
            self._socket.recv(65536)
            return False
        self._socket.settimeout(20)
        return True

    def close(self) -> None:
        self._socket.close()


def state_of(pid: int) -> str:
    """R running, S sleeping, T stopped: proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with closing(Manager(tmp_path)) as manager:
        yield manager


def test_ready_reload_stop_and_the_watchdog_are_told_as_they_are(tmp_path: Path, manager: Manager) -> None:
    site = Site(tmp_path)
    site.write(MOTION)
    env = {"NOTIFY_SOCKET": manager.address, **SERVICE}
    with running(site, *scaled(), env=env) as agent:
        assert manager.until("READY=1") == ["READY=1"]
        assert agent.status()["models"]["activity"]["state"] == "ok", (
            "READY is said when the model has been tried"
        )
        manager.until("STATUS=ok: 1 sensors")
        manager.until("WATCHDOG=1")

        agent.send(signal.SIGSTOP)
        wait_for(lambda: state_of(agent.pid) == "T")
        manager.rest()
        assert manager.silent_for(5 * FED_S), "who hangs is not fed"
        agent.send(signal.SIGCONT)
        manager.until("WATCHDOG=1")

        manager.rest()
        agent.send(signal.SIGHUP)
        assert manager.until("RELOADING=1")[-1] == "RELOADING=1"
        heard = manager.until("READY=1")
        assert [line for line in heard if not line.startswith("STATUS=")] == ["READY=1"]
        assert agent.status()["models"]["activity"]["state"] == "ok"

        site.write(MOTION, "heath: {}")
        agent.send(signal.SIGHUP)
        manager.until("RELOADING=1")
        manager.until("READY=1")

        agent.stop()
    assert [line for line in manager.rest() if not line.startswith(("STATUS=", "WATCHDOG"))] == ["STOPPING=1"]


def test_the_watchdog_is_fed_only_while_every_part_moves(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    progress = Progress()
    lane_moves = progress.watch("model activity", bound_s=20.0, now_ns=0)
    with closing(Reporter(tmp_path, progress, lambda: {"summary": "ok"}, now_ns=0)) as reporter:
        fed_s = []
        for second in range(61):
            if second < 30:
                lane_moves(second * NS_PER_S)
            reporter.tick(second * NS_PER_S, settled=True)
            fed_s += [second] * manager.rest().count("WATCHDOG=1")
    assert fed_s == [0, 15, 30, 45], "the lane moved last after 29 s"
    assert caplog.messages == ["the watchdog is not fed: no progress: model activity for 31.0 s (bound 20 s)"]

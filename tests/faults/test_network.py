"""A device in a network namespace of its own, and what happens on the wire out of it: nothing is lost or doubled."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Protocol

import pytest
from device_at_work import Device
from mosquitto import PLAIN, Listener, Mosquitto, ids

from edgeagent.collector.dataset import lines
from edgeagent.collector.server import Server
from edgeagent.collector.store import Store

SLOW = "160kbit"  # 20 kB/s


class Wire:
    """A pair of virtual interfaces: one here, one in the device's namespace."""

    def __init__(self) -> None:
        pid = os.getpid()
        self.namespace, self._here, self._there = f"edge{pid}", f"edge{pid}h", f"edge{pid}d"
        subnet = f"198.18.{pid >> 6 & 255}."  # addresses that are kept for tests of networks
        first = (pid & 63) * 4
        self.address, device = f"{subnet}{first + 1}", f"{subnet}{first + 2}"
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self._here, "type", "veth", "peer", self._there, "netns", self.namespace)
        run("ip", "address", "add", f"{self.address}/30", "dev", self._here)
        run("ip", "link", "set", self._here, "up")
        self.there("ip", "address", "add", f"{device}/30", "dev", self._there)
        self.there("ip", "link", "set", self._there, "up")

    def there(self, *command: str) -> None:
        """Run something in the device's namespace."""
        run("ip", "netns", "exec", self.namespace, *command)

    def cut(self) -> None:
        run("ip", "link", "set", self._here, "down")

    def mend(self) -> None:
        run("ip", "link", "set", self._here, "up")

    def lose(self, part: float) -> None:
        """So much of the packets of either direction, at random."""
        for chain in ("INPUT", "OUTPUT"):
            lost = ("-m", "statistic", "--mode", "random", "--probability", str(part), "-j", "DROP")
            self.there("iptables", "-A", chain, *lost)

    def slow_down(self, rate: str) -> None:
        bucket = ("tbf", "rate", rate, "burst", "4kb", "latency", "500ms")
        self.there("tc", "qdisc", "add", "dev", self._there, "root", *bucket)

    def close(self) -> None:
        run("ip", "link", "delete", self._here)
        run("ip", "netns", "delete", self.namespace)


def run(*command: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class FarEnd(Protocol):
    """A receiver at the near end of the wire, as a device's config names it."""

    upstream: str

    def arrived(self) -> list[str]:
        """Ids, as often as a reader would count each."""
        ...

    def close(self) -> None: ...


class Collector:
    def __init__(self, folder: Path, address: str) -> None:
        self._folder = folder / "dataset"
        self._server = Server(Store(self._folder), address, 0)
        self.upstream = f"http: {{url: {self._server.url}, timeout: 1 s}}"
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def arrived(self) -> list[str]:
        return [entry["id"] for entry in lines(self._folder)]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Broker:
    """And a reader, who counts an id once."""

    def __init__(self, folder: Path, address: str) -> None:
        self._broker = Mosquitto(folder, *PLAIN, host=address)
        self._reader = Listener(self._broker)
        self.upstream = f"mqtt: {{url: {self._broker.url}, timeout: 1 s}}"

    def arrived(self) -> list[str]:
        return ids(self._reader.heard())

    def close(self) -> None:
        self._reader.leave()
        self._broker.kill()


FAR_ENDS: dict[str, Callable[[Path, str], FarEnd]] = {"http": Collector, "mqtt": Broker}


class Site:
    """Wire, receiver and device."""

    def __init__(self, wire: Wire, far_end: FarEnd, device: Device) -> None:
        self.wire, self.far_end, self.device = wire, far_end, device


@contextmanager
def closing(*made: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for one in made:
            one.close()


@pytest.fixture(params=sorted(FAR_ENDS))
def site(request: pytest.FixtureRequest, tmp_path: Path, against: Callable[[str], None]) -> Iterator[Site]:
    if os.getuid() != 0:
        pytest.skip("not run: needs root, for network namespaces")
    against(f"{request.param} over a wire that is cut, lossy or slow")
    wire = Wire()
    with closing(wire):
        far_end = FAR_ENDS[request.param](tmp_path, wire.address)
        with closing(far_end):
            enter = ("ip", "netns", "exec", wire.namespace)
            device = Device(tmp_path, far_end.upstream, *enter)
            with closing(device):
                device.tell("put 100")
                device.wait(lambda status: status["delivered"] == 100)
                yield Site(wire, far_end, device)


def whole(site: Site, count: int) -> None:
    """All that was made has arrived, each once."""
    ends = ("delivered", "rejected", "evicted")
    status = site.device.wait(lambda status: sum(status[end] for end in ends) == count, hurry=True)
    arrived = site.far_end.arrived()
    assert [status[end] for end in ends] == [count, 0, 0]
    assert len(arrived) == len(set(arrived)) == count


def test_a_cable_that_is_pulled_and_plugged_in_again_loses_and_doubles_nothing(site: Site) -> None:
    for _ in range(2):
        site.device.tell("put 2000")
        site.wire.cut()
        site.device.tell("put 500")
        site.device.wait(lambda status: status["trouble"])
        site.wire.mend()
        site.device.wait(lambda status: not status["trouble"], hurry=True)
    whole(site, 5100)


def test_a_link_that_loses_a_tenth_of_its_packets_loses_and_doubles_nothing(site: Site) -> None:
    site.wire.lose(0.1)
    for _ in range(4):
        site.device.tell("put 500")
    whole(site, 2100)


def test_a_link_of_20_kilobytes_a_second_gets_all_through_though_it_takes_longer_than_the_timeout(
    site: Site,
) -> None:
    site.wire.slow_down(SLOW)
    site.device.tell("put 500")
    whole(site, 600)

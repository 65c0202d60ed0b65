"""A device without network: the satellites give it the time, also for what it has recorded before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest
from agents import ACME, COUNTER, SPEED, Site, wait_for

from edgeagent.agent.clock import RealClock, ScaledClock
from edgeagent.agent.control import ask
from edgeagent.agent.fit import check
from edgeagent.agent.outgoing import Outgoing
from edgeagent.agent.run import Agent, Job
from edgeagent.buses.fake.port import FakePort
from edgeagent.config.load import require
from edgeagent.errors import StorageFault
from edgeagent.records import NS_PER_S, Record
from edgeagent.timebase import Wall, best_wall

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
RUN = "abcdef012345"


class UnsetClock(ScaledClock):
    """As on a board without network: the system's clock is not set, and starts in 1970."""

    def wall(self) -> Wall:
        return best_wall(Wall(-self._origin_ns, synced=False), self._told)


def rmc(utc: datetime, status: str) -> bytes:
    text = f"GNRMC,{utc:%H%M%S}.00,{status},4807.038,N,01131.000,E,022.4,084.4,{utc:%d%m%y},,,A".encode()
    return b"$%s*%02X\r\n" % (text, reduce(lambda a, b: a ^ b, text, 0))


class Satellites:
    """A receiver that says the time each second, from a moment on with a fix; and who watches the agent meanwhile."""

    def __init__(self, site: Site, clock: ScaledClock, cable: FakePort) -> None:
        self._site, self._clock, self._cable = site, clock, cable
        self._origin_ns = clock.now_ns()
        self._seen, self._over = Event(), Event()
        self.clocks: list[dict[str, Any]] = []

    def speak(self) -> None:
        while not self._over.is_set():
            s = (self._clock.now_ns() - self._origin_ns) // NS_PER_S
            self._cable.send(rmc(NOON + timedelta(seconds=s), "A" if self._seen.is_set() else "V"))
            self._clock.wait(self._over, self._origin_ns + (s + 1) * NS_PER_S)

    def watch(self) -> None:
        """Let the agent make records without the time, then know it; and stop it, whatever was found."""
        try:
            wait_for(lambda: self._status()["outbox"].get("made", 0) > 20)
            self.clocks.append(self._status()["clock"])
            self._seen.set()
            wait_for(lambda: self._status()["clock"]["synced"])
            self.clocks.append(self._status()["clock"])
            self._site.stick.mkdir()
        finally:
            ask(self._site.run, "stop")
            self._over.set()

    def _status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = ask(self._site.run, "status")
        except StorageFault:  # it is not up yet
            return {"outbox": {}}
        return status


def test_records_made_before_the_fix_are_stamped_with_its_time_when_they_are_sent(
    tmp_path: Path, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ACME))
    site, cable = Site(tmp_path), FakePort()
    gps = f"  gps: {{driver: nmea, port: {cable.path}, clock: on}}\npipelines:"
    site.write(
        COUNTER.replace("pipelines:", gps), f"upstream: {{stick: {{directory: {{path: {site.stick}}}}}}}"
    )
    site.stick.rmdir()  # plugged in when the time is known: until then all records wait
    loaded = check(site.config)
    clock = UnsetClock(SPEED, RealClock().now_ns())
    sky = Satellites(site, clock, cable)
    threads = [Thread(target=sky.speak), Thread(target=sky.watch)]
    for thread in threads:
        thread.start()
    store = Outgoing(require(loaded), clock, RUN)
    assert Agent(Job(site.config, for_s=3600), loaded, store, clock, RUN).run()
    for thread in threads:
        thread.join()
    cable.unplug()

    assert sky.clocks == [{"synced": False, "from": None}, {"synced": True, "from": "gps"}]
    records = [record for batch in sorted(site.stick.glob("*.msgpack")) for record in _records(batch)]
    assert {record.clock for record in records} == {"corrected", "synced"}
    assert min(records, key=lambda r: r.mono_ns).clock == "corrected"
    for record in records:
        assert record.time is not None
        away = datetime.fromisoformat(record.time) - NOON
        late_s = away.total_seconds() - (record.mono_ns - clock._origin_ns) / NS_PER_S
        assert abs(late_s) < 20 * SPEED, "what the sentences were late by, real time on a busy machine"


def _records(batch: Path) -> list[Record]:
    return msgspec.msgpack.decode(batch.read_bytes(), type=list[Record])

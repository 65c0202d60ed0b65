"""Disk, sensors, wire and clock fail while the agent runs: it runs on, says so once, and says once when it is over."""

from __future__ import annotations

import resource
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import msgspec
import pytest
from agents import ACME, COUNTER, SPEED, Running, Site, running, scaled, wait_for

from edgeagent.agent.clock import RealClock, ScaledClock
from edgeagent.agent.control import ask
from edgeagent.agent.fit import check
from edgeagent.agent.outgoing import Outgoing
from edgeagent.agent.run import Agent, Job
from edgeagent.config.load import require
from edgeagent.errors import Fault
from edgeagent.outbox.parcels import find_records
from edgeagent.records import NS_PER_S, Record
from edgeagent.timebase import Wall

TWO = COUNTER.replace(
    "pipelines:", "  other: {driver: acme_counter, mood: mood2, port: elsewhere}\npipelines:"
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.feel("well", "mood2")
    return site


@pytest.mark.parametrize("mood", ["gone", "denied"])
def test_a_sensor_that_fails_at_the_start_or_later_disturbs_no_other(site: Site, mood: str) -> None:
    site.feel(mood, "mood2")
    site.write(TWO)
    with running(site, *scaled()) as agent:
        status = agent.until(lambda s: s["counts"]["windows"].get("all", 0) > 50 and s["degraded"])
        assert status["sensors"]["other"]["state"] == mood
        assert status["degraded"][0].startswith(f"sensor other is {mood}: elsewhere: ")
        site.feel("well", "mood2")
        agent.until(lambda s: s["state"] == "ok")
        site.feel(mood, "mood2")
        agent.until(lambda s: s["sensors"]["other"]["state"] == mood)
        agent.stop()
    assert agent.said.count(f"sensor other is {mood}") == 2
    assert agent.said.count("sensor other is back after") == 1
    last = site.last_status()
    assert last["counts"]["samples_missing"]["counter"] == 0
    assert last["counts"]["samples"]["counter"] == last["sensors"]["counter"]["taken"]


def all_durable_after(agent: Running, site: Site) -> None:
    """It writes again, and nothing that was made in between is lost."""
    agent.until(lambda s: not s["outbox"]["trouble"])
    agent.stop()
    last = site.last_status()
    assert agent.said.count("the outbox cannot be written") == 1
    assert agent.said.count("the outbox can be written again") == 1
    assert last["outbox"]["dropped"] == {}
    assert site.records() == site.records_due() > 20


def test_an_outbox_folder_that_cannot_be_written_is_trouble_and_not_the_end(site: Site) -> None:
    site.state.mkdir()
    (site.state / "outbox").write_text("in the way")
    site.write(COUNTER, "upstream: {stick: {directory: {path: stick}}}")
    with running(site, *scaled()) as agent:
        status = agent.until(lambda s: s["counts"]["windows"].get("all", 0) > 20)
        assert status["degraded"][0].startswith("outbox: ")
        assert status["upstream"]["stick"]["trouble"] == "", "it is not the upstream that is away"
        (site.state / "outbox").unlink()
        agent.until(lambda s: s["outbox"].get("delivered", 0) > 20)
        agent.stop()
    assert agent.said.count("the outbox cannot be written") == 1
    assert agent.said.count("the outbox can be written again") == 1
    outbox = site.last_status()["outbox"]
    assert outbox["made"] == outbox["delivered"] + site.records() == site.records_due()


def test_a_full_disk_is_trouble_and_not_the_end(site: Site) -> None:
    """No file may grow beyond 40 kB: what a full disk does to the outbox, and no root is needed for it."""
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["outbox"].get("made", 0) > 5)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
        agent.until(lambda s: s["outbox"]["trouble"] and s["outbox"]["unwritten"] > 20)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        all_durable_after(agent, site)


def test_a_damaged_outbox_is_told_once_with_where_it_is_kept(site: Site) -> None:
    (site.state / "outbox").mkdir(parents=True)
    (site.state / "outbox" / "outbox.db").write_bytes(b"this is no database " * 500)
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["outbox"].get("made", 0) > 20)
        agent.stop()
    (kept,) = (site.state / "outbox").glob("outbox.damaged-*.db")
    assert agent.said.count("the outbox was damaged") == 1
    assert f"it is kept as {kept}" in agent.said


def test_a_health_record_has_every_count_of_what_went_wrong(site: Site) -> None:
    site.feel("gone", "mood2")
    missing = "late: {directory: {path: nowhere}}"
    site.write(TWO, "health: {every: 1 s}", f"upstream: {{{missing}}}")
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["upstream"]["late"]["trouble"])
        before = agent.until(lambda s: s["outbox"]["by_kind"].get("health"))["outbox"]["by_kind"]["health"][
            "made"
        ]
        agent.until(lambda s: s["outbox"]["by_kind"]["health"]["made"] > before + 1)
        agent.stop()
    body = site.bodies("health")[-1]
    assert body["sensors"]["other"]["state"] == "gone"
    assert body["sensors"]["counter"]["turned_away"] == 0
    assert body["counts"]["samples_missing"] == {"counter": 0, "slow": 0}
    assert {"windows_unpredicted", "rules_fired"} <= body["counts"].keys()
    assert {"refused", "refused_weight"} <= body["sampling"].keys()
    assert {"evicted", "rejected", "dropped", "unwanted", "set_aside", "trouble"} <= body["outbox"].keys()
    assert {"evicted", "rejected", "waiting", "trouble"} <= body["upstream"]["late"].keys()
    assert any("upstream late is away" in reason for reason in body["degraded"])


YEAR_NS = 365 * 86_400 * NS_PER_S
TRUE_NS = 1_800_000_000 * NS_PER_S  # 2027-01-15


# As a Pi has it: 1970, then right, then a year ahead, then a year behind.
STEPS = ((0, False), (TRUE_NS, True), (TRUE_NS + YEAR_NS, True), (TRUE_NS - YEAR_NS, True))


class SteppingClock(ScaledClock):
    """A clock of which the wall time is set by hand."""

    wall_ns, synced = STEPS[0]

    def wall(self) -> Wall:
        return Wall(self.wall_ns - self._origin_ns, self.synced)

    def step_through(self, site: Site) -> None:
        """Let the agent make a few records in each of the steps, then stop it."""
        made = 0
        for self.wall_ns, self.synced in STEPS:
            before = made

            def some_more(before: int = before) -> bool:
                nonlocal made
                with suppress(Fault):
                    made = ask(site.run, "status")["outbox"].get("made", 0)
                return made > before + 5

            wait_for(some_more)
        ask(site.run, "stop")


def test_a_wall_clock_that_steps_by_years_touches_neither_order_nor_ids(
    site: Site, handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ACME))
    site.write(COUNTER)
    loaded = check(site.config)
    clock = SteppingClock(SPEED, RealClock().now_ns())
    store = Outgoing(require(loaded), clock, "abcdef012345")
    hand = Thread(target=clock.step_through, args=(site,))
    hand.start()
    assert Agent(Job(site.config), loaded, store, clock, "abcdef012345").run()
    hand.join()
    with closing(site.outbox()) as db:
        parcels = db.execute("SELECT payload FROM record ORDER BY row").fetchall()
    payloads = [payload for (parcel,) in parcels for payload in find_records(parcel)]
    records = [msgspec.msgpack.decode(payload, type=Record) for payload in payloads]
    assert [r.id for r in records] == [f"unit-1/abcdef012345/{n}" for n in range(1, len(records) + 1)]
    assert [r.mono_ns for r in records] == sorted(r.mono_ns for r in records)
    assert len({r.boot_id for r in records}) == 1
    eras = list(dict.fromkeys((r.clock, r.time and r.time[:4]) for r in records))
    assert eras == [("unsynced", None), ("synced", "2027"), ("synced", "2028"), ("synced", "2026")]

"""Between the core, the outbox and the upstreams: nobody waits for another, and the counts are exact."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from threading import Event

import pytest
from agents import Site, wait_for

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.fit import check
from edgeagent.agent.outgoing import Outgoing, Sender, WriterLoop
from edgeagent.agent.threads import Crashed, Inbox, spawn
from edgeagent.config.hours import parse_hours
from edgeagent.config.load import require
from edgeagent.config.schema import Config
from edgeagent.errors import ConfigFault, StorageFault, UpstreamFault
from edgeagent.health.progress import Progress
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import Result

RUN = "0123456789ab"


def drafts(count: int) -> list[Draft]:
    return [Draft("event", n, Priority.EVENT, {"n": n}) for n in range(count)]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Whoever crashes is seen at the end of the test."""
    inbox = Inbox()
    yield inbox
    crashed = []
    while (message := inbox.get(0)) is not None:
        crashed += [message] if isinstance(message, Crashed) else []
    assert crashed == []


def config(site: Site, *sections: str) -> Config:
    site.write(*sections)
    return require(check(site.config))


@pytest.fixture
def outgoing(site: Site, inbox: Inbox) -> Iterator[Callable[[Config], Outgoing]]:
    started: list[Outgoing] = []

    def start(config: Config) -> Outgoing:
        outgoing = Outgoing(config, RealClock(), RUN)
        outgoing.start(inbox, Progress())
        started.append(outgoing)
        return outgoing

    yield start
    for one in started:
        one.close()


STICK = "upstream: {stick: {directory: {path: stick}}}"
TWO = "upstream: {stick: {directory: {path: stick}}, other: {directory: {path: stick}}}"


def test_what_is_put_is_unwritten_until_it_is_durable_then_delivered(
    site: Site, outgoing: Callable[[Config], Outgoing]
) -> None:
    store = outgoing(config(site, STICK))
    for _ in range(20):
        store.put(drafts(10))
        assert not (store.delivered() and store.status()["outbox"]["made"] < 200)
    wait_for(store.delivered)
    status = store.status()
    assert (status["outbox"]["made"], status["outbox"]["unwritten"]) == (200, 0)
    size_bytes = stick_bytes(site)
    assert status["upstream"]["stick"] == {
        "delivered": 200, "waiting": 0, "rejected": 0, "evicted": 0, "trouble": "", "held": "",
        "bytes_sent": size_bytes, "bytes_this_month": size_bytes, "budget_bytes": 0,
    }  # fmt: skip


def stick_bytes(site: Site) -> int:
    return sum(f.stat().st_size for f in site.stick.glob("*.msgpack"))


def test_a_months_budget_is_spent_once_however_often_the_agent_starts(
    site: Site, outgoing: Callable[[Config], Outgoing]
) -> None:
    frugal = config(site, "upstream: {stick: {directory: {path: stick}, budget: {per_month: 5 kB}}}")

    def is_spent(store: Outgoing) -> bool:
        return bool(store.status()["upstream"]["stick"]["held"].endswith("and waits for the next"))

    store = outgoing(frugal)
    store.put(drafts(100))
    wait_for(lambda: is_spent(store))
    store.close()
    sent_bytes = stick_bytes(site)
    assert 5000 <= sent_bytes < 5400
    again = outgoing(frugal)
    again.put(drafts(1))
    wait_for(lambda: is_spent(again) and again.status()["outbox"]["made"] == 101)
    assert again.status()["upstream"]["stick"]["bytes_sent"] == sent_bytes == stick_bytes(site)


def test_close_makes_the_last_put_durable(site: Site, outgoing: Callable[[Config], Outgoing]) -> None:
    store = outgoing(config(site, "outbox: {flush: 1 h}"))
    store.put([Draft("prediction", 1, Priority.PREDICTION, {})])
    store.close()
    assert site.records() == 1


def test_records_that_could_not_be_made_durable_are_counted_at_the_end(
    site: Site, outgoing: Callable[[Config], Outgoing], caplog: pytest.LogCaptureFixture
) -> None:
    site.state.mkdir()
    (site.state / "outbox").touch()
    store = outgoing(config(site))
    store.put(drafts(3))
    store.close()
    assert caplog.messages[-1].startswith("3 records could not be made durable and are lost: ")


def test_an_upstream_that_cannot_be_made_is_told_before_anything_changes(
    site: Site, outgoing: Callable[[Config], Outgoing]
) -> None:
    store = outgoing(config(site, STICK))
    with pytest.raises(ConfigFault):
        store.reroute(
            config(site, "upstream: {fleet: {http: {url: 'http://127.0.0.1:9', token: {file: no}}}}")
        )
    store.put(drafts(1))
    wait_for(store.delivered)


def test_an_upstream_that_comes_back_is_told_and_one_that_is_away_does_not_hold_up_another(
    site: Site, outgoing: Callable[[Config], Outgoing], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    away = "upstream: {stick: {directory: {path: stick}}, late: {directory: {path: late}}}"
    store = outgoing(config(site, away))
    store.put(drafts(5))
    wait_for(lambda: store.status()["upstream"]["stick"]["delivered"] == 5)
    wait_for(lambda: bool(store.status()["upstream"]["late"]["trouble"]))
    (site.folder / "late").mkdir()
    store.hurry()
    wait_for(store.delivered)
    wait_for(lambda: not store.status()["upstream"]["late"]["trouble"])
    about_late = [message for message in caplog.messages if "late" in message]
    assert [m.split(":")[0].split(" after")[0] for m in about_late] == [
        "upstream late is away",
        "upstream late is back",
    ]


class Held:
    """A sink that holds each batch until it is let, or fails."""

    bytes_sent = 0

    def __init__(self) -> None:
        self.holds, self.let = Event(), Event()
        self.fails = False
        self.retry_after_s = 0.0

    def send(self, batch: Mapping[int, bytes]) -> Result:
        self.holds.set()
        self.let.wait()
        if self.fails:
            fault = UpstreamFault("away")
            fault.retry_after_s = self.retry_after_s
            raise fault
        return Result(accepted=frozenset(batch))

    def idle(self) -> None:
        pass

    def close(self) -> None:
        self.let.set()


@pytest.fixture
def loop(tmp_path: Path, inbox: Inbox) -> Iterator[WriterLoop]:
    """The writer's loop over an outbox with one upstream."""

    def open_outbox(first_seq: int) -> Outbox:
        return Outbox(
            tmp_path, "unit-1", RUN, "boot", {"held": frozenset()}, max_bytes=10**7, first_seq=first_seq
        )

    loop = WriterLoop(Writer(open_outbox, 0.01), RealClock(), lambda: None)
    thread = spawn("writer", lambda: loop.run(lambda now_ns: None), inbox)
    yield loop
    loop.stop()
    thread.join()


def test_an_upstream_that_is_taken_away_while_it_sends_keeps_its_records_for_the_next(
    loop: WriterLoop, inbox: Inbox
) -> None:
    sink = Held()
    sender = Sender("held", sink, loop, RealClock(), "boot")
    loop.put(drafts(5))
    wait_for(lambda: not loop.unwritten)
    thread = spawn("sender", sender.run, inbox)
    assert sink.holds.wait(60)
    sender.stop()
    loop.ask(lambda outbox: outbox.route({"next": frozenset()}))
    assert not sender.take("held", 10, 1000, Priority.BULK), "it is not asked for what is not its any more"
    sink.let.set()
    thread.join(60)
    taken = loop.ask(lambda outbox: outbox.take("next", 10, 10**6))
    assert len(taken) == 5, "sent again, and stored once: its id tells"


def test_out_of_its_hours_an_upstream_waits_and_says_for_what(loop: WriterLoop) -> None:
    def noon(hour: int) -> Wall:
        return Wall(round(datetime(2026, 11, 22, hour, 30).timestamp() * NS_PER_S), synced=True)

    clock, sink = VirtualClock(), Held()
    sink.let.set()
    sender = Sender("held", sink, loop, clock, "boot", parse_hours("23:00-05:00"))
    loop.put(drafts(1))
    wait_for(lambda: not loop.unwritten)
    assert sender.step() == 60
    assert "waits for the clock to be set" in sender.held
    clock.set_wall(noon(12))
    assert sender.step() == 60
    assert sender.held == "waits for its hours, which begin in 10 h 30 min"
    assert not sink.holds.is_set()
    clock.set_wall(noon(3))
    assert sender.step() is None
    assert sender.held == ""
    assert sink.holds.is_set()


def test_a_receiver_that_asks_for_time_is_given_it_and_some_more(loop: WriterLoop) -> None:
    sink = Held()
    sink.let.set()
    sink.fails, sink.retry_after_s = True, 120.0
    sender = Sender("held", sink, loop, RealClock(), "boot")
    loop.put(drafts(1))
    wait_for(lambda: not loop.unwritten)
    pause_s = sender.step()
    assert pause_s is not None
    assert 120 <= pause_s <= 121


def test_a_disk_that_fails_is_not_told_as_an_upstream_that_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(first_seq: int) -> Outbox:
        raise StorageFault(f"no disk for {first_seq}")

    loop = WriterLoop(Writer(refuse, 0.01), RealClock(), lambda: None)
    inbox = Inbox()
    thread = spawn("writer", lambda: loop.run(lambda now_ns: None), inbox)
    sender = Sender("held", Held(), loop, RealClock(), "boot")
    assert sender.step() == 1.0
    assert sender.trouble == ""
    assert caplog.messages == []
    loop.stop()
    thread.join()

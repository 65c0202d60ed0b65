"""One probe opens the gates after an outage: nothing is sent in vain meanwhile, and all at once then. Virtual time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from outboxes import drafts

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.outgoing import Sender, WriterLoop
from edgeagent.agent.threads import Inbox, spawn
from edgeagent.errors import UpstreamFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.parcels import PARCEL_RECORDS
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Priority
from edgeagent.timebase import Clock
from edgeagent.upstream import Result
from edgeagent.upstream.codec import id_of
from edgeagent.upstream.link import FIRST_BATCH_BYTES
from edgeagent.upstream.sync import LIMITS

RECORDS = 12_000
A_RECORD_BYTES = 130  # at most
FULL = FIRST_BATCH_BYTES // A_RECORD_BYTES - PARCEL_RECORDS  # a batch ends with a parcel
HOUR_S = 3600.0


class Far:
    """A receiver that is away from one second to another, and notes what it is asked, and when."""

    def __init__(self, clock: Clock, away_from_s: float = 0.0, back_s: float = 0.0) -> None:
        self._clock, self._away_from_s, self._back_s = clock, away_from_s, back_s
        self.bytes_sent = 0
        self.asked: list[tuple[float, int]] = []

    def send(self, batch: Mapping[int, bytes]) -> Result:
        now_s = self._clock.now_ns() / NS_PER_S
        self.asked.append((now_s, len(batch)))
        self.bytes_sent += sum(map(len, batch.values()))
        if self._away_from_s <= now_s < self._back_s:
            raise UpstreamFault("away")
        return Result(accepted=frozenset(batch))

    def idle(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[WriterLoop]:
    """The writer's loop over an outbox with three upstreams, and a backlog for each."""

    def open_outbox(first_seq: int) -> Outbox:
        routes = {name: frozenset[str]() for name in ("fleet", "plant", "lake")}
        return Outbox(tmp_path, "d", "0" * 12, "boot", routes, max_bytes=10**8, first_seq=first_seq)  # type: ignore[arg-type]

    inbox = Inbox()
    loop = WriterLoop(Writer(open_outbox, 0.01), RealClock(), lambda: None)
    thread = spawn("writer", lambda: loop.run(lambda now_ns: None), inbox)
    loop.ask(lambda outbox: None)
    loop.put(drafts(RECORDS, Priority.EVENT, "event"))
    while loop.unwritten:
        loop.ask(lambda outbox: None)
    yield loop
    loop.stop()
    thread.join()
    assert inbox.get(0) is None


def live(loop: WriterLoop, clock: VirtualClock, sinks: Mapping[str, Far], until_s: float) -> None:
    """Let each sender do what it has to at its own time, as its thread would."""
    senders = {name: Sender(name, sink, loop, clock, "boot") for name, sink in sinks.items()}
    due_s = dict.fromkeys(senders, 0.0)
    while min(due_s.values()) < until_s:
        name = min(due_s, key=lambda one: due_s[one])
        clock.sleep_s(due_s[name] - clock.now_ns() / NS_PER_S)
        due_s[name] = clock.now_ns() / NS_PER_S + (senders[name].step() or 0.0)


def test_each_upstream_is_asked_by_probes_while_it_is_away_and_gets_full_batches_once_one_is_answered(
    loop: WriterLoop,
) -> None:
    clock = VirtualClock()
    sinks = {"fleet": Far(clock, 0, HOUR_S), "plant": Far(clock, 0, 20), "lake": Far(clock)}
    live(loop, clock, sinks, 2 * HOUR_S)
    for name, back_s in (("fleet", HOUR_S), ("plant", 20)):
        asked = sinks[name].asked
        in_vain = [records for at_s, records in asked if at_s < back_s]
        assert in_vain[0] >= FULL, "it does not know yet that nobody is there"
        assert set(in_vain[1:]) == {0}, "a probe has no record that could spoil it"
        (probe_s, probe), *batches = [one for one in asked if one[0] >= back_s]
        assert (probe, probe_s < back_s + min(back_s / 4, 60)) == (0, True)
        assert all(FULL <= records <= LIMITS.max_records for _, records in batches[:-1])
        assert sum(records for _, records in batches) == RECORDS
        assert {at_s for at_s, _ in batches} == {probe_s}, "without another pause"
    assert {at_s for at_s, _ in sinks["lake"].asked} == {0.0}, "who is there waits for nobody"
    assert len(sinks["fleet"].asked) < 250
    delivered = loop.ask(Outbox.counters).by_upstream
    assert {name: row["delivered"] for name, row in delivered.items()} == dict.fromkeys(sinks, RECORDS)


def test_a_second_outage_in_the_midst_of_a_drain_is_probed_like_the_first(loop: WriterLoop) -> None:
    class Flaky(Far):
        """Goes away again after two batches."""

        def send(self, batch: Mapping[int, bytes]) -> Result:
            full = sum(records > 0 for _, records in self.asked)
            if full == 3 and batch:
                self._away_from_s, self._back_s = clock.now_ns() / NS_PER_S, clock.now_ns() / NS_PER_S + 600
            return super().send(batch)

    clock = VirtualClock()
    sink = Flaky(clock, 0, 300)
    live(loop, clock, {"fleet": sink}, HOUR_S)
    with_records = [at_s for at_s, records in sink.asked if records]
    in_vain = 2
    assert RECORDS / LIMITS.max_records <= len(with_records) - in_vain <= math.ceil(RECORDS / FULL)
    assert loop.ask(Outbox.counters).by_upstream["fleet"]["delivered"] == RECORDS


class Brittle(Far):
    """Answers, and fails with a 500 at any batch in which one of these is."""

    def __init__(self, clock: Clock, *poison: str) -> None:
        super().__init__(clock)
        self.poison, self.taken = set(poison), list[str]()

    def send(self, batch: Mapping[int, bytes]) -> Result:
        self.asked.append((self._clock.now_ns() / NS_PER_S, len(batch)))
        ids = [id_of(record) for record in batch.values()]
        if self.poison.intersection(ids):
            fault = UpstreamFault("it fails (500)")
            fault.may_be_a_record = True
            raise fault
        self.taken += ids
        return Result(accepted=frozenset(batch))


@pytest.mark.parametrize("poisoned", [(1,), (300,), (1, 2), (499, 500, 3000, RECORDS)])
def test_a_record_at_which_a_receiver_fails_is_set_apart_and_the_others_arrive(
    loop: WriterLoop, poisoned: tuple[int, ...]
) -> None:
    clock = VirtualClock()
    poison = {f"d/{'0' * 12}/{seq}" for seq in poisoned}
    sink = Brittle(clock, *poison)
    live(loop, clock, {"fleet": sink}, 1200)
    loop.put(drafts(20, Priority.HEALTH, "health"))  # the last one has no other behind it until more is made
    while loop.unwritten:
        loop.ask(lambda outbox: None)
    live(loop, clock, {"fleet": sink}, 2400)
    assert len(sink.taken) == len(set(sink.taken)) == RECORDS + 20 - len(poison)
    refused = loop.ask(Outbox.quarantined)
    assert {one.id for one in refused} == poison
    assert {one.reason for one in refused} == {"the receiver takes others, and fails at it: it fails (500)"}


def test_a_receiver_that_fails_at_everything_has_nothing_set_apart(loop: WriterLoop) -> None:
    clock = VirtualClock()
    sink = Brittle(clock, *(f"d/{'0' * 12}/{seq}" for seq in range(1, RECORDS + 1)))
    live(loop, clock, {"fleet": sink}, HOUR_S)
    assert loop.ask(Outbox.quarantined) == []
    sink.poison.clear()
    live(loop, clock, {"fleet": sink}, 2 * HOUR_S)
    assert len(sink.taken) == len(set(sink.taken)) == RECORDS

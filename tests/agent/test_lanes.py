"""Between the core and a model: every request has exactly one arrival, whatever the model does."""

from __future__ import annotations

import logging
from functools import partial
from threading import Event

import numpy as np
import pytest
from agents import wait_for

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.lanes import Lane, Lanes, Serving
from edgeagent.agent.schedule import MOST_WAITING, Terms
from edgeagent.agent.threads import Inbox, spawn
from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference import Answer
from edgeagent.pipeline import Arrival, ModelPlan, Request
from edgeagent.records import NS_PER_S, Float32Array, Reading

WINDOW = np.zeros((1, 1), np.float32)


PLAN = ModelPlan("m", "tiny", "1.0", {}, "auto", lambda _: Reading(), 0.0)


class SlowModel:
    """An engine that answers when it is let, and fails with what it is given to fail with."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.let, self.asked = Event(), Event()
        self.fault: InferenceFault | BundleFault | None = None
        self.state = "ok"
        self.closed = False

    def start(self) -> None:
        if self.fault:
            raise self.fault

    def predict(
        self, values: Float32Array | tuple[bytes, ...], stream: str = "", window_seq: int = 0
    ) -> Answer:
        del values
        self.asked.set()
        self.let.wait()
        if self.fault:
            raise self.fault
        return Answer((0.25, 0.75), "m.tflite", "cpu", 1000, "no better one is there")

    def status(self) -> dict[str, object]:
        return {"state": self.state}

    def close(self) -> None:
        self.closed = True
        self.let.set()


def lanes_of(inbox: Inbox, deadline_s: float = 1000.0, **models: SlowModel) -> Lanes:
    """Lanes that run, each for a pipeline of its model's name."""
    terms = {name: Terms(0, round(deadline_s * NS_PER_S)) for name in models}
    serving = {name: Serving(model, PLAN) for name, model in models.items()}
    lanes = Lanes(serving, terms, RealClock(), inbox)
    for lane in lanes.by_model.values():
        spawn("lane", partial(lane.run, lambda: None), inbox)
    return lanes


def ask(lanes: Lanes, model: str, seq: int) -> None:
    lanes.submit(Request(model, model, seq, WINDOW))


def stop(lanes: Lanes) -> None:
    for lane in lanes.by_model.values():
        lane.stop()


def arrivals(inbox: Inbox, count: int) -> list[Arrival]:
    found = [inbox.get(10) for _ in range(count)]
    return [message for message in found if isinstance(message, Arrival)]


def test_when_the_model_is_slow_the_oldest_are_stale_and_each_request_arrives_once() -> None:
    inbox, model = Inbox(), SlowModel()
    lanes = lanes_of(inbox, m=model)
    ask(lanes, "m", 0)
    assert model.asked.wait(60)
    for seq in range(1, MOST_WAITING + 4):
        ask(lanes, "m", seq)
    model.let.set()
    got = arrivals(inbox, MOST_WAITING + 4)
    assert sorted(a.window_seq for a in got) == list(range(MOST_WAITING + 4))
    assert [a.window_seq for a in got if a.skipped == "stale"] == [1, 2, 3]
    assert lanes.by_model["m"].status()["stale"] == 3
    stop(lanes)
    assert model.closed
    assert inbox.get(0) is None


def test_what_has_waited_past_its_deadline_is_not_computed_when_there_is_a_newer_one() -> None:
    inbox, model, clock = Inbox(), SlowModel(), VirtualClock()
    lanes = Lanes({"m": Serving(model, PLAN)}, {"m": Terms(0, NS_PER_S)}, clock, inbox)
    spawn("lane", partial(lanes.by_model["m"].run, lambda: None), inbox)
    ask(lanes, "m", 0)
    assert model.asked.wait(60)
    ask(lanes, "m", 1)
    ask(lanes, "m", 2)
    clock.sleep_s(1.5)
    model.let.set()
    got = {arrival.window_seq: arrival.skipped for arrival in arrivals(inbox, 3)}
    assert got == {0: None, 1: "stale", 2: None}
    stop(lanes)


def test_two_models_on_one_device_are_never_asked_at_once_and_one_on_another_is() -> None:
    inbox = Inbox()
    first, second, other = SlowModel("edgetpu"), SlowModel("edgetpu"), SlowModel("cpu")
    lanes = lanes_of(inbox, first=first, second=second, other=other)
    wait_for(lambda: all(lane.started for lane in lanes.by_model.values()))
    ask(lanes, "first", 0)
    assert first.asked.wait(60)
    ask(lanes, "second", 1)
    ask(lanes, "other", 2)
    assert other.asked.wait(60)
    assert not second.asked.wait(0.05)
    first.let.set()
    assert second.asked.wait(60)
    second.let.set()
    other.let.set()
    assert sorted(a.window_seq for a in arrivals(inbox, 3)) == [0, 1, 2]
    stop(lanes)


def test_between_two_requests_another_engine_takes_over_and_says_so_with_each_answer() -> None:
    inbox, old, new = Inbox(), SlowModel(), SlowModel()
    lanes = lanes_of(inbox, m=old)
    ask(lanes, "m", 0)
    assert old.asked.wait(60)
    taken = lanes.by_model["m"].switch(Serving(new, PLAN._replace(version="2.0")))
    ask(lanes, "m", 1)
    assert not old.closed, "it is let finish what it is at"
    assert not taken.done()
    old.let.set()
    taken.result(60)
    assert lanes.by_model["m"].status()["version"] == "2.0", "from when it is said to be done"
    new.let.set()
    got = arrivals(inbox, 2)
    assert [(a.window_seq, a.skipped, a.model.version) for a in got if a.model] == [
        (0, None, "1.0"),
        (1, None, "2.0"),
    ]
    assert [engine.closed for engine in (old, new)] == [True, False]
    stop(lanes)
    wait_for(lambda: new.closed)


@pytest.mark.parametrize(("state", "skipped"), [("restarting", "worker"), ("quarantined", "quarantined")])
def test_a_model_that_fails_is_an_arrival_too_and_is_told_once_and_once_when_it_is_well(
    state: str, skipped: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    inbox, model = Inbox(), SlowModel()
    model.fault, model.state = BundleFault("the model file is empty"), state
    model.let.set()
    lanes = lanes_of(inbox, m=model)
    for seq in range(3):
        ask(lanes, "m", seq)
    assert {(a.skipped, a.error) for a in arrivals(inbox, 3)} == {(skipped, "the model file is empty")}
    model.fault = None
    ask(lanes, "m", 3)
    assert arrivals(inbox, 1) == [
        Arrival("m", 3, (0.25, 0.75), "m.tflite", "cpu", model=PLAN, why="no better one is there")
    ]
    assert caplog.messages == ["model m: the model file is empty", "model m answers again"]
    stop(lanes)


def test_a_lane_is_settled_only_when_its_model_has_been_tried() -> None:
    inbox, model = Inbox(), SlowModel()
    lane = Lane("m", Serving(model, PLAN), lambda _: None, inbox)
    assert not lane.started
    spawn("lane", lambda: lane.run(lambda: None), inbox)
    wait_for(lambda: lane.started)
    lane.stop()


def test_a_lane_that_hangs_stops_saying_that_it_lives() -> None:
    inbox, model, rounds = Inbox(), SlowModel(), []
    lane = Lane("m", Serving(model, PLAN), lambda _: None, inbox)
    spawn("lane", lambda: lane.run(lambda: rounds.append(1)), inbox)
    lane.hand(Request("m", "p", 0, WINDOW))
    assert model.asked.wait(60)
    at_the_hang = len(rounds)
    model.asked.wait(0.05)
    assert len(rounds) == at_the_hang
    model.let.set()
    arrivals(inbox, 1)
    wait_for(lambda: len(rounds) > at_the_hang)
    lane.stop()

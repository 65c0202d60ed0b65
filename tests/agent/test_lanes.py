"""Between the core and a model: every request has exactly one arrival, whatever the model does."""

from __future__ import annotations

import logging
from threading import Event

import numpy as np
import pytest
from agents import wait_for

from edgeagent.agent.lanes import LANE_REQUESTS, Lane
from edgeagent.agent.threads import Inbox, spawn
from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference import Answer
from edgeagent.pipeline import Arrival, Request
from edgeagent.records import Float32Array

WINDOW = np.zeros((1, 1), np.float32)


class SlowModel:
    """An engine that answers when it is let, and fails with what it is given to fail with."""

    def __init__(self) -> None:
        self.let, self.asked = Event(), Event()
        self.fault: InferenceFault | BundleFault | None = None
        self.state = "ok"
        self.closed = False

    def start(self) -> None:
        if self.fault:
            raise self.fault

    def predict(self, values: Float32Array | tuple[bytes, ...]) -> Answer:
        del values
        self.asked.set()
        self.let.wait()
        if self.fault:
            raise self.fault
        return Answer((0.25, 0.75), "m.tflite", "cpu", 1000)

    def status(self) -> dict[str, object]:
        return {"state": self.state}

    def close(self) -> None:
        self.closed = True
        self.let.set()


def arrivals(inbox: Inbox, count: int) -> list[Arrival]:
    found = [inbox.get(10) for _ in range(count)]
    return [message for message in found if isinstance(message, Arrival)]


def test_when_the_model_is_slow_the_oldest_are_stale_and_each_request_arrives_once() -> None:
    inbox, model = Inbox(), SlowModel()
    lane = Lane("m", model, inbox)
    spawn("lane", lambda: lane.run(lambda: None), inbox)
    lane.submit(Request("m", "p", 0, WINDOW))
    assert model.asked.wait(10)
    for seq in range(1, 11):
        lane.submit(Request("m", "p", seq, WINDOW))
    model.let.set()
    got = arrivals(inbox, 11)
    assert sorted(a.window_seq for a in got) == list(range(11))
    assert [a.window_seq for a in got if a.skipped == "stale"] == list(range(1, 11 - LANE_REQUESTS))
    assert lane.stale == 10 - LANE_REQUESTS
    lane.stop()
    assert model.closed
    assert inbox.get(0) is None


@pytest.mark.parametrize(("state", "skipped"), [("restarting", "worker"), ("quarantined", "quarantined")])
def test_a_model_that_fails_is_an_arrival_too_and_is_told_once_and_once_when_it_is_well(
    state: str, skipped: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    inbox, model = Inbox(), SlowModel()
    model.fault, model.state = BundleFault("the model file is empty"), state
    model.let.set()
    lane = Lane("m", model, inbox)
    spawn("lane", lambda: lane.run(lambda: None), inbox)
    for seq in range(3):
        lane.submit(Request("m", "p", seq, WINDOW))
    assert {(a.skipped, a.error) for a in arrivals(inbox, 3)} == {(skipped, "the model file is empty")}
    model.fault = None
    lane.submit(Request("m", "p", 3, WINDOW))
    assert arrivals(inbox, 1) == [Arrival("p", 3, (0.25, 0.75), "m.tflite", "cpu")]
    assert caplog.messages == ["model m: the model file is empty", "model m answers again"]
    lane.stop()


def test_a_lane_is_settled_only_when_its_model_has_been_tried() -> None:
    inbox, model = Inbox(), SlowModel()
    lane = Lane("m", model, inbox)
    assert not lane.started
    spawn("lane", lambda: lane.run(lambda: None), inbox)
    wait_for(lambda: lane.started)
    lane.stop()


def test_a_lane_that_hangs_stops_saying_that_it_lives() -> None:
    inbox, model, rounds = Inbox(), SlowModel(), []
    lane = Lane("m", model, inbox)
    spawn("lane", lambda: lane.run(lambda: rounds.append(1)), inbox)
    lane.submit(Request("m", "p", 0, WINDOW))
    assert model.asked.wait(10)
    at_the_hang = len(rounds)
    model.asked.wait(0.05)
    assert len(rounds) == at_the_hang
    model.let.set()
    arrivals(inbox, 1)
    wait_for(lambda: len(rounds) > at_the_hang)
    lane.stop()

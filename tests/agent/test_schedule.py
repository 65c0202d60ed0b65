"""Which request is next: the urgent first, nobody never, one at a time on a device, and nothing too late."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgeagent.agent.schedule import MOST_WAITING, Schedule, Terms
from edgeagent.pipeline import Request
from edgeagent.records import NS_PER_S

WINDOW = np.zeros((1, 1), np.float32)
PATIENT = 10**6 * NS_PER_S


def request(pipeline: str, seq: int, model: str = "m", pictures: tuple[bytes, ...] = ()) -> Request:
    return Request(model, pipeline, seq, WINDOW, pictures)


def one_device(priorities: dict[str, int], deadline_ns: int = PATIENT) -> Schedule:
    """A model a pipeline, all on the CPU, all idle."""
    schedule = Schedule({name: Terms(priority, deadline_ns) for name, priority in priorities.items()})
    for name in priorities:
        schedule.free(f"model of {name}", "cpu")
    return schedule


def ask(schedule: Schedule, pipeline: str, seq: int, now_ns: int = 0) -> list[Request]:
    return schedule.put(request(pipeline, seq, f"model of {pipeline}"), now_ns)


def run(schedule: Schedule) -> Request:
    """What is taken next; it is computed at once."""
    taken = schedule.take()
    assert taken is not None
    schedule.free(taken.model, "cpu")
    return taken


def test_the_more_urgent_pipeline_is_next_and_among_equals_the_one_that_is_due_first() -> None:
    schedule = one_device({"bulk": 0, "late": 5, "soon": 5})
    ask(schedule, "bulk", 0, now_ns=0)
    ask(schedule, "late", 0, now_ns=2)
    ask(schedule, "soon", 0, now_ns=1)
    assert [run(schedule).pipeline for _ in range(3)] == ["soon", "late", "bulk"]
    assert schedule.take() is None


def test_a_pipelines_own_requests_keep_their_order() -> None:
    schedule = one_device({"p": 0})
    for seq in range(4):
        ask(schedule, "p", seq)
    assert [run(schedule).window_seq for _ in range(4)] == [0, 1, 2, 3]


def test_what_is_passed_over_counts_one_more_each_time_so_that_it_has_its_turn() -> None:
    """Priority 3 beside priority 0, both with something to do all the time: three turns to one."""
    schedule, turns = one_device({"low": 0, "high": 3}), ""
    for seq in range(12):
        for name in ("low", "high"):
            ask(schedule, name, seq, now_ns=seq)
        turns += run(schedule).pipeline[0]
    assert turns == "hhhlhhhlhhhl"


def test_what_has_waited_past_its_deadline_is_given_up_the_oldest_first_and_never_the_newest() -> None:
    schedule = one_device({"p": 0}, deadline_ns=10)
    for seq in range(3):
        assert ask(schedule, "p", seq, now_ns=5 * seq) == []
    assert schedule.expire(10) == [], "the first is due just now"
    assert [r.window_seq for r in schedule.expire(16)] == [0, 1]
    assert schedule.expire(1000) == [], "there is no newer one that it keeps waiting"
    assert run(schedule).window_seq == 2
    assert schedule.expire(1000) == [], "what was taken is not given up any more"


def test_a_newer_request_takes_the_place_of_the_oldest_where_too_many_wait() -> None:
    schedule = one_device({"p": 0})
    stale = [r.window_seq for seq in range(MOST_WAITING + 2) for r in ask(schedule, "p", seq)]
    assert stale == [0, 1]
    assert run(schedule).window_seq == 2


def test_of_a_pipelines_pictures_only_the_newest_waits() -> None:
    schedule = one_device({"p": 0})
    stale = []
    for seq in range(3):
        stale += schedule.put(request("p", seq, "model of p", pictures=(b"jpeg",)), 0)
    assert [r.window_seq for r in stale] == [0, 1]
    assert run(schedule).window_seq == 2


def test_a_device_that_computes_is_given_nothing_else_and_another_device_is() -> None:
    schedule = Schedule({name: Terms(0, PATIENT) for name in "abc"})
    for model, device in (("ma", "edgetpu"), ("mb", "edgetpu"), ("mc", "cpu")):
        schedule.free(model, device)
    for seq, name in enumerate("abc"):
        schedule.put(request(name, seq, f"m{name}"), 0)
    first, second = schedule.take(), schedule.take()
    assert {r.pipeline for r in (first, second) if r} == {"a", "c"}
    assert schedule.take() is None
    schedule.free("ma", "edgetpu")
    third = schedule.take()
    assert third is not None
    assert third.pipeline == "b"


def test_a_model_whose_lane_is_busy_holds_up_no_other_on_its_device() -> None:
    """While it is being loaded, say: it has not said that it is free."""
    schedule = Schedule({"loading": Terms(9, PATIENT), "ready": Terms(0, PATIENT)})
    schedule.free("m", "cpu")
    schedule.put(request("loading", 0, "another"), 0)
    schedule.put(request("ready", 0, "m"), 0)
    taken = schedule.take()
    assert taken is not None
    assert taken.pipeline == "ready"


def test_a_model_that_has_moved_to_another_device_waits_for_that_one() -> None:
    schedule = Schedule({"p": Terms(0, PATIENT), "q": Terms(0, PATIENT)})
    schedule.free("m", "edgetpu")
    schedule.free("n", "cpu")
    schedule.put(request("p", 0, "m"), 0)
    assert schedule.take() is not None
    schedule.put(request("q", 0, "n"), 0)
    assert schedule.take() is not None
    schedule.free("m", "cpu")  # its Edge TPU is gone
    schedule.put(request("p", 1, "m"), 0)
    assert schedule.take() is None
    schedule.free("n", "cpu")
    assert schedule.take() is not None


PIPELINES = {  # name: model, priority
    "a": ("m", 0),
    "b": ("m", 2),
    "c": ("n", 7),
    "d": ("o", 3),
    "e": ("o", 3),
}
DEVICES = ("cpu", "edgetpu")
DEADLINE_NS = 50
MOST_PASSED_OVER = 7 + len(PIPELINES) - 1  # the priorities differ by 7; and once by each of the others


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order."""

    @initialize()
    def begin(self) -> None:
        self.schedule = Schedule({name: Terms(p, DEADLINE_NS) for name, (_, p) in PIPELINES.items()})
        self.now_ns = self.seq = 0
        self.waiting: dict[str, list[tuple[int, int]]] = {name: [] for name in PIPELINES}
        self.running: dict[str, str] = {}
        self.free = dict.fromkeys(("m", "n", "o"), "")
        self.passed_over: defaultdict[str, int] = defaultdict(int)

    def give_up(self, stale: list[Request]) -> None:
        for one in stale:
            seq, due_ns = self.waiting[one.pipeline].pop(0)
            assert seq == one.window_seq, "the oldest first"
            left = len(self.waiting[one.pipeline])
            assert left >= 1, "the newest is never given up"
            assert due_ns < self.now_ns or left == MOST_WAITING

    @rule(pipeline=st.sampled_from(sorted(PIPELINES)))
    def put(self, pipeline: str) -> None:
        self.seq += 1
        self.waiting[pipeline].append((self.seq, self.now_ns + DEADLINE_NS))
        self.give_up(self.schedule.put(request(pipeline, self.seq, PIPELINES[pipeline][0]), self.now_ns))

    @rule(after_ns=st.integers(1, 2 * DEADLINE_NS))
    def wait(self, after_ns: int) -> None:
        self.now_ns += after_ns
        self.give_up(self.schedule.expire(self.now_ns))
        assert all(due_ns >= self.now_ns for queue in self.waiting.values() for _, due_ns in queue[:-1])

    @rule(model=st.sampled_from(("m", "n", "o")), device=st.sampled_from(DEVICES))
    def free_lane(self, model: str, device: str) -> None:
        self.running.pop(model, None)
        self.free[model] = device
        self.schedule.free(model, device)

    @rule()
    def take(self) -> None:
        ready = {
            name: device
            for name, (model, _) in PIPELINES.items()
            if self.waiting[name]
            and (device := self.free[model])
            and model not in self.running
            and device not in self.running.values()
        }
        taken = self.schedule.take()
        assert (taken is not None) == bool(ready), "no device is idle while something waits for it"
        if taken is None:
            return
        device = ready[taken.pipeline]
        self.running[taken.model] = device
        assert self.waiting[taken.pipeline].pop(0)[0] == taken.window_seq
        for name in PIPELINES:
            beaten = ready.get(name) == device and name != taken.pipeline
            self.passed_over[name] = self.passed_over[name] + 1 if beaten else 0

    @invariant()
    def never_two_on_one_device(self) -> None:
        if hasattr(self, "running"):
            assert len(set(self.running.values())) == len(self.running)

    @invariant()
    def nobody_starves(self) -> None:
        if hasattr(self, "passed_over"):
            assert max(self.passed_over.values(), default=0) <= MOST_PASSED_OVER

    @invariant()
    def nothing_grows(self) -> None:
        if hasattr(self, "waiting"):
            assert all(len(queue) <= MOST_WAITING for queue in self.waiting.values())

    @precondition(lambda self: self.now_ns > 0)
    @rule()
    def everything_asked_is_taken_or_given_up(self) -> None:
        held = sum(len(queue) for queue in self.schedule._waiting.values())
        assert held == sum(len(queue) for queue in self.waiting.values())


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=80)


@pytest.mark.parametrize(
    "priorities", [{"a": 0, "b": 9}, {"a": 0, "b": 9, "c": 9, "d": 5}, dict.fromkeys("abcdef", 4)]
)
def test_under_overload_each_pipeline_has_its_turn_within_the_bound(priorities: dict[str, int]) -> None:
    schedule = one_device(priorities)
    bound = max(priorities.values()) - min(priorities.values()) + len(priorities) - 1
    since = dict.fromkeys(priorities, 0)
    for seq in range(300):
        for name in priorities:
            ask(schedule, name, seq, now_ns=seq)
        taken = run(schedule).pipeline
        since = {name: 0 if name == taken else passed + 1 for name, passed in since.items()}
        assert max(since.values()) <= bound

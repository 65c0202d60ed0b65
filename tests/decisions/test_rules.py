"""When a rule activates, when it clears, when it cannot say, and what its decisions hold."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.schema import Part, Rule
from edgeagent.decisions import Capture, Drive, Event, Fact, Value, capture, event
from edgeagent.decisions.rules import Outcome, Rules
from edgeagent.records import NS_PER_S

PERIOD_NS = NS_PER_S // 10
SOURCES = {"motion": ("imu",), "motor": ("motor",)}
CONSTANTS = {"device.id": "press-07"}


class Bench:
    """Rules on a clock in seconds: `at` steps them with facts that are as old as said."""

    def __init__(self, **rules: Rule) -> None:
        self.rules = Rules(rules, SOURCES, CONSTANTS)

    def at(self, now_s: float, age_s: float = 0.0, /, **facts: Value) -> list[Outcome]:
        now_ns = round(now_s * NS_PER_S)
        t_ns = now_ns - round(age_s * NS_PER_S)
        named = {name.replace("_", "."): Fact(value, t_ns, PERIOD_NS) for name, value in facts.items()}
        return self.rules.step(named, now_ns)

    def states(self, step_s: float, currents: list[float | None]) -> list[str]:
        """The states that the steps changed to, as `TIME STATE`; None is a step with the input missing."""
        said = []
        for i, current in enumerate(currents):
            facts = {} if current is None else {"motor_current": current}
            said += [f"{i * step_s:g} {o.decision.state}" for o in self.at(i * step_s, **facts)]
        return said


def over(limit: float = 3.5, **more: Any) -> Rule:
    return Rule(when=f"motor.current > {limit}", **more)


def test_a_rule_activates_at_once_and_clears_once_by_default() -> None:
    assert Bench(overload=over()).states(1, [1, 4, 5, 1, 1, 4]) == ["1 active", "3 clear", "5 active"]


def test_for_delays_activation_until_the_condition_has_held_without_a_break() -> None:
    bench = Bench(overload=over(hold=0.3))
    assert bench.states(0.1, [4, 4, 1, 4, 4, 4, 4, 4, 1]) == ["0.6 active", "0.8 clear"]


def test_a_missing_input_neither_fires_nor_clears_a_rule() -> None:
    assert Bench(overload=over()).states(1, [None, 4, None, None, 4, 1]) == ["1 active", "5 clear"]


def test_for_stands_still_while_an_input_is_missing_and_goes_on_after() -> None:
    bench = Bench(overload=over(hold=0.3))
    assert bench.states(0.1, [4, 4, 4, *[None] * 9, 4, 4]) == ["1.3 active"]


def test_for_counts_no_time_in_which_the_input_was_stale_between_two_steps() -> None:
    bench = Bench(overload=over(hold=2.0))
    bench.at(0.0, motor_current=4.0)
    assert bench.at(10.0, motor_current=4.0) == []  # fresh for three periods of 0.1 s, not for ten seconds
    assert bench.rules.status()["overload"]["state"] == "clear"


def test_nan_is_missing() -> None:
    bench = Bench(overload=over())
    assert bench.states(1, [4, math.nan, 4]) == ["0 active"]


@pytest.mark.parametrize(("age_s", "fires"), [(0.29, True), (0.30, True), (0.31, False)])
def test_an_input_older_than_three_periods_is_missing(age_s: float, fires: bool) -> None:
    assert bool(Bench(overload=over()).at(100.0, age_s, motor_current=4.0)) is fires


def test_one_missing_input_of_several_makes_the_rule_unknown_even_if_the_others_would_do() -> None:
    bench = Bench(either=Rule(when='motor.current > 3 or motion.label == "running"'))
    assert bench.at(1.0, motor_current=4.0) == []
    assert bench.rules.status()["either"] == {
        "state": "unknown",
        "since_ns": NS_PER_S,
        "why": "motion.label is missing or too old",
    }


def test_cooldown_counts_from_the_activation_and_then_lets_a_condition_that_still_holds_activate() -> None:
    bench = Bench(overload=over(cooldown=5.0))
    assert bench.states(1, [4, 1, 4, 4, 4, 4, 4]) == ["0 active", "1 clear", "5 active"]


def test_an_expression_without_an_answer_makes_the_rule_unknown_and_is_counted_once_per_value() -> None:
    bench = Bench(ratio=Rule(when="10 / motor.current > 3"))
    assert bench.states(1, [2, 0, 0, 0, 2, 20]) == ["0 active", "5 clear"]
    assert bench.rules.counters() == {"ratio": {"activations": 1, "evaluations": 4, "errors": 1}}


def test_an_expression_without_an_answer_says_why_in_the_status() -> None:
    bench = Bench(ratio=Rule(when="10 / motor.current > 3"))
    bench.at(0.0, motor_current=0.0)
    assert bench.rules.status()["ratio"]["why"] == "10 / motor.current > 3: float division by zero"


def test_an_expression_is_evaluated_again_only_when_a_value_has_changed() -> None:
    bench = Bench(overload=over(hold=3.0))
    bench.states(1, [4, 4, 4, 4, 5, 5, 5])
    assert bench.rules.counters()["overload"]["evaluations"] == 2


def test_a_decision_explains_itself() -> None:
    rule = Rule(
        when='motion.label == "running" and motor.current > 3.5',
        hold=0.2,
        do=[Part("set", {"relay": False, "fan": 0.5}), Part("event", event.Options(message="x"))],
    )
    bench = Bench(overload=rule)
    bench.at(0.9, motion_label="running", motor_current=4.0)
    bench.at(1.0, motion_label="running", motor_current=4.0)
    [outcome] = bench.at(1.15, 0.05, motion_label="running", motor_current=4.25)
    decision = outcome.decision
    assert (decision.rule, decision.state, decision.t_ns) == ("overload", "active", 1_150_000_000)
    assert decision.inputs == {"motion.label": ("running", 50_000_000), "motor.current": (4.25, 50_000_000)}
    assert decision.debounce == "held 0.25 s of 0.2 s"
    assert decision.actions == ("set relay=off, fan=0.5", "event warning")


def test_the_hash_in_a_decision_changes_with_the_rule_and_only_with_it() -> None:
    def sha256(rule: Rule) -> str:
        return Bench(overload=rule).at(1.0, motor_current=9.0)[0].decision.rule_sha256

    assert sha256(over(3.5)) == sha256(over(3.5))
    others = [over(3.6), over(3.5, cooldown=1.0), over(3.5, do=[Part("set", {"relay": True})])]
    assert len({sha256(r) for r in [over(3.5), *others]}) == 4


def test_actions_run_on_activation_and_not_on_clearing() -> None:
    do = [
        Part(
            "event", event.Options(severity="critical", message="{device.id}: {motor.current:.1f} A, {imu.x}")
        ),
        Part("set", {"relay": False, "fan": 0.5}),
        Part("capture", capture.Options(before=5.0, after=0.5)),
    ]
    bench = Bench(
        overload=Rule(when="motor.current > 3 and motion.score > 0 and motor.temperature > 0", do=do)
    )
    [activated] = bench.at(1.0, motor_current=4.0, motion_score=1.0, motor_temperature=20.0)
    assert activated.effects == (
        Event("overload", "critical", "press-07: 4.0 A, ?"),
        Drive("relay", False, "overload"),
        Drive("fan", 0.5, "overload"),
        Capture("overload", ("motor", "imu"), NS_PER_S, 5 * NS_PER_S, NS_PER_S // 2),
    )
    [cleared] = bench.at(2.0, motor_current=1.0, motion_score=1.0, motor_temperature=20.0)
    assert (cleared.decision.state, cleared.decision.actions, cleared.effects) == ("clear", (), ())


def test_a_capture_may_name_its_sensors() -> None:
    do = [Part("capture", capture.Options(before=1.0, sensors=["meter"]))]
    [outcome] = Bench(overload=over(do=do)).at(1.0, motor_current=4.0)
    assert outcome.effects == (Capture("overload", ("meter",), NS_PER_S, NS_PER_S, 0),)


def test_a_stale_value_in_a_message_renders_as_a_question_mark() -> None:
    do = [Part("event", event.Options(message="{motion.label}"))]
    rules = Rules({"overload": over(do=do)}, SOURCES, CONSTANTS)
    facts = {"motor.current": Fact(4.0, NS_PER_S, PERIOD_NS), "motion.label": Fact("running", 0, PERIOD_NS)}
    assert rules.step(facts, NS_PER_S)[0].effects == (Event("overload", "warning", "?"),)


def test_outcomes_of_one_step_come_in_the_order_of_the_file() -> None:
    bench = Bench(zeta=over(), alpha=over(), mid=over())
    assert [o.decision.rule for o in bench.at(1.0, motor_current=4.0)] == ["zeta", "alpha", "mid"]


steps = st.lists(
    st.tuples(st.sampled_from([0.0, 0.05, 0.1, 0.7, 3.0]), st.sampled_from([None, math.nan, 1.0, 4.0, 5.0])),
    max_size=60,
)


@given(steps, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.5, 2.0]))
def test_whatever_comes_states_alternate_and_for_and_cooldown_are_kept(
    stream: list[tuple[float, float | None]], hold_s: float, cooldown_s: float
) -> None:
    rules = Rules({"overload": over(hold=hold_s, cooldown=cooldown_s)}, SOURCES, CONSTANTS)
    now_ns, said, true_since_ns = 0, list[Outcome](), None
    for gap_s, current in stream:
        now_ns += round(gap_s * NS_PER_S)
        facts = {} if current is None else {"motor.current": Fact(current, now_ns, PERIOD_NS)}
        if current == 1.0:
            true_since_ns = None
        elif current is not None and current > 3.5 and true_since_ns is None:
            true_since_ns = now_ns
        for outcome in rules.step(facts, now_ns):
            if outcome.decision.state == "active":
                assert true_since_ns is not None
                assert now_ns - true_since_ns >= hold_s * NS_PER_S
            said.append(outcome)
    assert [o.decision.state for o in said] == (["active", "clear"] * len(said))[: len(said)]
    active_ns = [o.decision.t_ns for o in said if o.decision.state == "active"]
    assert all(b - a >= cooldown_s * NS_PER_S for a, b in pairwise(active_ns))


@given(steps)
def test_the_same_facts_at_the_same_times_give_the_same_outcomes(
    stream: list[tuple[float, float | None]],
) -> None:
    def run() -> list[Outcome]:
        rules = Rules({"a": over(hold=0.3), "b": over(4.5, cooldown=1.0)}, SOURCES, CONSTANTS)
        now_ns, said = 0, list[Outcome]()
        for gap_s, current in stream:
            now_ns += round(gap_s * NS_PER_S)
            said += rules.step(
                {} if current is None else {"motor.current": Fact(current, now_ns, PERIOD_NS)}, now_ns
            )
        return said

    assert run() == run()

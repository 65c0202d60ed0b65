"""What may be written in a rule's `when:`, what it means, and what is said of a mistake."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.decisions import Value
from edgeagent.decisions.expressions import check_names, compile_expression
from edgeagent.errors import ConfigFault

FACTS: dict[str, Value] = {
    "motion.label": "running",
    "motion.score": 0.9,
    "motor.current": 4.0,
    "motor.on": True,
}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('motion.label == "running" and motor.current > 3.5', True),
        ("motion.label == 'walking' or motor.current > 3.5", True),
        ("not motor.current > 3.5", False),
        ("3 < motor.current <= 4", True),
        ("abs(motor.current - 10) == 6", True),
        ("min(motor.current, 5, 6) + max(1, 2) == 6", True),
        ("round(motor.current / 3, 2) == 1.33", True),
        ("motor.current ** 2 == 16 and motor.current // 3 == 1 and motor.current % 3 == 1", True),
        ("-motor.current < +1", True),
        ("motor.on", True),
        ("motor.on == false or motor.on == False", False),
        ("motor.current\n  > 3", True),
        ("  motor.current > 3", True),
    ],
)
def test_an_expression_means_what_it_says(text: str, answer: bool) -> None:
    assert compile_expression(text).evaluate(FACTS) is answer


@given(
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
    st.sampled_from([("<", operator.lt), ("<=", operator.le), (">", operator.gt), ("!=", operator.ne)]),
)
def test_comparisons_and_arithmetic_agree_with_python(
    a: float, b: float, sign: tuple[str, Callable[[float, float], bool]]
) -> None:
    expression = compile_expression(f"x.a * 2 - x.b {sign[0]} abs(x.b) + 1")
    assert expression.evaluate({"x.a": a, "x.b": b}) == sign[1](a * 2 - b, abs(b) + 1)


def test_names_are_listed_once_each_with_their_column() -> None:
    names = compile_expression('motion.label == "é" and motor.current > 3 or motor.current < 1').names
    assert names == {"motion.label": 1, "motor.current": 25}


def test_an_unknown_name_is_reported_with_its_column_and_what_its_owner_has() -> None:
    expression = compile_expression("motor.curent > 3 and motion.label == 'x' and pump.flow > 1")
    faults = check_names(expression, FACTS)
    assert [str(f) for f in faults] == [
        "column 1: nothing is called motor.curent; expected one of motor.current, motor.on."
        " Did you mean motor.current?",
        "column 46: nothing is called pump.flow; expected one of motion.label, motion.score, motor.current,"
        " motor.on",
    ]


@pytest.mark.parametrize(
    ("text", "where", "says"),
    [
        ("motor.current = 3", "column 15", "Equality is ==."),
        ("motor.current > 3 && motor.on", "column 20", "Write and for &&."),
        ("motor.on || motor.current > 3", "column 11", "Write or for ||."),
        ("!motor.on", "column 1", "Write not for !."),
        ('motion.label == "running" or "walking"', "column 30", '"walking" is a text'),
        ("motor.current - 3", "column 1", "motor.current - 3 is a number"),
        ('motor.current + "3" > 1', "column 17", '"3" is a text'),
        ("motor.current > 3 and", "column 22", "the expression stops short"),
        ("motor.current >= 3 4", "column 20", "unexpected '4'; expected comparisons joined by"),
        ("", "column 1", "stops short"),
        ("   ", "column 4", "stops short"),
        ("round(motor.current, 1, 2) > 1", "column 1", "round with 3 arguments; expected 1 to 2"),
        ("abs() > motor.current", "column 1", "abs with 0 arguments; expected 1"),
        ("3 > 2", "", "asks about nothing"),
        ("-" * 40 + "motor.current > 1", "column 31", "nested too deeply"),
        ("(" * 400 + "motor.current > 1" + ")" * 50, "column", "expected comparisons"),
        ("motor.current > 1 or " * 30, "", "630 characters; expected an expression of at most 500"),
    ],
)
def test_a_mistake_is_reported_with_its_column_and_the_cure(text: str, where: str, says: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        compile_expression(text)
    assert caught.value.where.startswith(where)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "().__class__ == 1",
        '"".join.__globals__ == 1',
        "(motor).current.real > 1 and (1).real > 0",
        "motor.current.__class__() == 1",
        "open('/etc/passwd') == 1",
        "abs(x=motor.current) > 1",
        "abs(*motor.current) > 1",
        "[motor.current] == 1",
        "{'a': motor.current} == 1",
        "motor.current[0] == 1",
        "(lambda: motor.current) == 1",
        "[x for x in motor.current] == 1",
        "f'{motor.current}' == 'x'",
        "motor.current if motor.on else 1",
        "(x := motor.current) > 1",
        "motor.current << 9999999 > 1",
        "motor.current is 1",
        "motion.label in 'running'",
        "b'x' == motor.current",
        "motor.on, motor.current",
        "__import__('os') == motor.current",
    ],
)
def test_nothing_outside_the_language_can_be_written(text: str) -> None:
    with pytest.raises(ConfigFault):
        compile_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "motor.current / 0 > 1",
        "motor.current > motion.label",
        "motion.label * 2 == motion.label",
        "motion.label % 1 == motion.label",
        "-motion.label > 1",
        "motor.current ** 9 ** 9 ** 9 > 1",
        "(0 - motor.current) ** 0.5 > 1",
        "round(motor.current, motion.label) > 1",
        "not_there.x > 1",
    ],
)
def test_an_evaluation_without_an_answer_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        compile_expression(text).evaluate(FACTS)


def test_a_name_with_dunders_is_only_a_name_that_nobody_knows() -> None:
    expression = compile_expression("motor.__class__ == 1")
    assert [f.what for f in check_names(expression, FACTS)] == ["nothing is called motor.__class__"]
    with pytest.raises(ValueError, match=r"motor\.__class__"):
        expression.evaluate(FACTS)


def test_rounding_to_an_absurd_number_of_digits_returns_at_once() -> None:
    assert compile_expression("round(motor.current, 0 - 999999999) == 0").evaluate(FACTS)

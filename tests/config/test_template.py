"""Messages with values in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.template import compile_template
from edgeagent.decisions import Value
from edgeagent.decisions.expressions import check_names
from edgeagent.errors import ConfigFault

VALUES: dict[str, Value] = {"device.id": "press-07", "motor.current": 4.04, "motor.on": True}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("overload on {device.id}: {motor.current:.1f} A", "overload on press-07: 4.0 A"),
        ("{motor.current:08.2f}|{motor.current:>6.1f}|{motor.current:.3g}", "00004.04|   4.0|4.04"),
        ("{device.id:<10}|", "press-07  |"),
        ("{motor.on}", "True"),
        ("100 % in {{braces}}", "100 % in {braces}"),
        ("", ""),
    ],
)
def test_a_template_renders_values_in_their_formats(text: str, message: str) -> None:
    assert compile_template(text).render(VALUES.get) == message


def test_a_missing_value_renders_as_a_question_mark() -> None:
    assert compile_template("{meter.flow:.1f} L/min").render(VALUES.get) == "? L/min"


def test_a_format_that_does_not_suit_the_value_costs_the_format_and_not_the_message() -> None:
    assert compile_template("on {device.id:.1f}").render(VALUES.get) == "on press-07"


def test_names_are_listed_with_their_column_so_that_check_can_point_at_them() -> None:
    template = compile_template("{device.id}: {motor.curent:.1f}")
    assert template.names == {"device.id": 2, "motor.curent": 15}
    [fault] = check_names(template, VALUES)
    assert (fault.where, fault.hint) == ("column 15", "Did you mean motor.current?")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "column 1"),
        ("a } b", "column 3"),
        ("{}", "column 2"),
        ("{0}", "column 2"),
        ("{motor.current!r}", "column 2"),
        ("{motor[0]}", "column 2"),
        ("{motor.current:{device.id}}", "column 1"),
        ("{motor.current:.1q}", "column 16"),
        ("{motor.current:99999999f}", "column 16"),
    ],
)
def test_anything_but_a_name_and_a_plain_format_is_refused_with_its_column(text: str, where: str) -> None:
    with pytest.raises(ConfigFault) as caught:
        compile_template(text)
    assert caught.value.where == where


def test_names_are_never_followed_into_objects() -> None:
    assert compile_template("{device.id.__class__.__mro__}").render(VALUES.get) == "?"


@given(st.text())
def test_text_without_fields_comes_out_as_it_went_in(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert compile_template(escaped).render(VALUES.get) == text

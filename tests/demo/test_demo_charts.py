from __future__ import annotations

import string

import pytest

from edgeagent.demo.charts import area, bar, large, spark


def test_a_sparkline_rises_with_its_values_and_is_blank_where_there_is_none() -> None:
    assert spark([-1.0, 0.0, None, 1.0], -1.0, 1.0) == "▁▄ ▇"


def test_a_sparkline_stops_at_its_edges() -> None:
    assert spark([-99.0, 99.0], -1.0, 1.0) == "▁▇"


def test_an_area_reaches_up_to_its_value() -> None:
    assert area([0.0, 1.0, 2.0, 2.5, 3.0, 9.0, None], 3.0, 3) == ["   ▄██ ", "  ████ ", " █████ "]


@pytest.mark.parametrize(
    ("share", "drawn"), [(0.0, "    "), (0.125, "╸   "), (0.5, "━━  "), (1.0, "━━━━"), (7.0, "━━━━")]
)
def test_a_bar_is_drawn_to_the_half_character(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


def test_every_letter_has_a_shape_of_its_own() -> None:
    shapes = {tuple(large(letter)) for letter in string.ascii_lowercase}
    assert len(shapes) == 26
    assert {len(shape) for shape in shapes} == {3}
    assert max(len(line) for shape in shapes for line in shape) == 3


def test_a_large_word_takes_four_characters_a_letter_and_leaves_out_what_it_cannot_draw() -> None:
    assert large("i7i") == ["▀█▀     ▀█▀", " █       █", "▀▀▀     ▀▀▀"]

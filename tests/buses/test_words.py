"""Numbers in words: values as IEEE 754 and two's complement have them, in the orders that devices use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.buses.words import Number, Order, Type
from edgeagent.errors import ConfigFault


@pytest.mark.parametrize(
    ("number", "words", "value"),
    [
        (Number("float32"), [0x42F6, 0xE979], 123.456),
        (Number("float32", word_order="little"), [0xE979, 0x42F6], 123.456),
        (Number("float32", byte_order="little"), [0xF642, 0x79E9], 123.456),
        (Number("float32", word_order="little", byte_order="little"), [0x79E9, 0xF642], 123.456),
        (Number("int16"), [0xFFFE], -2),
        (Number("uint16"), [0xFFFE], 65534),
        (Number("int16", byte_order="little"), [0xFEFF], -2),
        (Number("int32"), [0xFFFF, 0xFFFE], -2),
        (Number("uint32", word_order="little"), [0xBEEF, 0xDEAD], 0xDEADBEEF),
        (Number("int16", scale=0.1, offset=-40), [650], 25.0),
    ],
)
def test_words_are_the_number_that_the_standards_say(number: Number, words: list[int], value: float) -> None:
    assert number.decode(words) == pytest.approx(value)
    assert number.encode(value) == words


ORDERS = st.sampled_from(["big", "little"])


@given(st.sampled_from(["int16", "uint16", "int32", "uint32"]), ORDERS, ORDERS, st.data())
def test_every_word_comes_back_as_it_was(
    kind: Type, words: Order, bytes_: Order, data: st.DataObject
) -> None:
    number = Number(kind, word_order=words, byte_order=bytes_)
    found = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=number.words, max_size=number.words))
    assert number.encode(number.decode(found)) == found


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (Number("uint16"), -1.0),
        (Number("int16", scale=0.1), 3277.0),
        (Number("uint32"), float("nan")),
        (Number("uint16"), float("inf")),
        (Number("float32"), 1e39),
    ],
)
def test_a_value_that_does_not_fit_is_refused_not_cut(number: Number, value: float) -> None:
    with pytest.raises(ConfigFault, match="does not fit into"):
        number.encode(value)


def test_only_plain_counts_have_an_lsb() -> None:
    assert Number("int16", scale=0.1).lsb == 0.1
    assert Number("int16", scale=0.1, offset=1).lsb is None
    assert Number("float32").lsb is None

"""Versions, readings and words: the parts of the package that stand by themselves."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import pytest
from links import HELLO

from firmware_bridge.messages import ChannelInfo, Fault, Log, Samples, Set
from firmware_bridge.samples import readings
from firmware_bridge.vectors import MESSAGE_EXAMPLES
from firmware_bridge.versions import VersionRange
from firmware_bridge.words import fault_text, in_words


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        (">=1.2,<2", ["1.2", "1.2.0", "1.10", "1.99.99", "v1.3", "1.4.2-rc1"], ["1.1.9", "2", "2.0", "0.9"]),
        ("==1.4", ["1.4", "1.4.0"], ["1.4.1", "1.3"]),
        ("!=1.4", ["1.4.1"], ["1.4.0"]),
        ("> 1.4 , <= 1.6", ["1.5", "1.6"], ["1.4", "1.6.1"]),
        (">=0", ["0", "7"], ["", "unknown", "-1"]),
    ],
)
def test_a_range_of_versions_holds_by_numbers(range_: str, inside: list[str], outside: list[str]) -> None:
    wanted = VersionRange.parse(range_)
    assert [v for v in inside if v not in wanted] == []
    assert [v for v in outside if v in wanted] == []


@pytest.mark.parametrize("text", ["", "1.2", ">=", ">=1.2;<2", "~1.2", ">=1.2,", "=>1"])
def test_what_is_no_range_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range of versions such as '>=1\.2,<2'"):
        VersionRange.parse(text)


def test_readings_are_in_the_channels_units_and_a_failed_one_is_none() -> None:
    hello = replace(
        HELLO,
        channels=(
            ChannelInfo("a", "A", 1, 1, 0.01, 20.0),
            ChannelInfo("out", "V", 1, 0, 1.0, 20.0),
            ChannelInfo("b", "Cel", 2, 1, 0.5, 20.0),
            ChannelInfo("c", "m", 3, 1, 1.0, 20.0),
        ),
    )
    data = struct.pack("<hifhif", 250, -3, 0.25, -(2**15), -(2**31), math.nan)
    assert readings(hello, Samples(0, 0, 0, 0, 2, data)) == [(2.5, -1.5, 0.25), (None, None, None)]


@pytest.mark.parametrize("message", MESSAGE_EXAMPLES, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("hello", [None, HELLO], ids=["before hello", "after"])
def test_every_message_has_words_in_one_line(message: object, hello: object) -> None:
    assert "\n" not in in_words(message, hello)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Samples(30, 0, 0, 0, 1, b"\xf0\x00"), "seq 30 x 1  current 2.4 A"),
        (Samples(30, 0, 0, 0, 1, b"\xf0"), "seq 30: 1 bytes that do not fit HELLO"),
        (Set(7, 0, 1.0, 1500), "relay := 1 for 1.5 s at most"),
        (Log(1, "no sensor"), "error: no sensor"),
        (Fault(1, 0, ""), "its dead-man switch has acted"),
        (Fault(2, 1, ""), "fan is off: max_on ran out"),
        (Fault(3, 0, "NAK"), "current cannot be read (NAK)"),
        (Fault(99, 9, "?"), "fault (?)"),
    ],
)
def test_words_name_the_channels_and_outputs_of_hello(message: object, words: str) -> None:
    assert in_words(message, HELLO) == words  # type: ignore[arg-type]


def test_a_fault_about_an_output_that_hello_does_not_have_is_still_said() -> None:
    assert fault_text(Fault(2, 7, ""), HELLO) == "output 7 is off: max_on ran out"

"""What a device on a serial port is taken for, by what it says."""

from __future__ import annotations

import random

import pytest

from edgeagent.buses.fake.board import Firmware
from edgeagent.buses.scan.content import recognise
from edgeagent.records import NS_PER_S

GGA = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"


def said(*lines: bytes) -> bytes:
    """Lines as they are met: the first was half over, the last is not ended."""
    return b"f a line\r\n" + b"".join(line + b"\r\n" for line in lines) + b"half"


def test_a_board_of_firmware_bridge_is_known_by_its_hello() -> None:
    speech = recognise(b"\xff boot noise\x00" + Firmware().step(NS_PER_S, b""))
    assert speech is not None
    assert speech.driver == "bridge"
    assert speech.name == "firmware virtual-motor 1.0.0, over firmware_bridge"
    assert "temperature, current" in speech.why


def test_a_gps_is_known_by_sentences_with_a_right_checksum() -> None:
    speech = recognise(b"456*7F\r\n" + GGA + GGA + b"$GP")
    assert speech is not None
    assert (speech.driver, speech.name) == ("nmea", "GPS (NMEA 0183)")
    assert "GGA" in speech.why


def test_a_sentence_with_a_wrong_checksum_is_no_gps() -> None:
    speech = recognise(said(*[GGA.strip()[:-1] + b"8"] * 3))
    assert speech is None or speech.driver != "nmea"


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        (
            [b"1.5,-2", b"1.6,.5"],
            {"format": "csv", "channels": [{"name": "c1", "unit": ""}, {"name": "c2", "unit": ""}]},
        ),
        ([b"42"] * 3, {"format": "csv", "channels": [{"name": "c1", "unit": ""}]}),
        (
            [b"1;2", b"3;4e-3"],
            {
                "format": "csv",
                "channels": [{"name": "c1", "unit": ""}, {"name": "c2", "unit": ""}],
                "delimiter": ";",
            },
        ),
        (
            [b"1 2\t3", b"3  4 5"],
            {
                "format": "csv",
                "channels": [{"name": f"c{i}", "unit": ""} for i in (1, 2, 3)],
                "delimiter": " ",
            },
        ),
        (
            [b"T: 21.5 C, H=40%", b"T: 21.6 C, H=40%"],
            {"format": "key_value", "channels": [{"name": "T", "unit": ""}, {"name": "H", "unit": ""}]},
        ),
        (
            [b'{"t": 21.5, "s": "ok"}', b'{"t": 21.6, "s": "ok"}'],
            {"format": "json", "channels": [{"name": "t", "unit": ""}]},
        ),
    ],
)
def test_lines_of_numbers_come_with_the_options_that_read_them(
    lines: list[bytes], options: dict[str, object]
) -> None:
    speech = recognise(said(*lines))
    assert speech is not None
    assert speech.driver == "serial_text"
    assert dict(speech.options) == options


def test_text_without_numbers_is_text_that_no_driver_reads() -> None:
    speech = recognise(said(b"ready", b"waiting for card"))
    assert speech is not None
    assert (speech.name, speech.driver) == ("lines of text", "")
    assert "waiting for card" in speech.why


def test_the_garbage_of_another_baud_rate_is_nothing() -> None:
    noise = random.Random(3)
    assert all(recognise(noise.randbytes(600)) is None for _ in range(200))


@pytest.mark.parametrize("data", [b"", b"\n", b"\x00\x00", b"1,2\r\n"])
def test_too_little_is_nothing(data: bytes) -> None:
    assert recognise(data) is None

"""PROTOCOL.md tells the truth, and the package stands alone."""

from __future__ import annotations

import re
import subprocess
import sys

from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.generate import PROTOCOL_MD, message_name, tables, with_tables
from firmware_bridge.messages import MESSAGES, PLANNED, TO_HOST, Hello, HelloRequest, HostHeartbeat, Set

PAGE = PROTOCOL_MD.read_text()


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    assert with_tables(PAGE) == PAGE, "run: python -m firmware_bridge.generate --write"


def test_the_tables_name_every_message() -> None:
    assert all(f"| 0x{code:02X} | {message_name(m)} |" in tables() for code, m in MESSAGES.items())


def test_planned_codes_are_free() -> None:
    assert not PLANNED.keys() & MESSAGES.keys()


def test_bit_7_of_a_code_is_its_direction() -> None:
    assert {m for m in MESSAGES.values() if not m.CODE & TO_HOST} == {HelloRequest, Set, HostHeartbeat}


def test_what_the_board_receives_fits_its_64_bytes() -> None:
    assert len(encode(Set(65535, 255, 1.5))) <= 64
    assert "64 to the board" in PAGE


def test_the_worked_exchange_is_what_the_codec_says() -> None:
    (block,) = re.findall(r"```\n(host → board\n.*?)```", PAGE, re.DOTALL)
    steps = re.findall(r"(\w+) → \w+\n((?: +[0-9a-f]{2}(?: [0-9a-f]{2})*\n)+)((?: +.*\n)+)", block)
    assert len(steps) == 7
    for sender, hex_text, said in steps:
        frame = bytes.fromhex(hex_text)
        (content,) = Decoder().feed(frame)
        message = decode(content)
        assert repr(message) == " ".join(said.split())
        assert encode(message) == frame
        assert (sender == "board") == bool(message.CODE & TO_HOST)


def test_the_page_decodes_samples_by_hand_as_the_codec_does() -> None:
    (content_hex,) = re.findall(r"`(84 \| [^`]*)`", PAGE)
    content = bytes.fromhex(content_hex.replace("|", ""))
    message = decode(content[:-2])
    assert encode(message).hex(" ") in PAGE
    assert "seq 30, t_us 1500000, dropped 30" in PAGE


def test_importing_the_package_loads_nothing_of_edgeagent_and_no_numpy() -> None:
    code = "import sys, firmware_bridge; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"edgeagent", "numpy", "serial", "msgspec"} & set(loaded)
    assert "cobs" in loaded


def test_a_hello_with_dozens_of_channels_fits_a_frame() -> None:
    from firmware_bridge.messages import ChannelInfo

    many = tuple(ChannelInfo(f"channel-{i}", "mV", 1, 0.1, 10.0) for i in range(32))
    assert encode(Hello(1, 0, "f", "1", "id", 1000, many, ()))

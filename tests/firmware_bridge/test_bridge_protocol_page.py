"""PROTOCOL.md tells the truth, and the package stands alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from shutil import copytree, ignore_patterns

import cobs
import pytest

from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.generate import PROTOCOL_MD, files, header, tables, upper_name
from firmware_bridge.messages import (
    MAX_CHANNELS,
    MAX_TO_BOARD_BYTES,
    MESSAGES,
    TO_HOST,
    Ack,
    ChannelInfo,
    Config,
    ConfigAck,
    Hello,
    HelloRequest,
    Message,
    Ping,
    Pong,
    Set,
    Time,
    TimeRequest,
)

PAGE = PROTOCOL_MD.read_text()


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_what_is_generated_is_not_stale(path: Path) -> None:
    assert path.read_text() == files()[path], "run: python -m firmware_bridge.generate --write"


def test_the_tables_and_the_c_header_name_every_message() -> None:
    for code, message in MESSAGES.items():
        assert f"| 0x{code:02X} | {upper_name(message)} |" in tables()
        assert f"#define FWB_MSG_{upper_name(message)} 0x{code:02X}U\n" in header()


def test_bit_7_tells_an_answer_from_its_request() -> None:
    pairs: list[tuple[type[Message], type[Message]]] = [
        (HelloRequest, Hello),
        (Set, Ack),
        (Config, ConfigAck),
        (TimeRequest, Time),
        (Ping, Pong),
    ]
    assert [request.CODE | TO_HOST for request, _ in pairs] == [answer.CODE for _, answer in pairs]


def test_what_the_board_receives_fits_its_bound() -> None:
    assert len(encode(Set(65535, 255, 1.5, 2**32 - 1))) <= MAX_TO_BOARD_BYTES
    assert f"{MAX_TO_BOARD_BYTES} to the board" in PAGE


def test_a_time_request_is_as_long_as_its_answer() -> None:
    assert len(encode(TimeRequest(1))) == len(encode(Time(1, 2, 3)))


def test_the_worked_exchange_is_what_the_codec_says() -> None:
    (block,) = re.findall(r"```\n(host → board\n.*?)```", PAGE, re.DOTALL)
    steps = re.findall(r"(\w+) → \w+\n((?: +[0-9a-f]{2}(?: [0-9a-f]{2})*\n)+)((?: +.*\n)+)", block)
    assert len(steps) == 12
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
    assert "seq 30, t_us 1524000, dropped 30" in PAGE


def test_importing_the_package_loads_nothing_of_edgeagent_and_no_numpy() -> None:
    code = "import sys, firmware_bridge; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"edgeagent", "numpy", "serial", "msgspec"} & set(loaded)
    assert "cobs" in loaded


def test_the_folder_copied_alone_works(tmp_path: Path) -> None:
    copytree(PROTOCOL_MD.parent, tmp_path / "firmware_bridge", ignore=ignore_patterns("c", "__pycache__"))
    packages = Path(cobs.__file__).parent.parent
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}]
sys.path.append({str(packages)!r})
import firmware_bridge
from firmware_bridge import Link, generate, versions, vectors, words
assert firmware_bridge.__file__.startswith({str(tmp_path)!r}), firmware_bridge.__file__
link = Link()
hello = next(m for m in vectors.MESSAGE_EXAMPLES if type(m).__name__ == "Hello")
link.receive(firmware_bridge.encode(hello), 0)
print(words.in_words(link.hello, link.hello))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("demo 1.4.2 (build 3f2a1c0) on A1")


def test_a_hello_with_dozens_of_channels_fits_a_frame() -> None:
    many = tuple(ChannelInfo(f"channel-{i}", "mV", 1, 1, 0.1, 10.0) for i in range(MAX_CHANNELS))
    assert encode(Hello(1, 0, 1000, 64, 0.0, 0, "f", "1", "b", "id", many, ()))

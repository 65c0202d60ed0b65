"""PROTOCOL.md alone is enough: what is here knows its words and its tables, and nothing of our code."""

from __future__ import annotations

import ast
import re
import struct
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "firmware_bridge" / "PROTOCOL.md").read_text()
NUMBERS = {"u8": "<B", "u16": "<H", "u32": "<I", "f32": "<f"}

MESSAGES = {int(code, 16): name for code, name in re.findall(r"\| (0x\w\w) \| (\w+) \|", PAGE)}
TABLES = {
    name: re.findall(r"\| (\w+) \| ([^|]+) \|", rows)
    for name, rows in re.findall(r"\*\*(\w+)\*\*\n\n\| field \|.*\n\|.*\n((?:\|.*\n)+)", PAGE)
}
EXCHANGE = re.findall(
    r"\w+ → \w+\n((?: +[0-9a-f]{2}(?: [0-9a-f]{2})*\n)+)((?: +.*\n)+)",
    PAGE[PAGE.index("## A worked exchange") :],
)


def without_cobs(frame: bytes) -> bytes:
    """Read a byte n, take the n - 1 bytes behind it; then there was a zero, unless n was ff or the frame ends."""
    content, at = b"", 0
    while frame[at] != 0:
        content += frame[at + 1 : at + frame[at]]
        ends = frame[at + frame[at]] == 0
        content += b"" if ends or frame[at] == 0xFF else b"\0"
        at += frame[at]
    return content


def crc16(data: bytes) -> int:
    """Polynomial 0x1021, start 0xFFFF, not reflected, no final XOR: a bit at a time."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


def read_group(name: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """The fields in the order of the table, and what is left behind them."""
    values = {}
    for field, type_ in TABLES.get(name, []):
        values[field], body = read_field(type_, body)
    return values, body


def read_field(type_: str, body: bytes) -> tuple[Any, bytes]:
    if type_ in NUMBERS:
        size = struct.calcsize(NUMBERS[type_])
        return struct.unpack(NUMBERS[type_], body[:size])[0], body[size:]
    if type_ == "text":
        return body[1 : 1 + body[0]].decode(), body[1 + body[0] :]
    if type_ == "bytes":
        return body, b""
    if fixed := re.fullmatch(r"(\d+) bytes", type_):
        return body[: int(fixed[1])], body[int(fixed[1]) :]
    (group,) = re.fullmatch(r"u8 n, n of (\w+)", type_).groups()  # type: ignore[union-attr]
    groups, count, body = [], body[0], body[1:]
    for _ in range(count):
        values, body = read_group(group, body)
        groups.append(values)
    return groups, body


def as_said(node: ast.expr) -> Any:
    """`Name(field=value, ...)` of the page as a dict, tuples of them as lists, floats as they fit 32 bits."""
    if isinstance(node, ast.Call):
        return {str(k.arg): as_said(k.value) for k in node.keywords}
    if isinstance(node, ast.Tuple):
        return [as_said(e) for e in node.elts]
    value = ast.literal_eval(node)
    return struct.unpack("<f", struct.pack("<f", value))[0] if isinstance(value, float) else value


@pytest.mark.parametrize(("hex_text", "said"), EXCHANGE)
def test_a_stranger_can_decode_each_frame_of_the_worked_exchange(hex_text: str, said: str) -> None:
    content = without_cobs(bytes.fromhex(hex_text))
    call = ast.parse(" ".join(said.split()), mode="eval").body
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Name)
    name = MESSAGES[content[0]]
    assert name.replace("_", "").lower() == call.func.id.lower()
    assert crc16(content[:-2]) == int.from_bytes(content[-2:], "big")
    assert crc16(content) == 0
    values, rest = read_group(name, content[1:-2])
    assert rest == b""
    assert values == as_said(call)


def test_the_exchange_is_all_there_and_the_crc_is_checked_as_the_page_says() -> None:
    assert len(EXCHANGE) == 12
    assert set(TABLES) <= {*MESSAGES.values(), "ChannelInfo", "OutputInfo", "OutputValue"}
    assert crc16(b"123456789") == 0x29B1
    assert "`123456789` gives 0x29B1" in PAGE


def test_hello_by_hand_is_the_hello_of_the_exchange() -> None:
    by_hand = PAGE[PAGE.index("HELLO by hand") :]
    cells = re.findall(r"^\| ((?:`[0-9a-f ]+` ?)+)\|", by_hand, re.MULTILINE)
    hello = next(frame for frame, said in EXCHANGE if " Hello(" in said)
    assert bytes.fromhex("".join(cells).replace("`", "")) == without_cobs(bytes.fromhex(hello))

"""Writes what is made from the message table: `python -m firmware_bridge.generate --write`.

The tables of PROTOCOL.md, the C header, and the golden vectors.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from enum import IntEnum
from inspect import getdoc
from pathlib import Path

from firmware_bridge import vectors
from firmware_bridge.messages import (
    MAX_CHANNELS,
    MAX_TO_BOARD_BYTES,
    MAX_TO_HOST_BYTES,
    MESSAGES,
    PROTOCOL_VERSION,
    TO_HOST,
    ChannelInfo,
    ChannelType,
    FaultKind,
    Level,
    Message,
    OutputInfo,
    OutputValue,
    Result,
)
from firmware_bridge.wire import Group

FOLDER = Path(__file__).parent
PROTOCOL_MD = FOLDER / "PROTOCOL.md"
HEADER = FOLDER / "c/src/fwb_messages.h"
VECTORS = FOLDER / "vectors.json"
BEGIN = "<!-- generated from messages.py: python -m firmware_bridge.generate --write -->\n"
END = "<!-- end of the generated part -->\n"

GROUPS = (ChannelInfo, OutputInfo, OutputValue)
ENUMS: tuple[tuple[str, type[IntEnum]], ...] = (
    ("TYPE", ChannelType),
    ("RESULT", Result),
    ("LEVEL", Level),
    ("FAULT_KIND", FaultKind),
)
LIMITS = {
    "PROTOCOL_VERSION": PROTOCOL_VERSION,
    "MAX_TO_HOST_BYTES": MAX_TO_HOST_BYTES,
    "MAX_TO_BOARD_BYTES": MAX_TO_BOARD_BYTES,
    "MAX_CHANNELS": MAX_CHANNELS,
}


def upper_name(group: type[Group]) -> str:
    """HOST_HEARTBEAT for HostHeartbeat."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", group.__name__).upper()


def files() -> dict[Path, str]:
    """Every generated file, and what it must say."""
    return {
        PROTOCOL_MD: with_tables(PROTOCOL_MD.read_text()),
        HEADER: header(),
        VECTORS: vectors.as_json(),
    }


def with_tables(page: str) -> str:
    """The page with its generated part made anew."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + "\n" + tables() + "\n" + END + rest.split(END)[1]


def tables() -> str:
    """The generated part of PROTOCOL.md."""
    messages = _messages()
    parts = ["| code | message | direction | meaning |\n|---|---|---|---|\n"]
    parts += [
        f"| 0x{m.CODE:02X} | {upper_name(m)} | {_direction(m.CODE)} | {_meaning(m)} |\n" for m in messages
    ]
    parts += [_fields(upper_name(m), m) for m in messages if m.FIELDS]
    parts += [_fields(group.__name__, group) for group in GROUPS]
    return "".join(parts)


def header() -> str:
    """fwb_messages.h."""
    defines = [f"#define FWB_{name} {value}U\n" for name, value in LIMITS.items()]
    for prefix, enum in ENUMS:
        defines += [f"\n/* {_meaning(enum)} */\n"]
        defines += [f"#define FWB_{prefix}_{item.name} {item.value}U\n" for item in enum]
    for message in _messages():
        defines += _defines(message, f"0x{message.CODE:02X} {_direction(message.CODE, '->')}: ", at=1)
    for group in GROUPS:
        defines += _defines(group, "a part of a message: ", at=0)
    return _HEADER.replace("@", "".join(defines))


_HEADER = """\
/* The message table of firmware_bridge (PROTOCOL.md). Made by `python -m firmware_bridge.generate --write`:
 * change firmware_bridge/messages.py instead.
 *
 * FWB_MSG_X is a message's code, FWB_X_AT_FIELD a field's offset from the code (in a group: from its start), as
 * far as it is fixed, and FWB_X_BYTES the length of the fixed part, the code included. Numbers are little-endian.
 */
#ifndef FWB_MESSAGES_H
#define FWB_MESSAGES_H

@
#endif
"""


def _defines(group: type[Group], kind: str, at: int) -> Iterator[str]:
    name = upper_name(group)
    yield f"\n/* {kind}{_meaning(group)} */\n"
    if issubclass(group, Message):
        yield f"#define FWB_MSG_{name} 0x{group.CODE:02X}U\n"
    end: int | None = at
    for field in group.FIELDS:
        if end is None:
            yield f"/* then {field.name}, {field.wire.name}: {field.meaning} */\n"
            continue
        yield f"#define FWB_{name}_AT_{field.name.upper()} {end}U /* {field.wire.name}: {field.meaning} */\n"
        size_bytes = getattr(field.wire, "size_bytes", None)
        if size_bytes is None:
            yield f"#define FWB_{name}_BYTES {end}U /* before {field.name} */\n"
        end = None if size_bytes is None else end + size_bytes
    if end is not None:
        yield f"#define FWB_{name}_BYTES {end}U\n"


def _messages() -> list[type[Message]]:
    return [MESSAGES[code] for code in sorted(MESSAGES)]


def _meaning(what: type) -> str:
    return " ".join((getdoc(what) or "").split())


def _direction(code: int, arrow: str = "→") -> str:
    return f"board {arrow} host" if code & TO_HOST else f"host {arrow} board"


def _fields(title: str, group: type[Group]) -> str:
    rows = "".join(f"| {f.name} | {f.wire.name} | {f.meaning} |\n" for f in group.FIELDS)
    return f"\n**{title}**\n\n| field | type | meaning |\n|---|---|---|\n{rows}"


if __name__ == "__main__":
    for path, text in files().items():
        if sys.argv[1:] == ["--write"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path} is stale: run python -m firmware_bridge.generate --write")

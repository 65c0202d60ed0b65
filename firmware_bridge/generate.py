"""Writes the tables of PROTOCOL.md from the message table: `python -m firmware_bridge.generate --write`."""

from __future__ import annotations

import re
import sys
from inspect import getdoc
from pathlib import Path

from firmware_bridge.messages import (
    MESSAGES,
    PLANNED,
    TO_HOST,
    ChannelInfo,
    Message,
    OutputInfo,
    OutputValue,
)
from firmware_bridge.wire import Group

PROTOCOL_MD = Path(__file__).with_name("PROTOCOL.md")
BEGIN = "<!-- generated from messages.py: python -m firmware_bridge.generate --write -->\n"
END = "<!-- end of the generated part -->\n"


def message_name(message: type[Message]) -> str:
    """HOST_HEARTBEAT for HostHeartbeat."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", message.__name__).upper()


def tables() -> str:
    """The generated part of PROTOCOL.md."""
    messages = [MESSAGES[code] for code in sorted(MESSAGES)]
    parts = ["| code | message | direction | meaning |\n|---|---|---|---|\n"]
    parts += [
        f"| 0x{m.CODE:02X} | {message_name(m)} | {_direction(m.CODE)} | {getdoc(m)} |\n" for m in messages
    ]
    parts += [f"| 0x{c:02X} | {n} | {_direction(c)} | *kept free for it* |\n" for c, n in PLANNED.items()]
    parts += [_fields(message_name(m), m) for m in messages if m.FIELDS]
    parts += [_fields(group.__name__, group) for group in (ChannelInfo, OutputInfo, OutputValue)]
    return "".join(parts)


def with_tables(page: str) -> str:
    """The page with its generated part made anew."""
    head, rest = page.split(BEGIN)
    return head + BEGIN + "\n" + tables() + "\n" + END + rest.split(END)[1]


def _direction(code: int) -> str:
    return "board → host" if code & TO_HOST else "host → board"


def _fields(title: str, group: type[Group]) -> str:
    rows = "".join(f"| {f.name} | {f.wire.name} | {f.meaning} |\n" for f in group.FIELDS)
    return f"\n**{title}**\n\n| field | type | meaning |\n|---|---|---|\n{rows}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PROTOCOL_MD.write_text(with_tables(PROTOCOL_MD.read_text()))
    else:
        sys.stdout.write(tables())

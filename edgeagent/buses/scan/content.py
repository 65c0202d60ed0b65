"""What a device on a serial port speaks, told from what it says. Bytes in, a finding out; no I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from firmware_bridge.codec import Decoder, decode
from firmware_bridge.messages import Hello
from firmware_bridge.wire import Malformed

SHOWN_BYTES = 40
_FEW_LINES = 2  # one line may be a banner
_TEXT_SHARE = 0.95
_NMEA = re.compile(rb"\$([A-Z]{2})([A-Z]{3}),([ -)+-~]*)\*([0-9A-Fa-f]{2})")
_NUMBER = rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_CSV = {
    sep: re.compile(rb"\s*" + _NUMBER + rb"(?:" + sep + _NUMBER + rb")*\s*")
    for sep in (rb",\s*", rb";\s*", rb"\s+")
}
_DELIMITERS = {rb",\s*": ",", rb";\s*": ";", rb"\s+": " "}
_PAIR = re.compile(rb"(?<![\w.-])([A-Za-z_][\w.]*)\s*[:=]\s*" + _NUMBER)


class Speech(NamedTuple):
    """What was heard. `driver` with `options` is how to read it; "" if nothing here can.

    name: `firmware motor 1.2.0, over firmware_bridge`, `GPS (NMEA 0183)`, `lines of 3 numbers`.
    why: The evidence.
    """

    name: str
    why: str
    driver: str = ""
    options: Mapping[str, Any] = MappingProxyType({})


def recognise(data: bytes) -> Speech | None:
    """What the bytes are; None if they are nothing, garbage (another baud rate), or too few to tell."""
    return _bridge(data) or _nmea(_lines(data)) or _text(data, _lines(data))


def is_bridge(data: bytes) -> bool:
    """Whether a board of firmware_bridge speaks: a frame with a good CRC is no accident."""
    return bool(Decoder().feed(data))


def _bridge(data: bytes) -> Speech | None:
    contents = Decoder().feed(data)
    if not contents:
        return None
    for content in contents:
        try:
            message = decode(content)
        except Malformed:
            continue
        if isinstance(message, Hello):
            channels = ", ".join(channel.name for channel in message.channels)
            name = f"firmware {message.firmware} {message.firmware_version}, over firmware_bridge"
            why = f"HELLO of board {message.unique_id}; channels {channels}"
            return Speech(name, why, "bridge", {"board": message.unique_id})
    return Speech("a board of firmware_bridge", f"{len(contents)} good frames", "bridge")


def _lines(data: bytes) -> list[bytes]:
    """Whole lines: neither the first, which may have begun before we listened, nor the last."""
    return [line.strip() for line in data.split(b"\n")[1:-1] if line.strip()]


def _nmea(lines: list[bytes]) -> Speech | None:
    """Sentences with a right checksum."""
    good = [m for m in map(_NMEA.fullmatch, lines) if m and _checksum(m[0][1:-3]) == int(m[4], 16)]
    if not good:
        return None
    kinds = sorted({m[2].decode() for m in good})
    return Speech(
        "GPS (NMEA 0183)", f"{len(good)} sentences with a right checksum: {', '.join(kinds)}", "nmea"
    )


def _checksum(text: bytes) -> int:
    value = 0
    for byte in text:
        value ^= byte
    return value


def _text(data: bytes, lines: list[bytes]) -> Speech | None:
    printable = sum(32 <= byte < 127 or byte in b"\r\n\t" for byte in data)
    if len(lines) < _FEW_LINES or printable < _TEXT_SHARE * len(data):
        return None
    return (
        _json(lines)
        or _csv(lines)
        or _pairs(lines)
        or Speech("lines of text", f"such as {_shown(lines[-1])}")
    )


def _json(lines: list[bytes]) -> Speech | None:
    try:
        found = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
    except msgspec.DecodeError:
        return None
    keys = [key for key, value in found[-1].items() if isinstance(value, int | float)]
    return _by_name(keys, "json", lines[-1]) if keys else None


def _csv(lines: list[bytes]) -> Speech | None:
    for separator, pattern in _CSV.items():
        fields = Counter(len(re.findall(_NUMBER, line)) for line in lines if pattern.fullmatch(line))
        if not fields or fields.total() < len(lines) / 2:
            continue
        n, times = fields.most_common(1)[0]
        if times < _FEW_LINES:
            continue
        channels = [{"name": f"c{i}", "unit": ""} for i in range(1, n + 1)]
        options: dict[str, Any] = {"format": "csv", "channels": channels}
        if _DELIMITERS[separator] != ",":
            options["delimiter"] = _DELIMITERS[separator]
        return Speech(f"lines of {n} numbers", f"such as {_shown(lines[-1])}", "serial_text", options)
    return None


def _pairs(lines: list[bytes]) -> Speech | None:
    """`T: 21.5, H=40`: names that most lines have."""
    names = Counter(name.decode() for line in lines for name in dict.fromkeys(_PAIR.findall(line)))
    keys = [name for name, times in names.items() if times > len(lines) / 2]
    return _by_name(keys, "key_value", lines[-1]) if keys else None


def _by_name(keys: list[str], form: str, example: bytes) -> Speech:
    channels = []
    for key in keys:
        name = re.sub(r"\W", "_", key)
        channels.append({"name": name, "unit": ""} | ({"key": key} if key != name else {}))
    said = f"lines with {', '.join(keys)}"
    return Speech(said, f"such as {_shown(example)}", "serial_text", {"format": form, "channels": channels})


def _shown(line: bytes) -> str:
    return repr(line[:SHOWN_BYTES].decode("ascii", "backslashreplace"))

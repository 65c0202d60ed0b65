"""Text with values in it: "overload on {device.id}: {motor.current:.1f} A", "edge/{device.id}/{kind}".

Parsed here and never by `str.format`, which would walk from any value to its attributes. A field is a name and
at most a width, a precision and one of the types e, f, g, %, s; `{{` and `}}` are braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from edgeagent.errors import ConfigFault

Value = float | str | bool

_PIECE = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<field>[^{}]*)\}|(?P<stray>[{}])")
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_SPEC = re.compile(r"[<>^]?[+]?0?\d{0,2},?(\.\d{1,2})?[efg%s]?")

MISSING = "?"


class Template:
    """A message, parsed once. `names` maps each name used to its column, from 1."""

    def __init__(self, names: dict[str, int], pieces: list[str | tuple[str, str]]) -> None:
        self.names = names
        self._pieces = pieces

    def render(self, value: Callable[[str], Value | None]) -> str:
        """The message; `value` gives a name's value, or None where it is missing, which is shown as `?`."""
        return "".join(p if isinstance(p, str) else _render(value(p[0]), p[1]) for p in self._pieces)


def _render(value: Value | None, spec: str) -> str:
    if value is None:
        return MISSING
    try:
        return format(value, spec)
    except ValueError:  # a number's format for a label: the message is worth more than its looks
        return str(value)


def compile_template(text: str) -> Template:
    """Parse a message. Raises ConfigFault whose `where` is the column in the text."""
    names: dict[str, int] = {}
    pieces: list[str | tuple[str, str]] = []
    at = 0
    for found in _PIECE.finditer(text):
        pieces.append(text[at : found.start()])
        at = found.end()
        if found["brace"]:
            pieces.append(found["brace"][0])
        elif found["stray"]:
            raise _fault(
                found.start(), "a brace that is not one of a pair", hint="Write {{ or }} for a brace."
            )
        else:
            name, spec = _field(found["field"], found.start())
            names.setdefault(name, found.start() + 2)
            pieces.append((name, spec))
    pieces.append(text[at:])
    return Template(names, pieces)


def _field(field: str, start: int) -> tuple[str, str]:
    name, _, spec = field.partition(":")
    if not _NAME.fullmatch(name):
        raise _fault(start + 1, f"{{{field}}} names nothing")
    if not _SPEC.fullmatch(spec):
        raise _fault(start + 2 + len(name), f"{spec!r} is not a format", expected="one such as .1f")
    return name, spec


def _fault(index: int, what: str, *, expected: str = "{name} or {name:.1f}", hint: str = "") -> ConfigFault:
    return ConfigFault(what, where=f"column {index + 1}", expected=expected, hint=hint)

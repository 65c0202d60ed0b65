"""From a scalar as it is written in the YAML to the value that an annotation asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from edgeagent.config.findings import listed, nearest
from edgeagent.config.quantities import Between, Dimension, PathWord, SwitchWord, parse_quantity
from edgeagent.errors import ConfigFault

_SWITCH = {"on": True, "true": True, "off": False, "false": False}
_TAG = "tag:yaml.org,2002:"


def scalar(text: str, tag: str, wanted: Any, notes: tuple[Any, ...], folder: Path) -> Any:
    """The value of a scalar.

    Args:
        text: As it stands in the file.
        tag: What YAML 1.2 takes it for: `tag:yaml.org,2002:int` ...
        wanted: bool, int, float, str, Path or a Literal.
        notes: The metadata of its Annotated (config/quantities.py).
        folder: What relative paths are relative to.

    Raises ConfigFault, its `where` the text as it was found.
    """
    if wanted is str:
        return _text(text, tag)
    if any(isinstance(note, SwitchWord) for note in notes) or wanted is bool:
        return _switch(text)
    if any(isinstance(note, PathWord) for note in notes) or wanted is Path:
        return _path(text, folder)
    if get_origin(wanted) is Literal:
        return _choice(text, get_args(wanted))
    for note in notes:
        if isinstance(note, Dimension):
            value = parse_quantity(text, note)
            return round(value) if wanted is int else value
    return _number(text, tag, wanted, notes)


def plain(text: str, tag: str) -> Any:
    """The value that YAML 1.2 itself gives a scalar; a date stays text."""
    if tag == _TAG + "null":
        return None
    if tag == _TAG + "bool":
        return _switch(text)
    if tag in (_TAG + "int", _TAG + "float"):
        return _number(text, tag, int if tag.endswith("int") else float, ())
    return text


def _text(text: str, tag: str) -> str:
    """Numbers count as text, as they are written (`line: 3`, `version: 1.10`); true and false do not."""
    if tag == _TAG + "bool":
        raise ConfigFault("not text", where=text, expected="text", hint=f"Put it in quotes: '{text}'.")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ConfigFault("not a switch", where=repr(text), expected=expected(bool, ()))
    return _SWITCH[text.lower()]


def _path(text: str, folder: Path) -> Path:
    if not text:
        raise ConfigFault("not a path", where="nothing", expected="a path")
    return folder / Path(text).expanduser()


def _choice(text: str, choices: tuple[Any, ...]) -> Any:
    by_text = {str(choice): choice for choice in choices}
    if text not in by_text:
        hint = nearest(text, (choice for choice in choices if isinstance(choice, str)))
        raise ConfigFault("not one of the choices", where=repr(text), expected=listed(by_text), hint=hint)
    return by_text[text]


def _number(text: str, tag: str, wanted: Any, notes: tuple[Any, ...]) -> Any:
    value = _parse(text, wanted)
    if value is None or tag == _TAG + "str":
        what = "not a whole number" if wanted is int else "not a number"
        hint = "Write it without quotes." if value is not None else ""
        raise ConfigFault(what, where=repr(text), expected=expected(wanted, notes), hint=hint)
    for note in notes:
        if isinstance(note, Between) and not note.low <= value <= note.high:
            raise ConfigFault("out of range", where=text, expected=expected(wanted, notes))
    return value


def _parse(text: str, wanted: Any) -> int | float | None:
    """0x68 and 1_000 too; None for what is no number, not finite, or no whole number where one is wanted."""
    value: int | float
    try:
        value = int(text, 0)
    except ValueError:
        try:
            value = int(text) if wanted is int else float(text)
        except ValueError:
            return None
    return wanted(value) if -_HUGE < value < _HUGE else None


_HUGE = 1e300


def expected(wanted: Any, notes: tuple[Any, ...]) -> str:
    """What a fault says was expected of a scalar."""
    for note in notes:
        if isinstance(note, Dimension):
            return note.expected
        if isinstance(note, Between):
            return f"{_WORDS[wanted]} from {note.low:.10g} to {note.high:.10g}"
    if get_origin(wanted) is Literal:
        return listed(str(choice) for choice in get_args(wanted))
    return _WORDS.get(wanted, "a value")


_WORDS: dict[Any, str] = {
    bool: "on or off",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}

"""Changing a config that somebody wrote: only what is asked for, and every other byte of it stays.

ruamel.yaml's own round trip keeps comments, but guesses at indents and moves columns. Its marks are exact.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from edgeagent.config.load import load
from edgeagent.errors import Bug, ConfigFault, StorageFault


def set_keys(path: Path, changes: Mapping[tuple[str, ...], str]) -> None:
    """Set keys of a YAML file, each by its way from the top, to plain scalars; whole or not at all.

    Raises:
        ConfigFault: It would not be a config without faults afterwards; it is left as it was.
        StorageFault: It cannot be read or written.
    """
    young = path.with_name(f".{path.name}.tmp")
    try:
        text = path.read_text("utf-8")
        for way, value in changes.items():
            text = _set(path, text, way, value)
        try:
            young.write_text(text, "utf-8")
            if load(young).config is None:
                hint = "See `edgeagent check`, and correct it first"
                raise ConfigFault("it would not be right any more", where=str(path), hint=hint)
            shutil.copymode(path, young)
            os.replace(young, path)
        finally:
            young.unlink(missing_ok=True)
    except OSError as e:
        raise StorageFault(f"the config cannot be written ({e.strerror})", where=str(path)) from e


def _set(path: Path, text: str, way: tuple[str, ...], value: str) -> str:
    try:
        place = YAML().compose(text)
    except YAMLError as e:
        raise ConfigFault(f"it is no YAML ({e})", where=str(path)) from e
    for key in way[:-1]:
        place = _value(place, key)
    old = _value(place, way[-1])
    if old is not None:
        return text[: old.start_mark.index] + value + text[_end(old) :]
    return _added(text, place, f"{way[-1]}: {value}")


def _value(place: Node | None, key: str) -> Node | None:
    if not isinstance(place, MappingNode):
        raise Bug(f"no mapping to find {key!r} in")
    return next((value for name, value in place.value if name.value == key), None)


def _added(text: str, place: Node | None, pair: str) -> str:
    """After the last key: in the same braces, or on a line of its own."""
    assert isinstance(place, MappingNode)
    last = _end(place.value[-1][1])
    if place.flow_style:
        return f"{text[:last]}, {pair}{text[last:]}"
    line_end = text.find("\n", last)
    line_end = len(text) if line_end < 0 else line_end
    return f"{text[:line_end]}\n{' ' * place.start_mark.column}{pair}{text[line_end:]}"


def _end(node: Node) -> int:
    """Where its last character is; a block's own mark stands before the next key, behind the comments between."""
    if isinstance(node, MappingNode | SequenceNode) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, MappingNode) else last)
    return int(node.end_mark.index)

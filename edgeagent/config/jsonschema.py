"""The JSON Schema of a YAML file, from the same annotations that `Walker` reads it by.

It is for editors and other tools, and says as much as JSON Schema can: what fits it may still be refused, by what the
keys mean together.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from edgeagent.config import parts
from edgeagent.config.quantities import Between, Dimension
from edgeagent.config.schema import Names
from edgeagent.config.walk import peel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]

_NUMBER = r"[+]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_SCALARS: dict[Any, Schema] = {
    str: {"type": ["string", "number"]},  # `version: 1.10` is text, as it is written
    bool: {"enum": [True, False, "on", "off"]},  # the last two are words in YAML 1.2
    int: {"type": "integer"},
    float: {"type": "number"},
    type(None): {"type": "null"},
}


def json_schema(struct: type[msgspec.Struct], title: str) -> Schema:
    """What a file must be that is read as this struct."""
    return {"$schema": DIALECT, "title": title, **_schema(struct)}


def _schema(wanted: Any) -> Schema:
    kind, notes = peel(wanted)
    origin, args = get_origin(kind), get_args(kind)
    for note in notes:
        if isinstance(note, Names):
            return _part(note)
        if isinstance(note, Dimension):
            units = "|".join(map(re.escape, note.units))
            pattern = rf"^\s*{_NUMBER}\s*({units})\s*$"
            return {"type": "string", "pattern": pattern, "description": note.expected}
        if isinstance(note, Between):
            return {**_schema(kind), **_bounds(note)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(arg) for arg in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(args[1])}
    if origin in (list, tuple):
        return {"type": "array", "items": _schema(args[0])}
    return _SCALARS[kind] if kind in _SCALARS else {} if kind is Any else _struct(kind)


def _bounds(between: Between) -> Schema:
    """Those that there are: JSON has no infinity."""
    bounds = {"minimum": between.low, "maximum": between.high}
    return {name: bound for name, bound in bounds.items() if math.isfinite(bound)}


def _part(names: Names) -> Schema:
    """One key, which names the file, and its options; a bare scalar stands for the only one that is required."""
    options = {name: parts.find(names.folder, name).Options for name in parts.names(names.folder)}
    return {
        "type": "object",
        "properties": {name: _options(wanted) for name, wanted in options.items()},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }


def _options(wanted: Any) -> Schema:
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        required = [field.type for field in msgspec.structs.fields(wanted) if field.required]
        if len(required) == 1:
            return {"anyOf": [_schema(required[0]), _schema(wanted)]}
    return _schema(wanted)


def _struct(struct: type[msgspec.Struct]) -> Schema:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    schema = {
        "type": "object",
        "properties": {name: _schema(field.type) for name, field in fields.items()},
        "required": [name for name, field in fields.items() if field.required],
        "additionalProperties": False,
    }
    for name, field in fields.items():
        for note in peel(field.type)[1]:
            if isinstance(note, Names) and note.by == name:
                _named_by_value(schema, note)
    return schema


def _named_by_value(schema: Schema, names: Names) -> None:
    """Beside the key that names the file stand the file's own keys, as what it names has them."""
    options = {name: parts.find(names.folder, name).Options for name in parts.names(names.folder)}
    each = {name: _struct(wanted) for name, wanted in options.items()}
    schema["properties"] |= {key: {} for own in each.values() for key in own["properties"]}
    schema["properties"][names.by] = {"enum": list(each)}
    schema["allOf"] = [
        {
            "if": {"properties": {names.by: {"const": name}}},
            "then": {"properties": own["properties"], "required": own["required"]},
        }
        for name, own in each.items()
    ]

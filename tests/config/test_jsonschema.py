"""The JSON Schema says of a file what the loader would."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
import pytest

from edgeagent.config.jsonschema import json_schema
from edgeagent.config.quantities import DURATION, FREQUENCY, Between, Dimension, Seconds, parse_quantity
from edgeagent.errors import ConfigFault


class Inner(msgspec.Struct, kw_only=True):
    wait: Seconds
    share: Annotated[float, Between(0.0, 1.0)] = 0.5


class Outer(msgspec.Struct, kw_only=True):
    kind: Literal["a", "b"]
    inner: list[Inner]
    names: dict[str, str] = {}
    free: Any = None
    maybe: int | None = None


def test_keys_choices_lists_and_what_is_required_are_told() -> None:
    schema = json_schema(Outer, "outer")
    assert schema["title"] == "outer"
    assert (schema["required"], schema["additionalProperties"]) == (["kind", "inner"], False)
    keys = schema["properties"]
    assert keys["kind"] == {"enum": ["a", "b"]}
    assert keys["names"] == {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    assert keys["free"] == {}
    assert keys["maybe"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    inner = keys["inner"]["items"]
    assert inner["required"] == ["wait"]
    assert inner["properties"]["share"] == {"type": "number", "minimum": 0.0, "maximum": 1.0}


@pytest.mark.parametrize("dimension", [FREQUENCY, DURATION], ids=lambda d: d.name)
@pytest.mark.parametrize(
    "text",
    ["50 Hz", "5 s", "1.5kHz", " .5  min ", "1e3 ms", "5", "Hz", "5 sec", "5 hz", "-5 s", "5 s s", "2/min"],
)
def test_a_quantity_fits_the_schema_if_and_only_if_it_can_be_read(dimension: Dimension, text: str) -> None:
    one = msgspec.defstruct("One", [("it", Annotated[float, dimension])])
    try:
        parse_quantity(text, dimension)
    except ConfigFault:
        readable = False
    else:
        readable = True
    pattern = json_schema(one, "one")["properties"]["it"]["pattern"]
    assert bool(re.search(pattern, text)) == readable

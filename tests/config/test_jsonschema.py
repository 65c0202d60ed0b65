"""The JSON Schema says of a file what the loader would."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal

import msgspec
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from edgeagent.config.jsonschema import json_schema
from edgeagent.config.quantities import (
    DURATION,
    FREQUENCY,
    Between,
    Dimension,
    Seconds,
    Switch,
    parse_quantity,
)
from edgeagent.errors import ConfigFault
from edgeagent.inference.bundle import BundleKeys, bundle_files, own_bundles


class Inner(msgspec.Struct, kw_only=True):
    wait: Seconds
    share: Annotated[float, Between(0.0, 1.0)] = 0.5
    most: Annotated[float, Between(1.0, math.inf)] = 1.0
    steady: Switch = False


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


def test_no_bound_and_the_words_on_and_off_are_told_as_json_can() -> None:
    inner = json_schema(Inner, "inner")["properties"]
    assert inner["most"] == {"type": "number", "minimum": 1.0}
    assert inner["steady"] == {"enum": [True, False, "on", "off"]}


# The one that `edgeagent model schema` prints, as another tool reads it.

BUNDLES = [YAML(typ="safe").load(file) for file in bundle_files(own_bundles())]


def refused(bundle: dict[str, Any]) -> list[str]:
    """What a validator that is not ours has against a bundle.yaml."""
    schema = json.loads(msgspec.json.encode(json_schema(BundleKeys, "bundle.yaml")))
    Draft202012Validator.check_schema(schema)
    return [error.message for error in Draft202012Validator(schema).iter_errors(bundle)]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle["name"])
def test_a_shipped_bundle_fits_its_schema_and_with_a_slip_in_it_does_not(bundle: dict[str, Any]) -> None:
    assert refused(bundle) == []
    assert refused(bundle | {"variables": "on"}) == []
    without = {key: value for key, value in bundle.items() if key != "golden"}
    slips: list[tuple[dict[str, Any], str]] = [
        (without, "'golden' is a required property"),
        (bundle | {"varients": []}, "'varients' was unexpected"),
        (bundle | {"task": "clasification"}, "'clasification' is not one of"),
        (bundle | {"input": bundle["input"] | {"rate": "50"}}, "'50' does not match"),
        (bundle | {"input": bundle["input"] | {"preprocess": [{"detrnd": 1}]}}, "'detrnd' was unexpected"),
        (bundle | {"golden": {"file": "g.npz", "tolerance": -1}}, "less than the minimum of 0.0"),
    ]
    for slip, says in slips:
        assert any(says in message for message in refused(slip)), says

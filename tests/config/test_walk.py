from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from ruamel.yaml import YAML

from edgeagent.config.findings import Marks, Report
from edgeagent.config.quantities import FilePath, Fraction, Hz, Switch
from edgeagent.config.walk import WRONG, Walker
from edgeagent.errors import ConfigFault


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    scale: float = 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    rate: Hz | None = None
    level: Switch | float = False
    share: Fraction = 0.0
    count: int = 0
    mode: Literal["slow", "fast", 3] = "slow"
    inner: tuple[Inner, ...] = ()
    by_name: dict[str, Inner] = {}
    path: FilePath | None = None
    free: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if self.count > 1000:
            raise ConfigFault("too many", where="count", expected="1000 at most")


def read(text: str) -> tuple[Any, list[str]]:
    report = Report("f")
    value = Walker(report, Marks(), Path("/etc")).read(YAML().compose(text), Options, ())
    return value, [str(finding) for finding in report.findings]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("rate: 2 kHz", Options(rate=2000.0)),
        ("rate:", Options()),
        ("level: on", Options(level=True)),
        ("level: 0", Options(level=0.0)),
        ("count: 0x68", Options(count=104)),
        ("count: 010", Options(count=10)),
        ("mode: 3", Options(mode=3)),
        ("inner: [{name: a}, {name: b, scale: 2}]", Options(inner=(Inner(name="a"), Inner(name="b", scale=2.0)))),
        ("by_name: {x: {name: 7}}", Options(by_name={"x": Inner(name="7")})),
        ("path: fleet.pem", Options(path=Path("/etc/fleet.pem"))),
        ("free: {a: [1, 0.5, yes, ~, 2020-01-01], b: {c: true}}",
         Options(free={"a": [1, 0.5, "yes", None, "2020-01-01"], "b": {"c": True}})),
        ("by_name: {x: &x {name: a}, y: *x}", Options(by_name={"x": Inner(name="a"), "y": Inner(name="a")})),
    ],
)  # fmt: skip
def test_a_value_is_read_as_its_annotation_asks(text: str, options: Options) -> None:
    assert read(text) == (options, [])


def test_a_number_is_the_type_that_was_asked_for() -> None:
    assert type(read("level: 1")[0].level) is float
    assert type(read("by_name: {x: {name: a, scale: 2}}")[0].by_name["x"].scale) is float


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("count: 1.5", "f:1:8: count: not a whole number, found '1.5', expected a whole number"),
        ("count: .inf", "f:1:8: count: not a whole number, found '.inf', expected a whole number"),
        ("share: .nan", "f:1:8: share: not a number, found '.nan', expected a number from 0 to 1"),
        ("share: [1]", "f:1:1: share: no value, found a list, expected a number from 0 to 1"),
        ("count:", "f:1:7: count: no value, found nothing, expected a whole number"),
        (
            "level: maybe",
            "f:1:8: level: does not fit, found 'maybe', expected on or off or a number",
        ),
        (
            "mode: fst",
            "f:1:7: mode: not one of the choices, found 'fst', expected slow, fast or 3. Did you mean 'fast'?",
        ),
        ("count: 1001", "f:1:8: count: too many, expected 1000 at most"),
        ("free: {? [a] : b}", "f:1:10: free: not a key, found a list, expected a word"),
        ("- a", "f:1:1: not a mapping, found a list, expected `key: value` pairs"),
    ],
)
def test_a_fault_says_where_what_and_what_was_expected(text: str, fault: str) -> None:
    assert read(text)[1] == [fault]


@pytest.mark.parametrize("digits", [400, 10_000])
def test_a_number_beyond_all_bounds_is_a_fault(digits: int) -> None:
    assert len(read("count: " + "9" * digits)[1]) == 1


def test_a_mapping_that_holds_itself_is_a_fault_and_ends() -> None:
    _, faults = read("free: &a {b: *a}")
    assert "nested too deep" in faults[0]


def test_what_an_anchor_has_wrong_is_said_of_each_that_uses_it() -> None:
    _, faults = read("by_name: {x: &x {nme: a}, y: *x}")
    assert [fault.split(",")[0] for fault in faults if "unknown key" in fault] == [
        "f:1:18: by_name.x: unknown key 'nme'",
        "f:1:18: by_name.y: unknown key 'nme'",
    ]


def test_a_struct_without_its_required_key_is_wrong() -> None:
    report = Report("f")
    assert Walker(report, Marks(), Path()).read(YAML().compose("scale: 1"), Inner, ()) is WRONG
    assert [str(f) for f in report.findings] == ["f:1:1: the key 'name' is missing, expected name: text"]

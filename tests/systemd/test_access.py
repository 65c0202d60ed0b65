"""udev rules, groups and the unit open the same doors."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
RULES = SYSTEMD / "99-edgeagent.rules"
TOKEN = re.compile(r'(?P<key>[A-Z]+)(?P<attribute>\{\w+\})?(?P<operator>==|!=|=|\+=|:=)"(?P<value>[^"]*)"')
MATCHES, ASSIGNMENTS = {"SUBSYSTEM", "KERNEL", "ATTRS"}, {"GROUP", "MODE"}


class Rule(NamedTuple):
    match: dict[str, str]
    assign: dict[str, str]


def _rule(line: str) -> Rule:
    """One rule as udev(7) writes it. Raises AssertionError where udev would not take it."""
    rule = Rule({}, {})
    for text in line.split(", "):
        token = TOKEN.fullmatch(text)
        assert token is not None, f"not KEY{{ATTRIBUTE}} OPERATOR VALUE: {text}"
        key, operator = token["key"], token["operator"]
        if key in MATCHES:
            assert operator == "==", text
            rule.match[key + (token["attribute"] or "")] = token["value"]
        else:
            assert key in ASSIGNMENTS, text
            assert operator == "=", text
            rule.assign[key] = token["value"]
    return rule


@pytest.fixture(scope="module")
def rules() -> list[Rule]:
    lines = RULES.read_text().splitlines()
    return [_rule(line) for line in lines if line and not line.startswith("#")]


def _group_of(rules: list[Rule], subsystem: str, kernel: str) -> str | None:
    """The group that a device node gets."""
    for rule in rules:
        patterns = rule.match.get("KERNEL", "*").split("|")
        if rule.match["SUBSYSTEM"] == subsystem and any(fnmatch(kernel, p) for p in patterns):
            return rule.assign["GROUP"]
    return None


@pytest.mark.parametrize("line", ['KERNEL="i2c-1"', 'GROUP=="i2c"', "MODE=0660", 'OWNR="edgeagent"'])
def test_a_rule_that_udev_would_not_take_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        _rule(line)


def test_every_rule_matches_something_and_opens_it_to_a_group_alone(rules: list[Rule]) -> None:
    for rule in rules:
        assert "SUBSYSTEM" in rule.match
        assert len(rule.match) > 1, rule
        assert rule.assign["MODE"] == "0660"
        assert set(rule.assign) == {"GROUP", "MODE"}


def test_udev_takes_the_rules() -> None:
    udevadm = shutil.which("udevadm")
    if udevadm is None or subprocess.run([udevadm, "verify", "--help"], capture_output=True).returncode:
        return  # before systemd 254 there is no such command: the tests above are what there is
    found = subprocess.run(
        [udevadm, "verify", "--resolve-names=never", RULES], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("subsystem", "kernel", "group"),
    [
        ("tty", "ttyACM0", "dialout"),
        ("tty", "ttyUSB12", "dialout"),
        ("tty", "ttyAMA10", "dialout"),
        ("tty", "ttyS0", "dialout"),
        ("i2c-dev", "i2c-1", "i2c"),
        ("gpio", "gpiochip0", "gpio"),
        ("tty", "tty1", None),
        ("tty", "console", None),
    ],
)
def test_a_device_gets_its_group(rules: list[Rule], subsystem: str, kernel: str, group: str | None) -> None:
    assert _group_of(rules, subsystem, kernel) == group


def test_the_coral_is_known_before_and_after_its_firmware(rules: list[Rule]) -> None:
    ids = {
        (r.match["ATTRS{idVendor}"], r.match["ATTRS{idProduct}"])
        for r in rules
        if "ATTRS{idVendor}" in r.match
    }
    assert ids == {("1a6e", "089a"), ("18d1", "9302")}


def test_every_group_that_a_rule_names_is_one_that_the_service_has(rules: list[Rule]) -> None:
    lines = [line.split() for line in (SYSTEMD / "edgeagent.sysusers").read_text().splitlines()]
    groups = {words[2] for words in lines if words[:2] == ["m", "edgeagent"]} | {"edgeagent"}
    assert {rule.assign["GROUP"] for rule in rules} == groups


def test_the_unit_lets_every_kind_of_device_through_that_the_rules_open(
    rules: list[Rule], unit: list[tuple[str, str]]
) -> None:
    allowed = {value.removeprefix("char-").split()[0] for name, value in unit if name == "DeviceAllow"}
    patterns = [p for rule in rules for p in rule.match.get("KERNEL", "").split("|") if p]
    assert {re.split(r"-?\[", p)[0] for p in patterns} == allowed

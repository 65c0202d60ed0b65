"""From what was found to the `sensors:` of a config: every name stable, every entry one that `check` accepts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from edgeagent.buses.scan.found import Device

_HEX = ("address",)
_FLOW_SAFE = re.compile(r"[A-Za-z_/][\w./:+@-]*(?<!:)")
_WORDS = ("on", "off", "true", "false", "yes", "no", "null", "y", "n")


def suggest(devices: tuple[Device, ...], drivers: Mapping[str, str]) -> str:
    """A `sensors:` block as text, a line a sensor, with what it is in a comment.

    `drivers` are those that there are, each with why it cannot be used here, or "": then its entry is a comment.
    """
    usable = [d for d in devices if d.sensor is not None and d.sensor["driver"] in drivers]
    if not usable:
        return "sensors: {}   # nothing was found that a driver here can read\n"
    names = _names([str(d.sensor["driver"]) for d in usable if d.sensor])
    width = max(map(len, names))
    lines = ["sensors:"]
    for name, device in zip(names, usable, strict=True):
        assert device.sensor is not None
        trouble = drivers[device.sensor["driver"]]
        about = ": ".join(filter(None, (device.name, device.why, trouble)))
        lines.append(f"  # {_in_a_line(about)}")
        lines.append(f"  {'# ' if trouble else ''}{name + ':':<{width + 1}} {_flow(device.sensor)}")
    return "\n".join(lines) + "\n"


def _names(drivers: list[str]) -> list[str]:
    """`bme280` for the only one of its kind, `bme280_1`, `bme280_2` for two."""
    total, so_far = Counter(drivers), Counter[str]()
    names = []
    for driver in drivers:
        so_far[driver] += 1
        names.append(driver if total[driver] == 1 else f"{driver}_{so_far[driver]}")
    return names


def _in_a_line(text: str) -> str:
    """A device's own words, which must not end the comment that they stand in."""
    return "".join(c if c.isprintable() else " " for c in text)


def _flow(value: Any, key: str = "") -> str:
    """YAML in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_flow(v, k)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, int):
        return f"{value:#04x}" if key in _HEX else str(value)
    return value if _FLOW_SAFE.fullmatch(value) and value.lower() not in _WORDS else json.dumps(value)

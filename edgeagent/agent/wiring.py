"""Which sensors of a config cannot hang on one bus or port together, told by their options alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from edgeagent.buses.i2c import bus_path
from edgeagent.config import schema
from edgeagent.errors import ConfigFault

_FAR_ENDS = ("bus", "port", "host")
_TELLS_APART = ("device_id", "address")  # several devices of one line
_SETTINGS = ("baud", "parity", "stop_bits")


def clashes(sensors: Mapping[str, schema.SensorEntry]) -> Iterator[tuple[str, ConfigFault]]:
    """The sensors that find their place taken, each with why. A fake has a bus or line of its own."""
    real = {
        name: entry.part.options for name, entry in sensors.items() if fake_at(entry.part.options) is None
    }
    yield from _at_one_address(real)
    yield from _on_one_port(real)


def advice_on_address(driver: str, address: object) -> str:
    """What `check` warns of in a chip's address; "" if it may have that, or nobody knows."""
    from edgeagent.buses.scan.chips import KINDS, SILENT_KINDS  # only for a chip whose address is stated

    kinds = (kind for kind in (*KINDS, *SILENT_KINDS) if kind.driver == driver)
    its_own = sorted({at for kind in kinds for at in kind.addresses})
    if not isinstance(address, int) or not its_own or address in its_own:
        return ""
    return (
        f"{address:#04x} is no address of this chip: {', '.join(f'{at:#04x}' for at in its_own)} "
        "(without the 0x a number is decimal)"
    )


def fake_at(options: Any) -> str | None:
    """The key that names a fake; None if what it names is real."""
    return next((key for key in _FAR_ENDS if str(getattr(options, key, "")).startswith("fake:")), None)


def _at_one_address(sensors: Mapping[str, Any]) -> Iterator[tuple[str, ConfigFault]]:
    """Two chips cannot answer at one address of one bus."""
    taken: dict[tuple[str, int], str] = {}
    for name, options in sensors.items():
        bus, address = getattr(options, "bus", None), getattr(options, "address", None)
        if not isinstance(bus, str) or not isinstance(address, int):
            continue
        try:
            path = bus_path(bus)
        except ConfigFault as fault:
            yield name, ConfigFault(fault.what, where="bus", expected=fault.expected)
            continue
        other = taken.setdefault((path, address), name)
        if other != name:
            yield (
                name,
                ConfigFault(
                    f"{other} is at {address:#04x} of {path} already",
                    expected="another address or bus",
                    hint="Most chips have a pin that changes their address; else an I2C multiplexer or a second bus.",
                ),
            )


def _on_one_port(sensors: Mapping[str, Any]) -> Iterator[tuple[str, ConfigFault]]:
    """A port is one sensor's. Modbus devices share theirs, and then its speed and framing."""
    taken: dict[str, str] = {}
    for name, options in sensors.items():
        port = getattr(options, "port", None)
        if not isinstance(port, str) or not hasattr(options, "baud"):
            continue
        other = taken.setdefault(os.path.realpath(port), name)  # by whichever of its names
        if other == name:
            continue
        ours, theirs = _line_of(options), _line_of(sensors[other])
        if ours is None or theirs is None:
            yield (
                name,
                ConfigFault(
                    f"{other} reads {port} already",
                    where="port",
                    expected="a port of its own",
                    hint="`edgeagent scan` shows those that there are, and what talks on them.",
                ),
            )
        elif ours != theirs:
            yield (
                name,
                ConfigFault(
                    f"{other} is on {port} too, with {theirs}",
                    where="port",
                    expected="the same for all devices of a line",
                ),
            )


def _line_of(options: Any) -> str | None:
    """How a line is set that several devices are on; None where it is one device's."""
    if not any(hasattr(options, key) for key in _TELLS_APART):
        return None
    return ", ".join(f"{key}: {getattr(options, key)}" for key in _SETTINGS if hasattr(options, key))

"""What there is to choose from: every driver with its options and channels, as the code itself says it.

A driver is described by its own names: the first line of its docstring, its `Options`, and its `layout`.
"""

from __future__ import annotations

import types
from pathlib import Path
from types import ModuleType
from typing import Any, Union, get_args, get_origin

import msgspec

from edgeagent.config import parts
from edgeagent.config.findings import listed
from edgeagent.config.quantities import Dimension
from edgeagent.config.walk import describe
from edgeagent.errors import ConfigFault, Fault
from edgeagent.records import Channel

_EXAMPLES = {"bus": "i2c-1", "port": "/dev/ttyUSB0"}
_OF_THE_TESTS = ("fake",)


class Option(msgspec.Struct, frozen=True):
    """A key of the YAML. `default` is None if it is required."""

    key: str
    takes: str
    default: str | None


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """One file of `sensors/`. `channels_from` says who names the channels, where the driver itself does not.

    trouble: Why it cannot be used here; then nothing else is known.
    """

    name: str
    summary: str = ""
    channels: tuple[Channel, ...] = ()
    channels_from: str = ""
    options: tuple[Option, ...] = ()
    trouble: str = ""


def sensor_drivers() -> list[Driver]:
    """All that `driver:` may name under `sensors:`, other packages' too."""
    return [_driver(name) for name in parts.names("sensors")]


def _driver(name: str) -> Driver:
    try:
        module = parts.find("sensors", name)
    except ConfigFault as fault:
        return Driver(name=name, trouble=str(fault))
    fields = msgspec.structs.fields(module.Options)
    channels, channels_from = _channels(module, fields)
    return Driver(
        name=name,
        summary=_first_sentence(module.__doc__ or ""),
        channels=channels,
        channels_from=channels_from,
        options=tuple(_option(field) for field in fields if field.encode_name not in _OF_THE_TESTS),
    )


def _first_sentence(docstring: str) -> str:
    return docstring.partition("\n")[0].strip().rstrip(".")


def _channels(
    module: ModuleType, fields: tuple[msgspec.structs.FieldInfo, ...]
) -> tuple[tuple[Channel, ...], str]:
    """The channels with every option at its default; who says them if that is not enough to know."""
    required = [field for field in fields if field.required]
    if any(field.type is not str for field in required):
        return (), "the config"
    try:
        layout = module.layout(module.Options(**{f.name: _EXAMPLES.get(f.name, "x") for f in required}))
    except Fault:
        return (), "the config"
    return ((), "the device") if layout is None else (layout.channels, "")


def _option(field: msgspec.structs.FieldInfo) -> Option:
    return Option(field.encode_name, _takes(field.type), None if field.required else _default(field))


def _takes(kind: Any) -> str:
    """What may stand behind the key; of a struct its own keys."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"{{{', '.join(f.encode_name for f in msgspec.structs.fields(kind))}}}"
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [one for one in get_args(kind) if one is not type(None)]
        return listed(map(_takes, kinds))
    if get_origin(kind) in (list, tuple):
        return f"a list of {_takes(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return f"a name and {_takes(get_args(kind)[1])} each"
    return describe(kind)


def _default(field: msgspec.structs.FieldInfo) -> str:
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    dimension = next(
        (note for note in getattr(field.type, "__metadata__", ()) if isinstance(note, Dimension)), None
    )
    if dimension is not None and isinstance(value, int | float):
        return f"{value:g} {next(iter(dimension.units))}"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int) and field.name == "address":
        return f"{value:#04x}"
    return "none" if value in (None, "", [], {}, ()) else _short(value)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value))
    if isinstance(value, Path):
        return str(value)
    return getattr(value, "name", None) or str(value)

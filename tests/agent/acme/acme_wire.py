"""Someone else's output: a wire whose every setting is a line in a file."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgeagent.actuators import Level
from edgeagent.config.quantities import FilePath


class Options(msgspec.Struct, frozen=True, kw_only=True):
    log: FilePath


def build(name: str, options: Options, sensors: Mapping[str, object]) -> Wire:
    del name, sensors
    return Wire(options)


class Wire:
    def __init__(self, options: Options) -> None:
        self._log = options.log
        self._value: Level | None = None

    def drive(self, value: Level) -> None:
        self._value = value
        with self._log.open("a") as f:
            f.write(f"{'on' if value else 'off'}\n")

    def state(self) -> dict[str, object]:
        return {"asked": self._value, "reported": self._value, "changes": None, "error": None}

    def close(self) -> None:
        pass

"""An output that is only remembered: for trying a config before anything is wired.

relay: {driver: fake, safe: off}
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from edgeagent.actuators import Actuator, Level


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """It has no keys of its own."""


def build(name: str, options: Options, sensors: Mapping[str, object]) -> Actuator:
    del name, options, sensors
    return FakeActuator()


class FakeActuator:
    """Does at once what it is asked."""

    def __init__(self) -> None:
        self._value: Level | None = None
        self._changes = 0

    def drive(self, value: Level) -> None:
        self._changes += self._value is not None and value != self._value
        self._value = value

    def state(self) -> dict[str, object]:
        return {"asked": self._value, "reported": self._value, "changes": self._changes, "error": None}

    def close(self) -> None:
        """Nothing to let go of."""

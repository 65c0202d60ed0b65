"""An output of a microcontroller that a `driver: bridge` sensor is connected to.

relay: {driver: bridge, sensor: motor, output: relay, safe: off}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import msgspec

from edgeagent.actuators import Actuator, Level
from edgeagent.errors import ConfigFault


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`sensor` is the sensor whose port it shares; `output` is the output's name in the board's HELLO."""

    sensor: str
    output: str


@runtime_checkable
class Outputs(Protocol):
    """What is needed of the sensor: a board that has outputs."""

    def set_output(self, name: str, value: float, max_on_s: float | None = None) -> None:
        """Ask for a value, to be held for so long at most; returns at once, from any thread."""
        ...

    def output_state(self, name: str) -> dict[str, object]:
        """asked, reported, changes, error."""
        ...


def build(name: str, options: Options, sensors: Mapping[str, object]) -> Actuator:
    """Raises ConfigFault if there is no such sensor, or it has no outputs."""
    board = sensors.get(options.sensor)
    if isinstance(board, Outputs):
        return BridgeActuator(board, options.output)
    found = "has no outputs" if options.sensor in sensors else "is not there"
    able = [key for key, sensor in sensors.items() if isinstance(sensor, Outputs)]
    raise ConfigFault(
        f"sensor {options.sensor!r} {found}",
        where=f"actuators.{name}.sensor",
        expected=f"a sensor with `driver: bridge`: {', '.join(able) or 'there is none'}",
    )


class BridgeActuator:
    """One output of one board."""

    def __init__(self, board: Outputs, output: str) -> None:
        self._board, self._output = board, output
        self._max_on_s: float | None = None

    def limit(self, max_on_s: float) -> None:
        """The board itself ends what lasts longer, should this agent fail to."""
        self._max_on_s = max_on_s

    def drive(self, value: Level) -> None:
        self._board.set_output(self._output, float(value), self._max_on_s)

    def state(self) -> dict[str, object]:
        return self._board.output_state(self._output)

    def close(self) -> None:
        """Nothing to let go of: the port is the sensor's."""

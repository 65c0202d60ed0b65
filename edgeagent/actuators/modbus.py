"""A coil or holding register of a Modbus device that a `modbus_rtu` or `modbus_tcp` sensor is connected to.

pump:  {driver: modbus, sensor: drive, coil: 0, safe: off}
speed: {driver: modbus, sensor: drive, register: 8193, scale: 0.1, safe: 0}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol, runtime_checkable

import msgspec

from edgeagent.actuators import Actuator, Level
from edgeagent.buses.words import Number, Order, Output, Type
from edgeagent.config.quantities import Between
from edgeagent.errors import ConfigFault

Address = Annotated[int, Between(0, 65535)]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Either `coil` or `register`, counted from 0; a register holds (value - offset) / scale."""

    sensor: str
    coil: Address | None = None
    register: Address | None = None
    type: Type = "uint16"
    scale: float = 1.0
    offset: float = 0.0
    word_order: Order = "big"
    byte_order: Order = "big"

    def __post_init__(self) -> None:
        if (self.coil is None) == (self.register is None):
            raise ConfigFault("no output, or two", expected="either `coil: ADDRESS` or `register: ADDRESS`")
        if not self.scale:
            raise ConfigFault("0", where="scale", expected="what one count is worth")


@runtime_checkable
class Writable(Protocol):
    """What is needed of the sensor: a device that can be written to."""

    def write_output(self, output: Output, value: float) -> None:
        """Ask for a value; returns at once, from any thread."""
        ...

    def output_state(self, output: Output) -> dict[str, Any]:
        """asked, reported, changes, error."""
        ...


def build(name: str, options: Options, sensors: Mapping[str, object]) -> Actuator:
    """Raises ConfigFault if there is no such sensor, or it is no Modbus device."""
    device = sensors.get(options.sensor)
    if isinstance(device, Writable):
        return ModbusOutput(device, _output(options))
    found = "is no Modbus device" if options.sensor in sensors else "is not there"
    able = [key for key, sensor in sensors.items() if isinstance(sensor, Writable)]
    raise ConfigFault(
        f"sensor {options.sensor!r} {found}",
        where=f"actuators.{name}.sensor",
        expected=f"a sensor with `driver: modbus_rtu` or `modbus_tcp`: {', '.join(able) or 'there is none'}",
    )


def _output(options: Options) -> Output:
    if options.coil is not None:
        return Output("coil", options.coil)
    number = Number(options.type, options.scale, options.offset, options.word_order, options.byte_order)
    return Output("holding", options.register or 0, number)


class ModbusOutput:
    """One output of one device."""

    def __init__(self, device: Writable, output: Output) -> None:
        self._device, self._output = device, output

    def drive(self, value: Level) -> None:
        self._device.write_output(self._output, float(value))

    def state(self) -> dict[str, object]:
        return self._device.output_state(self._output)

    def close(self) -> None:
        """Nothing to let go of: the line is the sensor's."""

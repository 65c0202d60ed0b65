"""A Modbus device on a serial line (RTU): meters, drives, controllers, relay boards.

    meter: {driver: modbus_rtu, port: /dev/serial/by-id/usb-FTDI_USB-RS485_A50285BI-if00-port0, baud: 19200,
            device_id: 3, registers: {flow: {address: 100, type: float32, unit: L/min}}}

A sensor for each device; those on one line say the same `port`, `baud`, `parity` and `stop_bits`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.modbus import Wiring
from edgeagent.buses.ports import Baud
from edgeagent.config.quantities import Between
from edgeagent.sensors import Advice, Context, Sensor
from edgeagent.sensors.modbus import ModbusSensor, Settings, layout
from edgeagent.sensors.on_serial import port_advice


class Options(Settings, frozen=True, kw_only=True):
    """The standard's own settings are 19200 baud, even; most devices leave the factory with 9600, none."""

    port: str
    device_id: Annotated[int, Between(1, 247)]
    baud: Baud = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Annotated[int, Between(1, 2)] = 1
    fake: FakeDevice = FakeDevice()


def advise(options: Options) -> Iterator[Advice]:
    return port_advice(options.port, options.baud)


def build(name: str, options: Options, context: Context) -> Sensor:
    wiring = Wiring(options.port, options.baud, options.parity, options.stop_bits)
    line = context.buses.modbus(wiring, options.fake)
    return ModbusSensor(name, options, line, options.device_id, context.clock)


__all__ = ["Options", "advise", "build", "layout"]

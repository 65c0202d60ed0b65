"""A Modbus device on the network, or behind a gateway (TCP).

    inverter: {driver: modbus_tcp, host: 192.168.1.20, registers: {power: {address: 40083, type: int16, unit: W}}}

A sensor for each device; those behind one gateway say the same `host`, and differ by `device_id`.
"""

from __future__ import annotations

import re
from typing import Annotated

from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.modbus import Wiring
from edgeagent.config.quantities import Between
from edgeagent.errors import ConfigFault
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.modbus import ModbusSensor, Settings, layout

TCP_PORT, MOST_PORT = 502, 65535
_HOST = re.compile(r"fake:\w+|(?:[^\s:/@\[\]]+|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]{1,5}))?")


class Options(Settings, frozen=True, kw_only=True):
    """`host` is a name or address, with `:port` if it is not 502. `device_id` matters behind a gateway."""

    host: str
    device_id: Annotated[int, Between(0, 255)] = 1
    fake: FakeDevice = FakeDevice()

    def __post_init__(self) -> None:
        host = _HOST.fullmatch(self.host)
        if host is None or not 0 < int(host["port"] or TCP_PORT) <= MOST_PORT:
            raise ConfigFault(
                f"{self.host!r} is no host",
                where="host",
                expected="a name or an address, with its port if that is not 502: 192.168.1.20, or meter.local:1502",
            )


def build(name: str, options: Options, context: Context) -> Sensor:
    plain = ":" not in options.host or options.host.endswith("]")  # [::1] is an address of its own colons
    wiring = Wiring(f"{options.host}:{TCP_PORT}" if plain else options.host)
    line = context.buses.modbus(wiring, options.fake)
    return ModbusSensor(name, options, line, options.device_id, context.clock)


__all__ = ["Options", "build", "layout"]

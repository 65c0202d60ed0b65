"""The hardware edge: one file a kind of bus, `fake/` for chips and devices that are not there."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from edgeagent.buses.fake import Fake
from edgeagent.timebase import Clock

if TYPE_CHECKING:
    from edgeagent.buses.i2c import I2cBus
    from edgeagent.buses.modbus import Line, Wiring


class Buses:
    """The buses that are in use, each opened once however many sensors hang on it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._i2c: dict[str, I2cBus] = {}
        self._modbus: dict[Wiring, Line] = {}
        self._lock = Lock()

    def i2c(self, name: str, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
        """The I2C bus `i2c-1`, `1` or `/dev/i2c-1`; `fake:CHIP` is a bus with that one virtual chip on it.

        Nothing is opened before the first transfer.
        """
        from edgeagent.buses.i2c import open_i2c

        bus = open_i2c(name, self._clock, fake)
        if name.startswith("fake:"):
            return bus
        with self._lock:
            return self._i2c.setdefault(bus.name, bus)  # i2c-1, 1 and /dev/i2c-1 are one bus

    def modbus(self, wiring: Wiring) -> Line:
        """The Modbus line on a port. Nothing is opened before the first request."""
        from edgeagent.buses.modbus import Line

        with self._lock:
            if wiring not in self._modbus:
                self._modbus[wiring] = Line(wiring, self._clock)
            return self._modbus[wiring]

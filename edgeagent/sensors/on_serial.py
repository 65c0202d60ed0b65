"""What the sensors on a serial port share."""

from __future__ import annotations

from collections.abc import Callable

from edgeagent.buses import Port
from edgeagent.records import Layout
from edgeagent.timebase import Clock


class OnSerial:
    """A sensor that listens to a port of its own."""

    truth: Callable[[int, int], str | None] | None = None

    def __init__(self, name: str, layout: Layout, serial: Port, clock: Clock) -> None:
        self.port = serial.path
        self.layout: Layout | None = layout
        self._name, self._clock = name, clock
        self._serial = serial
        self.wake: Callable[[], None] | None = serial.wake
        self._seq = 0

    def close(self) -> None:
        self._serial.close()

"""What the sensors on a serial port share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgeagent.buses import Port
from edgeagent.buses.ports import advice_on, advice_on_baud
from edgeagent.records import Layout
from edgeagent.sensors import Advice
from edgeagent.timebase import Clock


def port_advice(port: str, baud: int) -> Iterator[Advice]:
    """What `check` warns of where a port and its baud rate are stated."""
    if text := advice_on(port):
        yield Advice("port", text)
    if text := advice_on_baud(baud):
        yield Advice("baud", text)


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

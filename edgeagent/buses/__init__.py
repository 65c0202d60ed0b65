"""The hardware edge: one file a kind of bus, `fake/` for chips and devices that are not there."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Literal, Protocol

from edgeagent.buses.fake import Fake, FakeDevice
from edgeagent.timebase import Clock

if TYPE_CHECKING:
    from edgeagent.buses.i2c import I2cBus
    from edgeagent.buses.modbus import Line, Wiring


class Port(Protocol):
    """Bytes both ways: a serial port, a TCP connection, a fake line. One thread calls everything but `wake`."""

    path: str

    def open(self) -> None:
        """Open and configure; what is still open is closed first. Raises DeviceFault."""
        ...

    def read(self, wait_ns: int) -> bytes:
        """What has arrived, as soon as there is any; b"" at the time-out or after `wake`. Raises DeviceFault."""
        ...

    def write(self, data: bytes) -> None:
        """Send all of it. Raises DeviceFault."""
        ...

    def wake(self) -> None:
        """End a `read` that waits, from any thread."""
        ...

    def close(self) -> None:
        """Let go of it. Never raises."""
        ...


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

    def port(
        self,
        path: str,
        baud: int,
        fake: FakeDevice = FakeDevice(),  # noqa: B008
        *,
        parity: Literal["none", "even", "odd"] = "none",
        stop_bits: int = 1,
    ) -> Port:
        """A serial port, or (`baud` 0) the connection to `host:port`; `fake:DEVICE` has that virtual device behind it.

        Each call makes a new one; nothing is opened.
        """
        if path.startswith("fake:"):
            from edgeagent.buses.fake.line import fake_line

            return fake_line(path, self._clock, fake)
        if not baud:
            from edgeagent.buses.tcp import TcpPort

            return TcpPort(path, self._clock)
        from edgeagent.buses.serial import SerialPort

        return SerialPort(path, baud, self._clock, parity=parity, stop_bits=stop_bits)

    def modbus(self, wiring: Wiring, fake: FakeDevice = FakeDevice()) -> Line:  # noqa: B008
        """The Modbus line on a port. Nothing is opened before the first request; a fake device has its own."""
        with self._lock:
            if wiring.port.startswith("fake:") or wiring not in self._modbus:
                self._modbus[wiring] = self._line(wiring, fake)
            return self._modbus[wiring]

    def _line(self, wiring: Wiring, fake: FakeDevice) -> Line:
        from edgeagent.buses.modbus import Line

        parity, stop_bits = wiring.parity, wiring.stop_bits
        port = self.port(wiring.port, wiring.baud, fake, parity=parity, stop_bits=stop_bits)
        return Line(port, wiring.baud, self._clock)

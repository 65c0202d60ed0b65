"""What goes over a bus or a line: noted as it happens (`Spy`), and played again without the device (`Played`).

A driver is handed its buses; it cannot tell these from others. Each is for one sensor, whose reader is one thread.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from edgeagent.buses import Buses, Port
from edgeagent.buses.fake import Fake
from edgeagent.buses.i2c import Adapter, I2cBus
from edgeagent.errors import ConfigFault, DeviceDenied, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

T = TypeVar("T")

FAULTS: dict[str, type[DeviceFault]] = {
    kind.__name__: kind for kind in (DeviceFault, DeviceGone, DeviceDenied)
}


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `traffic.jsonl`.

    t_ns: When it was over, from the beginning of the recording.
    what: `connect` and `transfer` are I2C's, `open`, `read` and `write` a port's; `end`: the recording was over.
    address: The chip's.
    out: What the host sent, in hex.
    back: What it got, in hex.
    errno: How the kernel refused a transfer or the bus.
    fault: How a port failed: one of FAULTS, and what it said.
    """

    t_ns: int
    what: Literal["connect", "transfer", "open", "read", "write", "end"]
    address: int = 0
    out: str = ""
    back: str = ""
    errno: int = 0
    fault: tuple[str, str] | None = None


class EndOfTraffic(Exception):
    """The driver asks for more than was recorded."""


# --- recording --------------------------------------------------------------------------------------


class Spy(Buses):
    """Buses that note in `events` what goes over them."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.events: list[Event] = []
        self._began_ns = clock.now_ns()
        self._listens = True
        self.is_used = False  # a driver asks for its bus when it is built

    def note(self, what: Any, **more: Any) -> None:
        if self._listens:
            self.events.append(Event(self._clock.now_ns() - self._began_ns, what, **more))

    def deafen(self) -> None:
        """Note no more."""
        self._listens = False

    def i2c(self, name: str, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
        self.is_used = True
        bus = super().i2c(name, fake)
        connect = bus.connect
        bus.connect = lambda: self._connect(connect)
        return bus

    def port(self, *args: Any, **more: Any) -> Port:
        self.is_used = True
        return _SpiedPort(super().port(*args, **more), self)

    def _connect(self, connect: Callable[[], Adapter]) -> Adapter:
        try:
            return _SpiedAdapter(connect(), self)
        except OSError as e:
            self.note("connect", errno=e.errno or 0)
            raise


class _SpiedAdapter:
    def __init__(self, adapter: Adapter, spy: Spy) -> None:
        self._adapter, self._spy = adapter, spy
        self.close = adapter.close

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        try:
            back = self._adapter.transfer(address, out, n)
        except OSError as e:
            self._spy.note("transfer", address=address, out=out.hex(), errno=e.errno or 0)
            raise
        self._spy.note("transfer", address=address, out=out.hex(), back=back.hex())
        return back


class _SpiedPort:
    def __init__(self, port: Port, spy: Spy) -> None:
        self.path = port.path
        self._port, self._spy = port, spy
        self.wake, self.close = port.wake, port.close

    def open(self) -> None:
        self._try("open", self._port.open)
        self._spy.note("open")

    def read(self, wait_ns: int) -> bytes:
        data = self._try("read", lambda: self._port.read(wait_ns))
        if data:
            self._spy.note("read", back=data.hex())
        return data

    def write(self, data: bytes) -> None:
        self._try("write", lambda: self._port.write(data))
        self._spy.note("write", out=data.hex())

    def _try(self, what: str, deed: Callable[[], T]) -> T:
        try:
            return deed()
        except DeviceFault as fault:
            self._spy.note(what, fault=(type(fault).__name__, fault.what))
            raise


# --- playing ----------------------------------------------------------------------------------------


class Played(Buses):
    """Buses on which a recording is played, on a clock that stands still but for it.

    Raises EndOfTraffic when it is over, ConfigFault if the driver asks a chip for something else than it did then.
    """

    def __init__(self, clock: Clock, events: Iterable[Event]) -> None:
        super().__init__(clock)
        self.script = Script(clock, events)

    def i2c(self, name: str, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
        del fake
        return I2cBus(name, self._clock, lambda: _PlayedAdapter(self.script))

    def port(self, path: str, *args: Any, **more: Any) -> Port:
        del args, more
        return _PlayedPort(path, self._clock, self.script)


class Script:
    """The events that are still to come, and the clock that goes by them."""

    def __init__(self, clock: Clock, events: Iterable[Event]) -> None:
        self._clock = clock
        self._zero_ns = clock.now_ns()
        self._events = deque(enumerate(events, 1))

    def next(self) -> Event:
        """What comes next; stays there. Raises EndOfTraffic."""
        if not self._events:
            raise EndOfTraffic
        return self._events[0][1]

    def at_ns(self, event: Event) -> int:
        return self._zero_ns + event.t_ns

    def take(self) -> tuple[int, Event]:
        """What comes next with its line, at its time."""
        event = self.next()
        self.wait_until(self.at_ns(event))
        if event.what == "end":
            raise EndOfTraffic
        return self._events.popleft()

    def skip_to(self, what: str) -> Event:
        """The next of a kind, whatever was before it."""
        while self.next().what != what:
            self._events.popleft()
        return self.take()[1]

    def drop_first(self, what: str) -> None:
        """Something has happened now that was recorded for later; what stands before it is still to come."""
        if (found := next((pair for pair in self._events if pair[1].what == what), None)) is not None:
            self._events.remove(found)

    def wait_until(self, t_ns: int) -> None:
        self._clock.sleep_s(max(t_ns - self._clock.now_ns(), 0) / NS_PER_S)


class _PlayedAdapter:
    def __init__(self, script: Script) -> None:
        self._script = script
        if script.next().what == "connect":
            _raise_errno(script.take()[1])

    def transfer(self, address: int, out: bytes, n: int) -> bytes:
        line, event = self._script.take()
        same = event.what == "transfer" and (event.address, event.out) == (address, out.hex())
        if not same or not (event.errno or len(event.back) == 2 * n):
            raise ConfigFault(
                f"the driver asks {address:#04x} for {n} bytes after {out.hex(' ')!r}",
                where=f"line {line} of the recorded traffic",
                expected=f"{event.address:#04x}, {len(event.back) // 2} bytes after {event.out!r}",
                hint="The driver has changed since: record the traffic anew.",
            )
        _raise_errno(event)
        return bytes.fromhex(event.back)

    def close(self) -> None:
        """Nothing is held."""


class _PlayedPort:
    """What the driver writes is not compared, for heartbeats fall otherwise in each run: it paces the answers."""

    def __init__(self, path: str, clock: Clock, script: Script) -> None:
        self.path = path
        self._clock, self._script = clock, script

    def open(self) -> None:
        self._raise_fault(self._script.skip_to("open"))

    def read(self, wait_ns: int) -> bytes:
        """A read that did not wait got what is next, whatever the clock says."""
        until_ns = self._clock.now_ns() + wait_ns
        event = self._script.next()
        is_due = self._script.at_ns(event) <= until_ns
        if event.what in ("read", "end") and (is_due or (event.what == "read" and not wait_ns)):
            _, event = self._script.take()
            self._raise_fault(event)
            return bytes.fromhex(event.back)
        self._script.wait_until(until_ns)
        return b""

    def write(self, data: bytes) -> None:
        del data
        event = self._script.next()
        if event.what == "write":
            self._script.take()
            self._raise_fault(event)
        else:
            self._script.drop_first("write")

    def wake(self) -> None:
        """No read waits: the clock does."""

    def close(self) -> None:
        """Nothing is held."""

    def _raise_fault(self, event: Event) -> None:
        if event.fault is not None:
            kind, what = event.fault
            raise FAULTS.get(kind, DeviceFault)(what, where=self.path)


def _raise_errno(event: Event) -> None:
    if event.errno:
        raise OSError(event.errno, os.strerror(event.errno))


# --- on disk ----------------------------------------------------------------------------------------


def write_traffic(file: Path, events: Iterable[Event]) -> None:
    """A line an event."""
    file.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))


def read_traffic(file: Path) -> list[Event]:
    """Raises ConfigFault for a line that is no event."""
    events = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            events.append(msgspec.json.decode(line, type=Event))
        except msgspec.DecodeError as e:
            raise ConfigFault(str(e), where=f"{file}:{number}") from e
    return events

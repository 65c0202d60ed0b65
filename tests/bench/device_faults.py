"""A device that is pulled and put back, in real time; what a dead one costs its neighbours, on virtual time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import numpy as np

from bench.figure import Figure
from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake, FakeDevice
from edgeagent.buses.fake.chip import FakeWires
from edgeagent.buses.fake.line import FakeLine, Program
from edgeagent.buses.fake.meter import Meter
from edgeagent.buses.fake.port import FakePort
from edgeagent.buses.fake.tmp102 import build as tmp102_chip
from edgeagent.buses.i2c import I2cBus
from edgeagent.buses.modbus import Line
from edgeagent.records import NS_PER_MS, NS_PER_S, Block
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.lines import Column
from edgeagent.sensors.modbus import ModbusSensor, Register, Settings
from edgeagent.sensors.tmp102 import Options as Tmp102Options
from edgeagent.sensors.tmp102 import build as build_tmp102

REPLUGS, MOST_S, PATIENCE_S = 5, 2.0, 30.0
SAYS_HZ = 20.0  # so that the wait for what a device says by itself is not what is measured
REGISTER = Register(address=1, unit="V")
PLUGGED: dict[str, dict[str, Any]] = {  # what each driver is told beside its port, and what is plugged in
    "serial_text": {"fake": "printer", "channels": [Column(name=n, unit="1") for n in "ab"], "rate": SAYS_HZ},
    "bridge": {"fake": "board"},
    "nmea": {"fake": "gps", "rate": SAYS_HZ},
    "modbus_rtu": {"fake": "meter", "device_id": 3, "registers": {"a": REGISTER}, "rate": SAYS_HZ},
}
DELAY_MS = 10.0
VIRTUAL_S = 600.0
RATE_HZ = 3.7  # no whole part of the time between two tries of what is dead: they meet at every phase
ANSWER_S = 0.025
FIRST_S = 5.0  # a Modbus device is known to be silent once its first time-out of 0.3 s is over


def measure() -> Iterator[Figure]:
    for driver in PLUGGED:
        took_s = [_replug(driver, away_s=0.1 + 0.4 * k) for k in range(REPLUGS)]
        yield Figure(
            f"{driver} unplugged, back under another name: {REPLUGS} times, the worst",
            f"{max(took_s):.2f} s",
            f"{median(took_s):.2f} s",
            "",
            f"<= {MOST_S:.0f} s",
            max(took_s) <= MOST_S,
        )
    for what, pair in (
        ("a dead sensor delays the other of its I2C bus by", _on_i2c),
        ("a dead sensor delays the other of its Modbus line by", _on_modbus),
        ("one that dies delays the other of its Modbus line by", _dying_on_modbus),
    ):
        alone_ms, beside_ms = (_worst_lateness_ms(pair, dead=dead) for dead in (False, True))
        yield Figure(
            what,
            f"{beside_ms - alone_ms:.1f} ms",
            "",
            "",
            f"<= {DELAY_MS:.0f} ms",
            beside_ms - alone_ms <= DELAY_MS,
        )


class Plugged(FakePort):
    """A device with this program, from now on until it is unplugged."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self._program, self._stop = program, Event()
        self._thread = Thread(target=self._live)
        self._thread.start()

    def _live(self) -> None:
        while not self._stop.is_set():
            heard = self.receive(0.001)
            for message in self._program.step(time.monotonic_ns(), heard):
                self.send(message)

    def unplug(self) -> None:
        self._stop.set()
        self._thread.join()
        super().unplug()


def _plug_in(driver: str) -> Plugged:
    fake = import_module(f"edgeagent.buses.fake.{PLUGGED[driver]['fake']}")
    return Plugged(fake.program(FakeDevice(rate=SAYS_HZ)))


def _replug(driver: str, away_s: float) -> float:
    """From the new link to the first block, in s."""
    clock, inbox = RealClock(), Inbox()
    with TemporaryDirectory() as folder:
        link = Path(folder) / "usb-Arduino_Uno_5573-if00"
        module = import_module(f"edgeagent.sensors.{driver}")
        told = {key: value for key, value in PLUGGED[driver].items() if key != "fake"}
        sensor = module.build("press", module.Options(port=str(link), **told), Context(clock, Buses(clock)))
        device = Device("press", sensor, clock, inbox)
        reader = Reader(str(link), [device], clock, inbox)
        before = _plug_in(driver)
        link.symlink_to(before.path)
        reader.start()
        _wait_until(lambda: device.state == "ok")
        before.unplug()
        link.unlink()
        _wait_until(lambda: device.state == "gone")
        while inbox.get(0.0) is not None:
            pass
        time.sleep(away_s)
        back = _plug_in(driver)
        link.symlink_to(back.path)
        began_s = time.monotonic()
        _wait_until(lambda: isinstance(inbox.get(0.0), Block))
        took_s = time.monotonic() - began_s
        reader.stop()
        assert reader.thread is not None
        reader.thread.join()
        back.unplug()
    return took_s


def _wait_until(true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


# --- a dead neighbour -------------------------------------------------------------------------------

Pair = Callable[[VirtualClock], tuple[Sensor, Sensor]]


class OneBus(Buses):
    """Two chips on one pair of wires; the one at 0x49 does not answer."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        wires = FakeWires({0x48: tmp102_chip(clock, Fake())})
        self._one = I2cBus("/dev/i2c-1", clock, lambda: wires)

    def i2c(self, name: str, fake: Fake = Fake()) -> I2cBus:  # noqa: B008
        del name, fake
        return self._one


class Deaf(Meter):
    """Only device 3 is on the line; the other answers for a time, or never, and then never again."""

    def __init__(self, answers_until_s: float) -> None:
        super().__init__(FakeDevice())
        self._until_ns = answers_until_s * NS_PER_S

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        answers = heard[:1] == b"\x03" or now_ns < self._until_ns
        return super().step(now_ns, heard if answers else b"")


def _on_i2c(clock: VirtualClock) -> tuple[Sensor, Sensor]:
    context = Context(clock, OneBus(clock))
    alive, dead = (Tmp102Options(bus="i2c-1", address=address, rate=RATE_HZ) for address in (0x48, 0x49))
    return build_tmp102("alive", alive, context), build_tmp102("dead", dead, context)


def _on_modbus(clock: VirtualClock, answers_until_s: float = 0.0) -> tuple[Sensor, Sensor]:
    answering = FakeDevice(slow=ANSWER_S)
    line = Line(FakeLine("fake:meter", clock, Deaf(answers_until_s), answering), 9600, clock)
    settings = Settings(registers={"a": Register(address=1, unit="V")}, rate=RATE_HZ)
    return (
        ModbusSensor("alive", settings, line, 3, clock),
        ModbusSensor("dead", settings, line, 9, clock),
    )


def _dying_on_modbus(clock: VirtualClock) -> tuple[Sensor, Sensor]:
    return _on_modbus(clock, answers_until_s=60.0)


def _worst_lateness_ms(pair: Pair, *, dead: bool) -> float:
    """How far the readings of the sound one lie apart from their grid, with and without the dead one beside it."""
    clock, inbox, never = VirtualClock(NS_PER_S), Inbox(), Event()
    sensors = pair(clock) if dead else pair(clock)[:1]
    devices = [Device(f"s{i}", sensor, clock, inbox) for i, sensor in enumerate(sensors)]
    t_ns: list[int] = []
    while clock.now_ns() < VIRTUAL_S * NS_PER_S:
        clock.wait(never, min(device.due_ns() for device in devices))
        for device in devices:
            if device.due_ns() <= clock.now_ns():
                device.step()
        while (message := inbox.get(0.0)) is not None:
            t_ns += message.t_mono_ns.tolist() if isinstance(message, Block) else []
    assert len(t_ns) >= (VIRTUAL_S - 2) * RATE_HZ, "the sound one missed deadlines"
    known_ns = np.array([t for t in t_ns if t >= t_ns[0] + FIRST_S * NS_PER_S])
    period_ns = NS_PER_S / RATE_HZ
    off_ns = (known_ns - known_ns[0] + period_ns / 2) % period_ns - period_ns / 2
    return float((off_ns - np.median(off_ns)).max()) / NS_PER_MS

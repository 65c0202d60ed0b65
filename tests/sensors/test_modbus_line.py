"""Several Modbus devices on one line, on virtual time: what one that is dead costs the others."""

from __future__ import annotations

import time
from threading import Event
from typing import NamedTuple

import numpy as np
import pytest
from driving import next_block

from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.line import FakeLine
from edgeagent.buses.fake.meter import NEVER_NS, Meter
from edgeagent.buses.modbus import Line
from edgeagent.errors import DeviceGone
from edgeagent.records import NS_PER_MS, NS_PER_S, Block
from edgeagent.sensors import modbus_rtu
from edgeagent.sensors.modbus import ModbusSensor, Register

FLOW = Register(address=100, type="float32", unit="L/min")
PATIENCE_S = 90.0
MOST_LATE_MS = 10.0


class SomeOfAll(Meter):
    """A line on which those answer that are said to."""

    def __init__(self, *answering: int) -> None:
        super().__init__(FakeDevice())
        self.asked: list[int] = []
        self.answering = set(answering)
        self.held_up_ns: dict[int, int] = {}  # by device, how long it takes for its next answer
        self._held: list[tuple[int, bytes]] = []

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        self.asked += heard[:1]
        said = super().step(now_ns, heard if self.answering.intersection(heard[:1]) else b"")
        at_ns = now_ns + (self.held_up_ns.pop(heard[0], 0) if heard else 0)
        self._held += [(at_ns, answer) for answer in said]
        ready = [answer for at_ns, answer in self._held if at_ns <= now_ns]
        self._held = [(at_ns, answer) for at_ns, answer in self._held if at_ns > now_ns]
        return ready

    def due_ns(self) -> int:
        return min((at_ns for at_ns, _ in self._held), default=NEVER_NS)


class Wires:
    """Sensors on such a line, on virtual time: what a busy machine does to the clock is no part of the matter."""

    def __init__(self, *answering: int, answer_s: float = 0.0) -> None:
        self.clock, self.program = VirtualClock(NS_PER_S), SomeOfAll(*answering)
        self.port = FakeLine("fake:meter", self.clock, self.program, FakeDevice(slow=answer_s))
        self._line = Line(self.port, 9600, self.clock)

    def sensor(self, device_id: int, rate_hz: float, timeout_s: float = 0.2) -> ModbusSensor:
        settings = modbus_rtu.Options(
            port="fake:meter", device_id=device_id, registers={"flow": FLOW}, rate=rate_hz, timeout=timeout_s
        )
        return ModbusSensor(f"meter{device_id}", settings, self._line, device_id, self.clock)


class Case(NamedTuple):
    """A line: how often each of its devices is asked, and how long each takes to answer."""

    rates_hz: list[float]
    answer_s: float


class Site:
    """A line with devices 1 to n, and its reader's steps on virtual time."""

    def __init__(self, case: Case, *answering: int) -> None:
        self._wires, self._inbox = Wires(*answering, answer_s=case.answer_s), Inbox()
        self._clock = self._wires.clock
        self.devices = [
            Device(f"meter{n}", self._wires.sensor(n, rate_hz, timeout_s=0.3), self._clock, self._inbox)
            for n, rate_hz in enumerate(case.rates_hz, 1)
        ]
        self.read_ns: dict[str, list[int]] = {device.name: [] for device in self.devices}

    def runs(self, seconds: float, *answering: int) -> None:
        """Only those answer meanwhile."""
        self._wires.program.answering = set(answering)
        end_ns, never = self._clock.now_ns() + round(seconds * NS_PER_S), Event()
        while self._clock.now_ns() < end_ns:
            self._clock.wait(never, min(device.due_ns() for device in self.devices))
            for device in self.devices:
                if device.due_ns() <= self._clock.now_ns():
                    device.step()
            while (message := self._inbox.get(0.0)) is not None:
                if isinstance(message, Block) and not np.isnan(message.values).any():
                    self.read_ns[message.sensor] += message.t_mono_ns.tolist()


LINES = {
    "five at 2 Hz": Case([2.0] * 5, 0.03),
    "two at 10 Hz": Case([10.0] * 2, 0.02),
    "three that meet at every phase": Case([3.7, 2.9, 1.3], 0.025),
    "eight slow ones": Case([1.0] * 8, 0.04),
    "three that fill the line": Case([10.0] * 3, 0.022),
}


@pytest.mark.parametrize("case", LINES.values(), ids=LINES)
def test_one_that_dies_delays_no_reading_of_the_others_by_more_than_10_ms(case: Case) -> None:
    """Reading by reading, beside the same line on which it lives."""
    everyone = range(1, len(case.rates_hz) + 1)
    sound, struck = Site(case, *everyone), Site(case, *everyone)
    for site, answering in ((sound, everyone), (struck, everyone[1:])):
        site.runs(10.3, *everyone)
        site.runs(30.0, *answering)
    assert struck.devices[0].status()["state"] == "gone"
    for device, rate_hz in zip(struck.devices[1:], case.rates_hz[1:], strict=True):
        alone, beside = (np.array(site.read_ns[device.name]) for site in (sound, struck))
        readings = min(len(alone), len(beside))
        assert readings > 38 * rate_hz
        late_ms = (beside[:readings] - alone[:readings]) / NS_PER_MS
        assert late_ms.max() <= MOST_LATE_MS
        assert device.sensor.counters()["deadlines_missed"] == device.sensor.counters()["answers_none"] == 0


@pytest.mark.parametrize("case", LINES.values(), ids=LINES)
def test_one_that_answers_again_is_read_again_in_10_s(case: Case) -> None:
    everyone = range(1, len(case.rates_hz) + 1)
    site = Site(case, *everyone)
    site.runs(5.0, *everyone)
    site.runs(20.0, *everyone[1:])
    before = len(site.read_ns["meter1"])
    site.runs(10.0, *everyone)
    assert site.devices[0].status()["state"] == "ok"
    assert len(site.read_ns["meter1"]) > before


@pytest.mark.parametrize("rate_hz", [1.0, 2.0, 5.0])
def test_one_that_has_never_answered_delays_no_reading_by_more_than_10_ms_and_is_found_when_it_does(
    rate_hz: float,
) -> None:
    case = Case([rate_hz] * 3, 0.03)
    site = Site(case, 2, 3)
    site.runs(3.0, 2, 3)  # at the start it is given its whole time-out, for nobody knows it yet
    site.read_ns = {name: [] for name in site.read_ns}
    site.runs(40.0, 2, 3)
    for name in ("meter2", "meter3"):
        off_ns = np.diff(site.read_ns[name]) - NS_PER_S / rate_hz
        assert abs(off_ns).max() <= MOST_LATE_MS * NS_PER_MS
    site.runs(10.0, 1, 2, 3)
    assert site.devices[0].status()["state"] == "ok"


def test_an_answer_that_comes_after_all_patience_is_not_taken_for_a_neighbours() -> None:
    wires = Wires(3, 9)
    slow, neighbour = wires.sensor(9, 2.0, timeout_s=1.0), wires.sensor(3, 2.0)
    neighbour.open()
    slow.open()
    next_block(neighbour, wires.clock)
    room_ns = neighbour.due_ns() - slow.due_ns()
    assert 0 < room_ns < 0.5 * NS_PER_S
    wires.program.held_up_ns = {9: room_ns + 12 * NS_PER_MS, 3: 20 * NS_PER_MS}  # in the midst of its answer
    assert np.isnan(next_block(slow, wires.clock).values).all()
    assert not np.isnan(next_block(neighbour, wires.clock).values).any()
    assert neighbour.counters()["answers_none"] == 0
    assert neighbour.counters()["answers_bad"] == 1


def test_a_dead_device_neither_delays_nor_discards_the_others() -> None:
    """As the reader's own thread does it."""
    wires, inbox = Wires(3), Inbox()
    alive = Device("alive", wires.sensor(3, rate_hz=2.0), wires.clock, inbox)
    dead = Device("dead", wires.sensor(9, rate_hz=1.0), wires.clock, inbox)
    reader = Reader("fake:meter", [alive, dead], wires.clock, inbox)
    reader.start()
    deadline = time.monotonic() + PATIENCE_S
    while dead.sensor.counters()["answers_none"] < 20:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    reader.stop()
    assert reader.thread is not None
    reader.thread.join()
    assert (alive.status()["state"], dead.status()["state"]) == ("ok", "gone")
    counters = alive.sensor.counters()
    assert (counters["deadlines_missed"], counters["readings_bad"], counters["answers_none"]) == (0, 0, 0)
    assert counters["late_p99_ms"] < 100


def test_on_a_line_that_is_never_free_a_dead_device_is_not_asked_again_so_soon() -> None:
    wires = Wires(3)
    busy, dead = wires.sensor(3, rate_hz=25.0), wires.sensor(9, rate_hz=1.0)
    busy.open()
    with pytest.raises(DeviceGone, match="no answer"):
        dead.open()
    dead.close()
    next_block(busy, wires.clock)
    before_ns = wires.clock.now_ns()
    with pytest.raises(DeviceGone, match="when last asked"):
        dead.open()
    assert wires.clock.now_ns() == before_ns, "nor is it waited for"
    assert wires.program.asked.count(9) == dead.counters()["answers_none"] == 1

"""Several Modbus devices on one line, on virtual time: what one that is dead costs the others."""

from __future__ import annotations

import time

import numpy as np
import pytest
from driving import next_block

from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.line import FakeLine
from edgeagent.buses.fake.meter import Meter
from edgeagent.buses.modbus import Line
from edgeagent.errors import DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.sensors import modbus_rtu
from edgeagent.sensors.modbus import ModbusSensor, Register

FLOW = Register(address=100, type="float32", unit="L/min")
PATIENCE_S = 90.0


class OneOfTwo(Meter):
    """A line on which device 3 answers, and no other as long as nothing else is said."""

    def __init__(self) -> None:
        super().__init__(FakeDevice())
        self.asked: list[int] = []
        self.answering = {3}

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        self.asked += heard[:1]
        return super().step(now_ns, heard if self.answering.intersection(heard[:1]) else b"")


class Wires:
    """Sensors on such a line, on virtual time: what a busy machine does to the clock is no part of the matter."""

    def __init__(self) -> None:
        self.clock, self.program = VirtualClock(NS_PER_S), OneOfTwo()
        port = FakeLine("fake:meter", self.clock, self.program, FakeDevice())
        self._line = Line(port, 9600, self.clock)

    def sensor(self, device_id: int, rate_hz: float) -> ModbusSensor:
        settings = modbus_rtu.Options(
            port="fake:meter", device_id=device_id, registers={"flow": FLOW}, rate=rate_hz, timeout=0.2
        )
        return ModbusSensor(f"meter{device_id}", settings, self._line, device_id, self.clock)


def test_a_dead_device_neither_delays_nor_discards_the_others() -> None:
    """The dead one is asked for 200 ms each second; the one beside it, each 500 ms, never waits for it."""
    wires, inbox = Wires(), Inbox()
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


def test_the_first_silence_of_a_device_that_answered_costs_the_others_a_quarter_of_its_timeout() -> None:
    wires = Wires()
    wires.program.answering = {3, 9}
    alive, dying = wires.sensor(3, rate_hz=2.0), wires.sensor(9, rate_hz=2.0)
    alive.open()
    dying.open()
    for _ in range(3):
        next_block(dying, wires.clock)
        next_block(alive, wires.clock)
    wires.program.answering = {3}
    wires.clock.sleep_s((alive.due_ns() - wires.clock.now_ns()) / NS_PER_S)  # both are due
    due_ns = wires.clock.now_ns()
    assert np.isnan(next_block(dying, wires.clock).values).all()
    assert wires.clock.now_ns() - due_ns < 0.2 / 2 * NS_PER_S  # the requests take their time on the line too
    assert not np.isnan(next_block(alive, wires.clock).values).any()
    assert dying.counters()["answers_none"] == 1


def test_on_a_line_that_is_never_free_a_dead_device_is_not_asked_again_so_soon() -> None:
    wires = Wires()
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

"""One sensor and its health, and the thread of its port."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

import numpy as np
import pytest
from agents import wait_for

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import INBOX_BLOCKS, Announced, Inbox
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone, WrongDevice
from edgeagent.records import NS_PER_S, Block, Channel, Layout
from edgeagent.windows import Ring

LAYOUT = Layout(10.0, (Channel("x", "V"),))
PERIOD_NS = NS_PER_S // 10


class Probe:
    """A sensor that does as it is told: each reading is an error to raise, or how many samples there are."""

    port = "probe"
    wake: Callable[[], None] | None = None
    truth: Callable[[int, int], str | None] | None = None

    def __init__(self, clock: RealClock | VirtualClock, *readings: Exception | int) -> None:
        self.layout: Layout | None = LAYOUT
        self.readings = list(readings)
        self.is_open = False
        self.opened = self.closed = self._taken = self._due_ns = 0
        self._clock = clock

    def open(self) -> None:
        self.is_open = True
        self.opened += 1

    def due_ns(self) -> int:
        return self._due_ns

    def read(self) -> Block | None:
        self._due_ns = self._clock.now_ns() + NS_PER_S // 100
        reading = self.readings.pop(0) if self.readings else 0
        if isinstance(reading, Exception):
            raise reading
        if not reading:
            return None
        k = np.arange(self._taken, self._taken + reading)
        self._taken += reading
        return Block(
            "probe", self._taken, k * PERIOD_NS, k.astype(np.float32)[:, None], int(k[-1]) * PERIOD_NS
        )

    def close(self) -> None:
        self.is_open = False
        self.closed += 1

    def counters(self) -> dict[str, int | float]:
        return {}


def blocks(inbox: Inbox) -> list[Block]:
    found = []
    while (message := inbox.get(0)) is not None:
        if isinstance(message, Block):
            found.append(message)
    return found


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(now_ns=10**12)


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        (DeviceGone("no such port"), "gone"),
        (DeviceDenied("not for this user"), "denied"),
        (WrongDevice("WHO_AM_I 0x71"), "wrong-device"),
        (DeviceFault("bus stuck"), "degraded"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_a_sensor_that_fails_at_the_start_says_so_once_and_once_when_it_is_back(
    fault: DeviceFault, state: str, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    probe = Probe(clock, fault, fault, fault, 5)
    device = Device("meter", probe, clock, Inbox())
    for _ in range(3):
        device.step()
        assert device.status()["state"] == state
        clock.sleep_s(60)
    device.step()
    assert (device.status()["state"], device.status()["rate_hz"]) == ("ok", LAYOUT.rate_hz)
    assert caplog.messages == [f"sensor meter is {state}: {fault}", "sensor meter is back after 180.0 s"]
    assert (probe.opened, probe.closed) == (4, 3), "after a fault it starts from nothing"


def test_a_number_that_changes_in_a_faults_words_is_no_news(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    device = Device(
        "meter", Probe(clock, *(DeviceGone(f"in use by pid {i}") for i in range(5))), clock, Inbox()
    )
    for _ in range(5):
        device.step()
    assert len(caplog.messages) == 1
    assert device.status()["reason"] == "in use by pid 4"


def test_a_fault_of_another_kind_is_news(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    device = Device("meter", Probe(clock, DeviceGone("unplugged"), DeviceDenied("no right")), clock, Inbox())
    device.step()
    device.step()
    assert caplog.messages == ["sensor meter is gone: unplugged", "sensor meter is denied: no right"]


def test_it_is_tried_again_after_1_2_4_to_30_s_and_soon_again_once_it_was_well(clock: VirtualClock) -> None:
    probe = Probe(clock, *[DeviceFault("bus stuck")] * 7, 5, DeviceFault("bus stuck"))
    device = Device("meter", probe, clock, Inbox())
    waits = []
    for _ in range(9):
        device.step()
        waits.append((device.due_ns() - clock.now_ns()) / NS_PER_S)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 0.01, 1]


def test_one_that_is_gone_is_looked_for_at_least_each_second(clock: VirtualClock) -> None:
    device = Device("meter", Probe(clock, *[DeviceGone("unplugged")] * 5), clock, Inbox())
    for _ in range(5):
        device.step()
        assert 0 < device.due_ns() - clock.now_ns() <= NS_PER_S


def test_samples_that_a_full_inbox_turns_away_are_missing_exactly(clock: VirtualClock) -> None:
    inbox = Inbox()
    device = Device("probe", Probe(clock, 3, 4, 5, 6), clock, inbox)
    device.step()
    for _ in range(INBOX_BLOCKS - 2):
        inbox.offer(Block("other", 0, np.zeros(0, np.int64), np.zeros((0, 1), np.float32), 0))
    device.step()  # 4 turned away
    device.step()  # 5 turned away
    first = blocks(inbox)
    device.step()
    last = blocks(inbox)
    assert device.status()["turned_away"] == 9
    ring = Ring(LAYOUT, keep_s=10)
    missing = sum(ring.add(block) for block in [*first, *last] if block.sensor == "probe")
    assert (missing, ring.samples, ring.end) == (9, 9, 18)


def test_a_layout_is_announced_before_its_first_block_and_again_when_it_changes(clock: VirtualClock) -> None:
    inbox = Inbox()
    probe = Probe(clock, 1, 1, 1)
    device = Device("probe", probe, clock, inbox)
    device.step()
    device.step()
    probe.layout = Layout(20.0, LAYOUT.channels)
    device.step()
    order = [message for _ in range(5) if (message := inbox.get(0)) is not None]
    assert [type(message) for message in order] == [Announced, Block, Block, Announced, Block]
    assert order[3] == Announced("probe", probe.layout)


class Deaf(Probe):
    """A sensor whose driver does not come back until it is let."""

    def __init__(self, clock: RealClock | VirtualClock) -> None:
        super().__init__(clock)
        self.let = Event()

    def due_ns(self) -> int:
        return 0

    def read(self) -> Block | None:
        self.let.wait()
        return None


def test_a_driver_that_does_not_come_back_is_told_as_hung() -> None:
    clock, inbox = VirtualClock(), Inbox()
    deaf = Deaf(clock)
    device = Device("deaf", deaf, clock, inbox)
    reader = Reader("probe", [device], clock, inbox)
    reader.start()
    wait_for(lambda: deaf.is_open)
    assert device.status()["state"] == "starting"
    clock.sleep_s(11)
    assert device.status()["state"] == "hung"
    assert "11 s" in device.status()["reason"]
    reader.stop()
    deaf.let.set()
    assert reader.thread is not None
    reader.thread.join(60)
    assert not deaf.is_open


def test_a_reader_that_follows_another_waits_for_it_and_takes_its_devices_open() -> None:
    clock, inbox = RealClock(), Inbox()
    deaf, probe = Deaf(clock), Probe(clock)
    stays, goes = Device("stays", probe, clock, inbox), Device("goes", deaf, clock, inbox)
    old = Reader("probe", [stays, goes], clock, inbox)
    old.start()
    wait_for(lambda: deaf.is_open and probe.is_open)
    new = Reader("probe", [stays], clock, inbox, after=old)
    old.stop(handed_on=[stays])
    probe.readings = [1]
    new.start()
    assert old.thread is not None
    assert new.thread is not None
    old.thread.join(0.05)
    assert probe.readings == [1], "the old one may be in the middle of a transfer"
    deaf.let.set()
    wait_for(lambda: not probe.readings)
    assert (probe.opened, probe.closed, deaf.closed) == (1, 0, 1)
    new.stop()
    new.thread.join(60)
    assert probe.closed == 1

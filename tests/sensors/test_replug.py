"""A device that is unplugged and comes back under another number, as the agent's own reader sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.agent.clock import ScaledClock
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox
from edgeagent.buses import Buses
from edgeagent.buses.fake.port import FakePort
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context
from edgeagent.sensors.lines import Column
from edgeagent.sensors.serial_text import Options, build

SPEED = 20.0


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("away_s", [0.1, 20.0])
def test_an_unplugged_and_replugged_device_is_reading_again_in_2_s(tmp_path: Path, away_s: float) -> None:
    link = tmp_path / "usb-Arduino_Uno_5573-if00"
    clock = ScaledClock(SPEED, time.monotonic_ns())
    options = Options(port=str(link), channels=[Column(name="a", unit="1")])
    device = Device("press", build("press", options, Context(clock, Buses(clock))), clock, Inbox())
    reader = Reader(str(link), [device], clock, Inbox())
    before, back = FakePort(), FakePort()
    link.symlink_to(before.path)
    reader.start()
    wait_until(lambda: device.status()["state"] == "ok")
    before.unplug()
    link.unlink()
    wait_until(lambda: device.status()["state"] == "gone")
    clock.sleep_s(away_s)
    link.symlink_to(back.path)
    replugged_ns = clock.now_ns()
    wait_until(lambda: device.status()["state"] == "ok")
    assert clock.now_ns() - replugged_ns < 2 * NS_PER_S
    reader.stop()
    assert reader.thread is not None
    reader.thread.join()
    back.unplug()

"""A device that is unplugged and comes back under another number, as the agent's own reader sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.readers import Device
from edgeagent.agent.threads import Inbox
from edgeagent.buses import Buses
from edgeagent.buses.fake.port import FakePort
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context
from edgeagent.sensors.lines import Column
from edgeagent.sensors.serial_text import Options, build


class Cable:
    """The reader's steps on virtual time: a device is looked at when it is due, and time passes in between."""

    def __init__(self, device: Device, clock: VirtualClock) -> None:
        self._device, self._clock = device, clock

    def runs(self, seconds: float) -> str:
        """The device's state after so long."""
        end_ns = self._clock.now_ns() + round(seconds * NS_PER_S)
        while (due_ns := max(self._device.due_ns(), self._clock.now_ns())) < end_ns:
            self._clock.sleep_s((due_ns - self._clock.now_ns()) / NS_PER_S)
            self._device.step()
            self._clock.sleep_s(0.001)  # a port that is open is due at once: its read waits, in real time
        return str(self._device.status()["state"])


@pytest.mark.parametrize("away_s", [0.1, 20.0])
def test_an_unplugged_and_replugged_device_is_open_again_in_half_a_second(
    tmp_path: Path, away_s: float
) -> None:
    link, clock = tmp_path / "usb-Arduino_Uno_5573-if00", VirtualClock(NS_PER_S)
    options = Options(port=str(link), channels=[Column(name="a", unit="1")])
    device = Device("press", build("press", options, Context(clock, Buses(clock))), clock, Inbox())
    reader = Cable(device, clock)
    before, back = FakePort(), FakePort()
    link.symlink_to(before.path)
    assert reader.runs(0.1) == "ok"
    before.unplug()
    link.unlink()
    assert reader.runs(max(away_s, 0.1)) == "gone"
    link.symlink_to(back.path)
    assert reader.runs(0.5) == "ok"
    device.close()
    back.unplug()

"""What the bridge driver refuses, and in which words: boards that are not what the config says, or none at all."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from bridge_boards import CURRENT, SPEED, PlugIn, Puppet, babble, make, plugged, read_until

from edgeagent.agent.clock import ScaledClock
from edgeagent.buses.fake.board import Firmware, VirtualBoard
from edgeagent.buses.fake.port import FakePort
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import Source
from edgeagent.sensors.bridge import Options
from firmware_bridge.messages import ChannelInfo


@pytest.fixture
def clock() -> ScaledClock:
    return ScaledClock(SPEED, time.monotonic_ns())


@pytest.fixture
def plug_in(clock: ScaledClock) -> Iterator[PlugIn]:
    with plugged(clock) as plug_in:
        yield plug_in


@pytest.fixture
def board(plug_in: PlugIn) -> VirtualBoard:
    return plug_in(Firmware())


def test_a_board_of_another_protocol_version_is_a_wrong_device_that_says_both(
    clock: ScaledClock, plug_in: PlugIn
) -> None:
    sensor = make(plug_in(Firmware(protocol=2)).path, clock)
    with pytest.raises(
        WrongDevice, match=r"speaks protocol version 2; expected version 1\. Flash the firmware"
    ):
        sensor.open()
    sensor.close()


@pytest.mark.parametrize(
    ("channels", "expected"),
    [({"current": "mA"}, "expected current in mA"), ({"pressure": "Pa"}, "expected pressure in Pa")],
)
def test_a_hello_that_disagrees_with_the_config_is_a_wrong_device_that_names_both(
    board: VirtualBoard, clock: ScaledClock, channels: dict[str, str], expected: str
) -> None:
    sensor = make(board.path, clock, channels=channels)
    with pytest.raises(WrongDevice, match=expected) as e:
        sensor.open()
    assert "virtual-motor 1.0.0 says temperature in degC" in str(e.value)
    sensor.close()


def test_two_boards_that_are_alike_are_told_apart_by_the_id_in_their_hello(
    board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor = make(board.path, clock, board="virtual-0002")
    with pytest.raises(
        WrongDevice,
        match=r"the board virtual-0001 answers; expected the board virtual-0002.*changed their sockets",
    ):
        sensor.open()
    sensor.close()
    mine = make(board.path, clock, board="virtual-0001")
    mine.open()
    mine.close()


def test_a_hello_that_agrees_with_the_config_is_taken(board: VirtualBoard, clock: ScaledClock) -> None:
    sensor = make(board.path, clock, channels={"current": "A", "temperature": "degC"})
    sensor.open()
    sensor.close()


def test_a_board_that_prints_text_is_a_wrong_device_and_the_text_is_shown(clock: ScaledClock) -> None:
    port = FakePort()
    sensor = make(port.path, clock)
    with babble(port, b"23.5,1.25\r\n"), pytest.raises(WrongDevice) as e:
        sensor.open()
    assert "what comes is text: '23.5,1.25" in str(e.value)
    assert "serial_text" in str(e.value)
    sensor.close()
    port.unplug()


def test_noise_is_a_wrong_device_and_its_bytes_are_shown(clock: ScaledClock) -> None:
    port = FakePort()
    sensor = make(port.path, clock)
    with (
        babble(port, b"\xe6\x98\x06\x80"),
        pytest.raises(WrongDevice, match=r"not text either: e6 98 06 80.*`baud:`"),
    ):
        sensor.open()
    sensor.close()
    port.unplug()


def test_a_board_that_says_nothing_is_a_fault_with_what_to_look_at(clock: ScaledClock) -> None:
    port = FakePort()
    sensor = make(port.path, clock)
    with pytest.raises(DeviceFault, match=r"has not answered in 3 s, not with one byte.*flashed"):
        sensor.open()
    sensor.close()
    port.unplug()


def test_a_board_that_falls_silent_is_a_fault(clock: ScaledClock) -> None:
    puppet = Puppet(clock, CURRENT)
    with pytest.raises(DeviceFault, match=r"has said nothing for 10 s.*reset button"):
        read_until(puppet.sensor, clock, lambda _: False)
    puppet.close()


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (ChannelInfo("a", "A", 9, 1, 0.01, 20.0), "int16, int32 or float32 for a"),
        (ChannelInfo("a", "A", 1, 1, 0.0, 20.0), "a scale for a"),
        (ChannelInfo("a", "A", 1, 1, 0.01, 0.0), "a positive rate"),
        (ChannelInfo("b", "A", 1, 1, 0.01, 20.0), "channels of different names"),
        (ChannelInfo("a", "A", 1, 1, 0.01, 50.0), "one rate for all"),
    ],
)
def test_a_hello_that_cannot_be_used_says_what_it_should_be(
    clock: ScaledClock, channel: ChannelInfo, expected: str
) -> None:
    with pytest.raises(WrongDevice, match=expected):
        Puppet(clock, channel, ChannelInfo("b", "A", 1, 1, 0.01, 20.0))


def test_a_rate_that_the_board_cannot_do_is_a_wrong_device_that_says_what_it_can(
    board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor = make(board.path, clock, rate=5000.0)
    with pytest.raises(WrongDevice, match=r"refuses rate 5000 Hz; expected 1000 Hz at most. Change `rate:`"):
        sensor.open()
    sensor.close()


def test_a_firmware_out_of_the_range_is_a_wrong_device_that_says_both(
    clock: ScaledClock, plug_in: PlugIn
) -> None:
    sensor = make(plug_in(Firmware(version="2.0.1")).path, clock, firmware=">=1.2,<2")
    with pytest.raises(
        WrongDevice, match=r"virtual-motor 2.0.1 is on the board; expected version >=1.2,<2. Flash"
    ):
        sensor.open()
    sensor.close()


def test_a_firmware_in_the_range_is_taken_and_named_in_the_layout(
    clock: ScaledClock, plug_in: PlugIn
) -> None:
    sensor = make(plug_in(Firmware(version="1.4.2")).path, clock, firmware=">=1.2,<2")
    sensor.open()
    assert sensor.layout is not None
    assert sensor.layout.source == Source("virtual-motor", "1.4.2", "virtual", "virtual-0001")
    sensor.close()


def test_a_range_that_is_none_is_a_config_fault() -> None:
    with pytest.raises(ConfigFault, match=r"not a range of versions; expected bounds such as '>=1.2,<2'"):
        Options(port="/dev/none", firmware="1.2 or so")


def test_a_board_that_answers_no_config_is_a_fault(clock: ScaledClock) -> None:
    with pytest.raises(DeviceFault, match=r"has not answered CONFIG in 3 s"):
        Puppet(clock, CURRENT, obeys=False)

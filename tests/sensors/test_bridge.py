"""The bridge driver against a virtual microcontroller on a real pty, through pyserial."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from edgeagent.agent.clock import ScaledClock
from edgeagent.buses import Buses
from edgeagent.buses.fake.board import Firmware, VirtualBoard
from edgeagent.buses.fake.port import FakePort
from edgeagent.errors import DeviceFault, DeviceGone, WrongDevice
from edgeagent.records import NS_PER_S, Block, Channel, encode_raw
from edgeagent.sensors import Context
from edgeagent.sensors.bridge import BridgeSensor, DeviceTime, Options, build
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import ChannelInfo, Hello, HostHeartbeat, OutputInfo, Samples, Set

SPEED = 10.0
PlugIn = Callable[..., VirtualBoard]
PATIENCE_S = 60  # of the scaled clock: 6 s


@pytest.fixture
def clock() -> ScaledClock:
    return ScaledClock(SPEED, time.monotonic_ns())


@pytest.fixture
def plug_in(clock: ScaledClock) -> Iterator[PlugIn]:
    """(firmware, link) -> a board that runs in a thread of its own until the test is over."""
    stop, threads, boards = Event(), list[Thread](), list[VirtualBoard]()

    def plug_in(firmware: Firmware, link: Path | None = None) -> VirtualBoard:
        board = VirtualBoard(clock, link, firmware)
        boards.append(board)
        threads.append(Thread(target=board.serve, args=(stop,)))
        threads[-1].start()
        return board

    yield plug_in
    stop.set()
    for thread in threads:
        thread.join()
    for board in boards:
        board.unplug()


@pytest.fixture
def board(plug_in: PlugIn) -> VirtualBoard:
    return plug_in(Firmware())


@pytest.fixture
def sensor(board: VirtualBoard, clock: ScaledClock) -> Iterator[BridgeSensor]:
    sensor = make(board.path, clock)
    sensor.open()
    yield sensor
    sensor.close()


CURRENT = ChannelInfo("current", "A", 1, 1, 0.01, 20.0)


def make(port: str, clock: ScaledClock, **channels: str) -> BridgeSensor:
    sensor = build("motor", Options(port=port, channels=channels), Context(clock, Buses(clock)))
    assert isinstance(sensor, BridgeSensor)
    return sensor


def read_until(sensor: BridgeSensor, clock: ScaledClock, done: Callable[[list[Block]], bool]) -> list[Block]:
    """The blocks up to when `done` is content with them."""
    blocks: list[Block] = []
    end_ns = clock.now_ns() + PATIENCE_S * NS_PER_S
    while not done(blocks):
        assert clock.now_ns() < end_ns, f"not within {PATIENCE_S} s: {sensor.counters()}"
        block = sensor.read()
        if block is not None:
            blocks.append(block)
    return blocks


def samples_of(blocks: list[Block]) -> int:
    return sum(len(b.values) for b in blocks)


def test_channels_units_scale_and_rate_come_from_hello(sensor: BridgeSensor) -> None:
    assert sensor.layout is not None
    assert sensor.layout.rate_hz == 20.0
    assert sensor.layout.channels == (Channel("temperature", "degC", 0.01), Channel("current", "A", 0.01))


def test_samples_come_without_a_gap_at_their_rate_and_are_exact_counts(
    sensor: BridgeSensor, clock: ScaledClock
) -> None:
    blocks = read_until(sensor, clock, lambda b: samples_of(b) >= 200)
    assert sum(b.lost for b in blocks) == 0
    assert [b.seq for b in blocks] == list(range(len(blocks)))
    t_ns = np.concatenate([b.t_mono_ns for b in blocks])
    assert np.all(np.diff(t_ns) > 0)
    span_s = (t_ns[-1] - t_ns[0]) / NS_PER_S
    assert span_s == pytest.approx((len(t_ns) - 1) / 20.0, rel=0.05)
    values = np.concatenate([b.values for b in blocks])
    assert sensor.layout is not None
    assert encode_raw(values, sensor.layout.channels).encoding == "int16"
    assert 38 < values[:, 0].mean() < 46
    assert all(b.t_mono_ns[-1] <= b.t_read_ns for b in blocks)


def test_an_output_is_set_acknowledged_and_reported_by_the_board(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor.set_output("relay", 1.0)
    read_until(sensor, clock, lambda _: sensor.output_state("relay")["changes"] == 1)
    assert sensor.output_state("relay") == {"asked": 1.0, "reported": 1.0, "changes": 1, "error": None}
    assert board.firmware.relay_on
    sensor.set_output("relay", 0.0)
    read_until(sensor, clock, lambda _: sensor.output_state("relay")["changes"] == 2)
    assert not board.firmware.relay_on


def test_what_is_asked_without_a_link_says_so_and_is_sent_when_there_is_one(
    board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor = make(board.path, clock)
    sensor.set_output("relay", 1.0)
    state = sensor.output_state("relay")
    assert (state["asked"], state["reported"]) == (1.0, None)
    assert state["error"] == f"no link to the board on {board.path}; what is asked is sent when it is back"
    sensor.open()
    read_until(sensor, clock, lambda _: sensor.output_state("relay")["reported"] == 1.0)
    sensor.close()


def test_closing_sends_the_last_value_asked_for(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor.set_output("relay", 1.0)
    read_until(sensor, clock, lambda _: board.firmware.relay_on)
    sensor.set_output("relay", 0.0)
    sensor.close()
    wait_until(clock, lambda: not board.firmware.relay_on)
    assert board.firmware.failsafes == 0


def test_setting_an_output_ends_a_read_that_waits(sensor: BridgeSensor, clock: ScaledClock) -> None:
    read_until(sensor, clock, lambda b: len(b) == 1)
    sensor.set_output("relay", 1.0)
    blocks = read_until(sensor, clock, lambda _: sensor.output_state("relay")["reported"] == 1.0)
    assert len(blocks) < 20


def test_the_dead_man_switch_acts_when_the_agent_is_gone_and_says_so_when_it_is_back(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor.set_output("relay", 1.0)
    read_until(sensor, clock, lambda _: board.firmware.relay_on)
    wait_until(clock, lambda: not board.firmware.relay_on)  # nobody reads: no heartbeat is sent
    read_until(sensor, clock, lambda _: sensor.counters()["failsafes"] == 1)
    state = sensor.output_state("relay")
    assert (state["asked"], state["reported"]) == (1.0, 0.0)
    assert "dead-man switch has acted" in str(state["error"])


def test_samples_that_were_not_sent_while_the_agent_was_gone_are_counted_as_lost(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock
) -> None:
    read_until(sensor, clock, lambda b: samples_of(b) > 10)
    wait_until(clock, lambda: board.firmware.dropped > 50)
    blocks = read_until(sensor, clock, lambda b: any(x.lost for x in b))
    assert sum(b.lost for b in blocks) == sensor.counters()["samples_dropped_by_board"]
    assert sum(b.lost for b in blocks) >= 50


def test_garbage_on_the_line_is_counted_and_no_sample_is_lost(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock
) -> None:
    read_until(sensor, clock, lambda b: len(b) == 3)
    board.send(b"\0\x13\x37 not a frame \xff\0")
    blocks = read_until(sensor, clock, lambda _: sensor.counters()["bad_frames"] == 1)
    blocks += read_until(sensor, clock, lambda b: samples_of(b) > 20)
    assert sum(b.lost for b in blocks) == 0


def test_a_frame_sent_twice_is_delivered_once(clock: ScaledClock) -> None:
    puppet = Puppet(clock, CURRENT)
    frame = encode(Samples(0, 0, 0, 0, 2, bytes(4)))
    puppet.port.send(frame + frame + encode(Samples(2, 100_000, 0, 0, 1, bytes(2))))
    blocks = read_until(puppet.sensor, clock, lambda b: samples_of(b) == 3)
    assert sum(b.lost for b in blocks) == 0
    assert puppet.sensor.counters()["duplicate_frames"] == 1
    puppet.close()


def test_a_damaged_frame_is_samples_lost_before_the_next_block_exactly(clock: ScaledClock) -> None:
    puppet = Puppet(clock, CURRENT)
    damaged = bytearray(encode(Samples(2, 100_000, 0, 0, 3, bytes(6))))
    damaged[3] ^= 0x40
    whole = (encode(Samples(0, 0, 0, 0, 2, bytes(4))), encode(Samples(5, 250_000, 0, 0, 1, bytes(2))))
    puppet.port.send(whole[0] + damaged + whole[1])
    blocks = read_until(puppet.sensor, clock, lambda b: samples_of(b) == 3)
    assert [(len(b.values), b.lost) for b in blocks] == [(2, 0), (1, 3)]
    puppet.close()


def test_a_board_that_is_reset_goes_on_with_a_new_hello(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock
) -> None:
    read_until(sensor, clock, lambda b: samples_of(b) > 30)
    sensor.set_output("relay", 1.0)
    read_until(sensor, clock, lambda _: sensor.output_state("relay")["reported"] == 1.0)
    board.firmware.reset()
    blocks = read_until(sensor, clock, lambda b: sensor.counters()["resets"] == 1 and samples_of(b) > 30)
    assert sum(b.lost for b in blocks) == 0
    t_ns = np.concatenate([b.t_mono_ns for b in blocks])
    assert np.all(np.diff(t_ns) > 0)
    read_until(sensor, clock, lambda _: sensor.output_state("relay")["reported"] == 0.0)
    assert "it was reset" in str(sensor.output_state("relay")["error"])


def test_a_board_unplugged_in_mid_frame_is_gone_and_back_when_plugged_in_again(
    clock: ScaledClock, tmp_path: Path, plug_in: PlugIn
) -> None:
    port = tmp_path / "ttyBOARD"
    first = plug_in(Firmware(), port)
    sensor = make(str(port), clock)
    sensor.open()
    read_until(sensor, clock, lambda b: samples_of(b) > 5)
    first.send(encode(Samples(0, 0, 0, 0, 2, bytes(8)))[:7])
    first.unplug()
    with pytest.raises(DeviceGone, match="unplugged"):
        read_until(sensor, clock, lambda _: False)
    sensor.close()
    with pytest.raises(DeviceGone, match="does not exist"):
        sensor.open()
    plug_in(Firmware(), port)
    sensor.open()
    assert read_until(sensor, clock, lambda b: samples_of(b) > 5)[0].lost == 0
    sensor.close()


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
    sensor = make(board.path, clock, **channels)
    with pytest.raises(WrongDevice, match=expected) as e:
        sensor.open()
    assert "virtual-motor 1.0.0 says temperature in degC" in str(e.value)
    sensor.close()


def test_a_hello_that_agrees_with_the_config_is_taken(board: VirtualBoard, clock: ScaledClock) -> None:
    sensor = make(board.path, clock, current="A", temperature="degC")
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


def test_wake_ends_an_open_that_waits_for_hello(clock: ScaledClock) -> None:
    port = FakePort()
    sensor = make(port.path, clock)
    opener = Thread(target=sensor.open)
    opener.start()
    assert port.receive(wait_s=5.0)  # it asks, so it waits
    asked_ns = clock.now_ns()
    assert sensor.wake is not None
    sensor.wake()
    opener.join()
    assert clock.now_ns() - asked_ns < 2 * NS_PER_S
    sensor.close()
    port.unplug()


def test_a_sensor_that_was_woken_and_closed_waits_for_hello_when_it_is_opened_again(
    board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor = make(board.path, clock)
    assert sensor.wake is not None
    sensor.wake()
    sensor.close()
    sensor.open()
    assert sensor.layout is not None
    sensor.close()


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (ChannelInfo("a", "A", 3, 1, 0.01, 20.0), "int16 for a"),
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


def test_a_board_with_outputs_alone_has_no_layout_and_can_be_driven(clock: ScaledClock) -> None:
    puppet = Puppet(clock)
    assert puppet.sensor.layout is None
    puppet.sensor.set_output("relay", 1.0)
    assert puppet.sensor.read() is None
    heard = [decode(content) for content in Decoder().feed(puppet.port.receive(wait_s=5.0))]
    assert heard == [HostHeartbeat(), Set(1, 0, 1.0, 0)]
    puppet.close()


def test_device_time_is_not_moved_by_a_late_read() -> None:
    device = DeviceTime(20.0)
    base_ns = 5 * NS_PER_S
    for k in range(100):
        late_ns = 300_000_000 if k == 50 else 1_000_000
        t_ns = device.stamp(Samples(k, k * 50_000, 0, 0, 1, b""), base_ns + k * 50_000_000 + late_ns)
        assert abs(t_ns[0] - (base_ns + k * 50_000_000 + 1_000_000)) <= 250_000
    assert device.true_rate_hz == pytest.approx(20.0, rel=1e-3)


def test_device_time_follows_a_slow_crystal() -> None:
    device = DeviceTime(20.0)
    real_ns = 50_150_000  # the board's clock runs 0.3 % slow
    for k in range(2000):
        t_ns = device.stamp(Samples(k, k * 50_000, 0, 0, 1, b""), k * real_ns + 1_000_000)
    assert abs(t_ns[0] - (1999 * real_ns + 1_000_000)) <= 1_000_000
    assert device.true_rate_hz == pytest.approx(NS_PER_S / real_ns, rel=1e-3)


def test_device_time_never_runs_back_when_the_first_read_was_late() -> None:
    device = DeviceTime(20.0)
    t_ns = np.concatenate(
        [
            device.stamp(
                Samples(2 * k, 2 * k * 50_000, 0, 0, 2, b""), k * 100_000_000 + (0 if k else 900_000_000)
            )
            for k in range(80)
        ]
    )
    assert np.all(np.diff(t_ns) >= 25_000_000)
    assert t_ns[-1] == 79 * 100_000_000


def test_device_time_goes_on_when_the_microseconds_wrap_after_71_minutes() -> None:
    device = DeviceTime(20.0)
    before = device.stamp(Samples(0, 2**32 - 50_000, 0, 0, 1, b""), 10 * NS_PER_S)
    after = device.stamp(Samples(1, 0, 0, 0, 1, b""), 10 * NS_PER_S + 50_000_000)
    assert after[0] - before[0] == 50_000_000


def test_a_symlink_for_the_pty_is_made_and_taken_away(clock: ScaledClock, tmp_path: Path) -> None:
    link = tmp_path / "ttyBOARD"
    link.symlink_to("/dev/left-by-one-that-was-killed")
    board = VirtualBoard(clock, link)
    assert board.path == str(link)
    assert link.resolve().is_char_device()
    board.unplug()
    assert not link.is_symlink()


class Puppet:
    """A port at whose far end the test itself speaks, greeted and open."""

    def __init__(self, clock: ScaledClock, *channels: ChannelInfo) -> None:
        self.port = FakePort()
        self.sensor = make(self.port.path, clock)
        relay = OutputInfo("relay", 0.0, 0.0, 1.0, 0)
        hello = encode(Hello(1, 10, 60_000, 64, 0.0, 0, "puppet", "1", "b", "p", channels, (relay,)))

        def say_hello() -> None:
            self.port.receive(wait_s=5.0)
            self.port.send(hello)

        answer = Thread(target=say_hello)
        answer.start()
        try:
            self.sensor.open()
        finally:
            answer.join()

    def close(self) -> None:
        self.sensor.close()
        self.port.unplug()


@contextmanager
def babble(port: FakePort, data: bytes) -> Iterator[None]:
    """A device that says the same thing over and over while the block runs."""
    stop = Event()

    def run() -> None:
        while not stop.is_set():
            port.send(data)
            port.receive(wait_s=0.005)

    thread = Thread(target=run)
    thread.start()
    yield
    stop.set()
    thread.join()


def wait_until(clock: ScaledClock, done: Callable[[], bool]) -> None:
    end_ns = clock.now_ns() + PATIENCE_S * NS_PER_S
    while not done():
        assert clock.now_ns() < end_ns
        clock.sleep_s(0.05)

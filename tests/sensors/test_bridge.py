"""The bridge driver against a virtual microcontroller on a real pty, through pyserial."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from bridge_boards import (
    CURRENT,
    SPEED,
    Drifting,
    PlugIn,
    Puppet,
    make,
    plugged,
    read_until,
    samples_of,
    wait_until,
)

from edgeagent.agent.clock import ScaledClock
from edgeagent.buses.fake.board import Firmware, VirtualBoard
from edgeagent.buses.fake.port import FakePort
from edgeagent.errors import DeviceGone
from edgeagent.records import NS_PER_S, Channel, encode_raw
from edgeagent.sensors.bridge import LOGS_A_MINUTE, BridgeSensor
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import (
    ChannelInfo,
    HostHeartbeat,
    Level,
    Log,
    Samples,
    Set,
)


@pytest.fixture
def clock() -> ScaledClock:
    return ScaledClock(SPEED, time.monotonic_ns())


@pytest.fixture
def plug_in(clock: ScaledClock) -> Iterator[PlugIn]:
    with plugged(clock) as plug_in:
        yield plug_in


@pytest.fixture
def board(plug_in: PlugIn) -> VirtualBoard:
    """Patient with its host: a busy machine that stalls for half a second is no dead one."""
    return plug_in(Firmware(failsafe_ms=60_000))


@pytest.fixture
def strict_board(plug_in: PlugIn) -> VirtualBoard:
    return plug_in(Firmware(failsafe_ms=5000))


@pytest.fixture
def sensor(board: VirtualBoard, clock: ScaledClock) -> Iterator[BridgeSensor]:
    sensor = make(board.path, clock)
    sensor.open()
    yield sensor
    sensor.close()


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
    strict_board: VirtualBoard, clock: ScaledClock
) -> None:
    board, sensor = strict_board, make(strict_board.path, clock)
    sensor.open()
    sensor.set_output("relay", 1.0)
    read_until(sensor, clock, lambda _: board.firmware.relay_on)
    wait_until(clock, lambda: not board.firmware.relay_on)  # nobody reads: no heartbeat is sent
    read_until(sensor, clock, lambda _: sensor.counters()["failsafes"] == 1)
    state = sensor.output_state("relay")
    assert (state["asked"], state["reported"]) == (1.0, 0.0)
    assert "dead-man switch has acted" in str(state["error"])
    sensor.close()


def test_samples_that_were_not_sent_while_the_agent_was_gone_are_counted_as_lost(
    strict_board: VirtualBoard, clock: ScaledClock
) -> None:
    board, sensor = strict_board, make(strict_board.path, clock)
    sensor.open()
    blocks = read_until(sensor, clock, lambda b: samples_of(b) > 10)
    wait_until(clock, lambda: board.firmware.dropped > 50)
    blocks += read_until(sensor, clock, lambda b: any(x.lost for x in b))
    assert sum(b.lost for b in blocks) == sensor.counters()["samples_dropped_by_board"]
    assert sum(b.lost for b in blocks) >= 45  # the first few were dropped before anyone was there
    sensor.close()


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


def test_samples_that_come_quicker_than_their_rate_are_stamped_in_order_and_never_after_the_read(
    clock: ScaledClock,
) -> None:
    puppet = Puppet(clock, CURRENT)
    for seq in range(0, 120, 40):
        puppet.port.send(encode(Samples(seq, seq * 50_000, 0, 0, 40, bytes(80))))
    blocks = read_until(puppet.sensor, clock, lambda b: samples_of(b) == 120)
    puppet.close()
    assert all(b.t_mono_ns[-1] <= b.t_read_ns for b in blocks)
    assert np.all(np.diff(np.concatenate([b.t_mono_ns for b in blocks])) > 0)


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
    read_until(sensor, clock, lambda _: "it was reset" in str(sensor.output_state("relay")["error"]))
    assert sensor.output_state("relay")["reported"] == 0.0


def test_a_board_unplugged_in_mid_frame_is_gone_and_back_when_plugged_in_again(
    clock: ScaledClock, tmp_path: Path, plug_in: PlugIn
) -> None:
    port = tmp_path / "ttyBOARD"
    first = plug_in(Firmware(), port)
    sensor = make(str(port), clock)
    sensor.open()
    read_until(sensor, clock, lambda b: samples_of(b) > 40)
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


def test_wake_ends_an_open_that_waits_for_hello() -> None:
    port, slow = FakePort(), ScaledClock(0.01, time.monotonic_ns())  # it would wait for five minutes
    sensor = make(port.path, slow)
    opener = Thread(target=sensor.open, daemon=True)
    opener.start()
    assert port.receive(wait_s=60.0)  # it asks, so it waits
    assert sensor.wake is not None
    sensor.wake()
    opener.join(60.0)
    assert not opener.is_alive()
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


def test_a_board_with_outputs_alone_has_no_layout_and_can_be_driven(clock: ScaledClock) -> None:
    puppet = Puppet(clock)
    assert puppet.sensor.layout is None
    puppet.sensor.set_output("relay", 1.0)
    assert puppet.sensor.read() is None
    heard = [decode(content) for content in Decoder().feed(puppet.port.receive(wait_s=5.0))]
    assert HostHeartbeat() in heard
    assert [(m.output, m.value) for m in heard if isinstance(m, Set)] == [(0, 1.0)]
    puppet.close()


def test_times_are_when_the_board_took_the_samples_by_our_clock(
    board: VirtualBoard, clock: ScaledClock
) -> None:
    """The scenario measures the board's own time: so each value says when it was really taken."""
    board.firmware._scenario = lambda t_s, _relay_on: (t_s % 300.0, 0.0)
    sensor = make(board.path, clock)
    sensor.open()
    blocks = read_until(sensor, clock, lambda b: samples_of(b) > 60)
    t_ns = np.concatenate([b.t_mono_ns for b in blocks])
    taken_ns = np.concatenate([b.values[:, 0] for b in blocks]) * NS_PER_S + (board.firmware._start_ns or 0)
    errors_ms = (t_ns - taken_ns)[20:] / 1e6 / SPEED  # the delays of this machine are real, our clock is not
    assert np.abs(np.median(errors_ms)) < 1.0
    sensor.close()


@pytest.mark.parametrize("drift", [0.004, -0.004])
def test_the_drift_of_the_boards_clock_is_found_and_shown(clock: ScaledClock, drift: float) -> None:
    with plugged(Drifting(clock, drift)) as plug_in:
        sensor = make(plug_in(Firmware()).path, clock)
        sensor.open()
        read_until(sensor, clock, lambda b: samples_of(b) > 200)
        assert sensor.counters()["clock_drift_ppm"] == pytest.approx(drift * 1e6, abs=1000)
        assert sensor.counters()["true_rate_hz"] == pytest.approx(20.0 * (1 + drift), rel=1e-3)
        sensor.close()


def test_the_rate_and_the_channels_of_the_config_are_what_the_board_sends(
    board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor = make(board.path, clock, rate=50.0, channels={"current": "A"})
    sensor.open()
    assert sensor.layout is not None
    assert (sensor.layout.rate_hz, sensor.layout.channels) == (50.0, (Channel("current", "A", 0.01),))
    blocks = read_until(sensor, clock, lambda b: samples_of(b) > 200)
    assert all(b.values.shape[1] == 1 for b in blocks)
    assert sum(b.lost for b in blocks) == 0
    assert np.diff(blocks[-1].t_mono_ns) == pytest.approx(0.02 * NS_PER_S, rel=0.3)
    sensor.close()


def test_a_reset_board_is_told_the_rate_again(board: VirtualBoard, clock: ScaledClock) -> None:
    sensor = make(board.path, clock, rate=50.0)
    sensor.open()
    read_until(sensor, clock, lambda b: samples_of(b) > 100)
    board.firmware.reset()
    read_until(sensor, clock, lambda b: sensor.counters()["resets"] == 1 and samples_of(b) > 100)
    assert sensor.layout is not None
    assert sensor.layout.rate_hz == 50.0
    sensor.close()


def test_a_reading_that_failed_is_nan_with_a_reason(clock: ScaledClock, plug_in: PlugIn) -> None:
    sensor = make(plug_in(Firmware(lambda _t_s, _relay_on: (math.nan, 1.5))).path, clock)
    sensor.open()
    block = read_until(sensor, clock, lambda b: len(b) == 1)[0]
    assert np.isnan(block.values[:, 0]).all()
    assert (block.values[:, 1] == 1.5).all()
    assert block.reasons == ("temperature: the board could not read it",)
    sensor.close()


def test_channels_of_all_three_types_come_as_values_in_their_units(clock: ScaledClock) -> None:
    kinds = [ChannelInfo(name, "A", kind, 1, 0.5, 20.0) for kind, name in enumerate("abc", start=1)]
    puppet = Puppet(clock, *kinds)
    rows = struct.pack("<hifhif", -3, 70_000, 0.25, -(2**15), -(2**31), math.nan)
    puppet.port.send(encode(Samples(0, 0, 0, 0, 2, rows)))
    block = read_until(puppet.sensor, clock, lambda b: len(b) == 1)[0]
    assert block.values[0].tolist() == [-1.5, 35_000.0, 0.125]
    assert np.isnan(block.values[1]).all()
    assert puppet.sensor.layout is not None
    assert [c.lsb for c in puppet.sensor.layout.channels] == [0.5, 0.5, None]
    puppet.close()


def test_closing_says_good_bye_and_the_relay_is_off_before_the_dead_man_switch_acts(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock
) -> None:
    sensor.set_output("relay", 1.0)
    read_until(sensor, clock, lambda _: board.firmware.relay_on)
    sensor.close()
    wait_until(clock, lambda: not board.firmware.relay_on)
    assert board.firmware.failsafes == 0


def test_max_on_is_kept_by_the_board_and_said_in_words(
    sensor: BridgeSensor, board: VirtualBoard, clock: ScaledClock, caplog: pytest.LogCaptureFixture
) -> None:
    sensor.set_output("relay", 1.0, max_on_s=2.0)
    # Off is reported before it is ever on, too: that it went off again is in the error alone.
    read_until(sensor, clock, lambda _: "max_on ran out" in str(sensor.output_state("relay")["error"]))
    assert sensor.output_state("relay")["reported"] == 0.0
    assert sensor.counters()["faults"] == 1
    assert "the board of motor says: relay is off: max_on ran out" in caplog.text


def test_what_the_board_logs_is_logged_here_and_a_flood_of_it_is_only_counted(
    clock: ScaledClock, caplog: pytest.LogCaptureFixture
) -> None:
    puppet = Puppet(clock, CURRENT)
    puppet.port.send(b"".join(encode(Log(Level.WARNING, f"line {k}")) for k in range(100)))
    read_until(puppet.sensor, clock, lambda _: puppet.sensor.counters()["logs"] == 100)
    lines = [r.message for r in caplog.records if "the board of motor says" in r.message]
    assert lines[0] == "the board of motor says: line 0"
    assert len(lines) == LOGS_A_MINUTE
    puppet.close()


def test_a_symlink_for_the_pty_is_made_and_taken_away(clock: ScaledClock, tmp_path: Path) -> None:
    link = tmp_path / "ttyBOARD"
    link.symlink_to("/dev/left-by-one-that-was-killed")
    board = VirtualBoard(clock, link)
    assert board.path == str(link)
    assert link.resolve().is_char_device()
    board.unplug()
    assert not link.is_symlink()

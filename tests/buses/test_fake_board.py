"""The virtual microcontroller: what its program does by itself, without a port and without a wait."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import pytest

from edgeagent.buses.fake.board import Firmware, motor
from edgeagent.records import NS_PER_MS, NS_PER_S
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import (
    Ack,
    Bye,
    Config,
    ConfigAck,
    Fault,
    Heartbeat,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Message,
    OutputValue,
    Ping,
    Pong,
    Samples,
    Set,
    Time,
    TimeRequest,
)

LIMIT_A = 3.5


class Bench:
    """A board on the bench: `say` to it at a time in seconds, and read what it answers."""

    def __init__(self, firmware: Firmware | None = None) -> None:
        self.firmware = firmware or Firmware()
        self._decoder = Decoder()

    def say(self, t_s: float, *messages: Message, room_bytes: int = 4096) -> list[Message]:
        data = b"".join(encode(m) for m in messages)
        out = self.firmware.step(round(t_s * NS_PER_S), data, room_bytes)
        return [decode(content) for content in self._decoder.feed(out)]


M = TypeVar("M", bound=Message)


def only(kind: type[M], messages: list[Message]) -> list[M]:
    return [m for m in messages if isinstance(m, kind)]


def test_a_board_says_hello_at_its_start_and_when_asked() -> None:
    bench = Bench()
    (first,) = only(Hello, bench.say(100.0))
    assert (first.uptime_ms, [c.name for c in first.channels], first.outputs[0].name) == (
        0,
        ["temperature", "current"],
        "relay",
    )
    (again,) = only(Hello, bench.say(101.5, HelloRequest(1, 1)))
    assert again.uptime_ms == 1500


def test_the_hello_of_a_start_ends_what_half_a_frame_the_host_still_holds() -> None:
    half = encode(Ping(bytes(8)))[:-4]
    contents = list(Decoder().feed(half + Firmware().step(0, b"")))
    assert isinstance(decode(contents[0]), Hello)


def test_samples_flow_only_while_the_host_lives_and_seq_counts_them_all_the_same() -> None:
    bench = Bench()
    assert only(Samples, bench.say(0.0)) == []
    (samples,) = only(Samples, bench.say(1.0, HostHeartbeat()))
    assert (samples.seq, samples.count, samples.dropped) == (1, 20, 1)
    bench.say(8.0)
    assert bench.firmware.dropped == 1 + 140


def test_samples_due_since_a_stall_are_all_sent_in_frames_that_fit() -> None:
    bench = Bench(Firmware(failsafe_ms=60_000))
    bench.say(0.0, HostHeartbeat())
    frames = only(Samples, bench.say(20.0))
    assert [(f.seq, f.count) for f in frames] == [(1, 100), (101, 100), (201, 100), (301, 100)]
    assert [f.t_us for f in frames] == [50_000, 5_050_000, 10_050_000, 15_050_000]
    assert bench.firmware.dropped == 0


def test_a_frame_that_finds_no_room_is_dropped_whole_and_its_samples_are_counted() -> None:
    bench = Bench(Firmware(failsafe_ms=60_000))
    bench.say(0.0, HostHeartbeat())
    frames = only(Samples, bench.say(20.0, room_bytes=1000))
    assert [f.seq for f in frames] == [1, 101]
    assert bench.firmware.dropped == 200
    (later,) = only(Samples, bench.say(20.05))
    assert (later.seq, later.dropped) == (401, 200)


def test_set_is_obeyed_acknowledged_and_reported_at_once() -> None:
    bench = Bench()
    bench.say(0.0, HostHeartbeat())
    answers = bench.say(0.1, Set(9, 0, 1.0, 0))
    assert only(Ack, answers) == [Ack(9, 0, 0, 1.0)]
    assert only(Heartbeat, answers) == [Heartbeat(100, 0, 0, (OutputValue(1.0, 1),))]


def test_a_set_that_comes_twice_is_acknowledged_twice_and_changes_the_relay_once() -> None:
    bench = Bench()
    bench.say(0.0, HostHeartbeat())
    assert len(only(Ack, bench.say(0.1, Set(9, 0, 1.0, 0), Set(9, 0, 1.0, 0)))) == 2
    assert bench.firmware.relay_changes == 1


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (Set(1, 5, 1.0, 0), Ack(1, 5, 1, 0.0)),
        (Set(2, 0, 0.5, 0), Ack(2, 0, 2, 0.0)),
    ],
)
def test_a_set_that_cannot_be_obeyed_is_refused_with_the_reason(request_: Set, answer: Ack) -> None:
    bench = Bench()
    bench.say(0.0, HostHeartbeat())
    assert only(Ack, bench.say(0.1, request_)) == [answer]
    assert not bench.firmware.relay_on


def test_a_set_from_a_host_without_a_heartbeat_is_refused() -> None:
    bench = Bench()
    bench.say(0.0)
    assert only(Ack, bench.say(0.1, Set(1, 0, 1.0, 0))) == [Ack(1, 0, 3, 0.0)]


def test_the_dead_man_switch_drives_the_relay_safe_and_says_so_and_only_a_new_set_drives_it_again() -> None:
    bench = Bench(Firmware(failsafe_ms=2000))
    bench.say(0.0, HostHeartbeat())
    bench.say(0.1, Set(1, 0, 1.0, 0))
    (last_moment,) = only(Heartbeat, bench.say(2.0))
    assert last_moment.outputs[0].value == 1.0
    assert only(Heartbeat, bench.say(2.001)) == [Heartbeat(2001, 1, 0, (OutputValue(0.0, 2),))]
    (back,) = only(Heartbeat, bench.say(3.0, HostHeartbeat()))
    assert back.outputs[0].value == 0.0
    assert only(Ack, bench.say(3.1, Set(2, 0, 1.0, 0))) == [Ack(2, 0, 0, 1.0)]


def test_sets_do_not_feed_the_dead_man_switch() -> None:
    bench = Bench(Firmware(failsafe_ms=1000))
    bench.say(0.0, HostHeartbeat())
    for k in range(30):
        bench.say(k * 0.1, Set(k, 0, 1.0, 0))
    assert bench.firmware.failsafes == 1
    assert not bench.firmware.relay_on


@pytest.mark.parametrize(("own_ms", "asked_ms"), [(2000, 0), (0, 2000), (2000, 9000), (9000, 2000)])
def test_max_on_ends_by_the_shorter_of_the_two_limits_though_the_host_lives(
    own_ms: int, asked_ms: int
) -> None:
    bench = Bench(Firmware(max_on_ms=own_ms))
    bench.say(0.0, HostHeartbeat())
    bench.say(0.5, Set(1, 0, 1.0, asked_ms), HostHeartbeat())
    bench.say(2.4, HostHeartbeat())
    assert bench.firmware.relay_on
    answers = bench.say(2.5, HostHeartbeat())
    assert only(Fault, answers) == [Fault(2, 0, "relay")]
    assert only(Heartbeat, answers)[0].outputs == (OutputValue(0.0, 2),)


def test_a_new_set_starts_max_on_again_and_a_set_to_safe_ends_it() -> None:
    bench = Bench(Firmware(max_on_ms=1000))
    bench.say(0.0, HostHeartbeat(), Set(1, 0, 1.0, 0))
    bench.say(0.9, Set(2, 0, 1.0, 0))
    bench.say(1.8, Set(3, 0, 0.0, 0))
    assert bench.firmware.relay_changes == 2
    assert only(Fault, bench.say(3.0)) == []


def test_bye_makes_the_relay_safe_at_once_and_is_no_failsafe() -> None:
    bench = Bench()
    bench.say(0.0, HostHeartbeat(), Set(1, 0, 1.0, 0))
    answers = bench.say(0.1, Bye())
    assert only(Heartbeat, answers)[0].outputs == (OutputValue(0.0, 2),)
    assert only(Samples, bench.say(3.0)) == []
    assert only(Ack, bench.say(9.0, Set(2, 0, 1.0, 0)))[0].result == 3
    assert bench.firmware.failsafes == 0


def test_config_changes_rate_and_channels_from_the_next_sample_on() -> None:
    bench = Bench()
    bench.say(0.0, HostHeartbeat())
    answers = bench.say(1.0, Config(5, 100.0, 0b10), HostHeartbeat())
    assert only(ConfigAck, answers) == [ConfigAck(5, 0, 1, 100.0, 0b10)]
    (before, first) = only(Samples, answers)
    assert (before.config, before.count * 4) == (0, len(before.data))
    assert (first.config, first.seq, first.t_us) == (1, before.seq + before.count, 1_000_000)
    (frame,) = only(Samples, bench.say(1.5))
    assert (frame.count * 2, frame.t_us) == (len(frame.data), 1_010_000)
    assert frame.count == 50


def test_hello_says_how_the_board_samples_now_and_a_reset_brings_back_its_own_choice() -> None:
    bench = Bench()
    bench.say(0.0, Config(5, 100.0, 0b10))
    (now,) = only(Hello, bench.say(0.1, HelloRequest(1, 1)))
    assert [(c.rate_hz, c.enabled) for c in now.channels] == [(100.0, 0), (100.0, 1)]
    bench.say(0.2, Config(6, 0.0, 0))
    (own,) = only(Hello, bench.say(0.3, HelloRequest(1, 1)))
    bench.firmware.reset()
    (again,) = only(Hello, bench.say(1.0))
    assert [(c.rate_hz, c.enabled) for c in own.channels] == [(20.0, 1), (20.0, 1)]
    assert again.channels == own.channels
    assert (now.config, own.config, again.config) == (1, 2, 0)


@pytest.mark.parametrize("config", [Config(1, 1001.0, 0), Config(1, -1.0, 0), Config(1, 10.0, 0b100)])
def test_a_config_that_cannot_be_obeyed_is_refused_and_changes_nothing(config: Config) -> None:
    bench = Bench()
    assert only(ConfigAck, bench.say(0.0, config)) == [ConfigAck(1, 2, 0, 20.0, 0b11)]


def test_the_time_is_the_clock_of_the_samples() -> None:
    bench = Bench()
    bench.say(7.0, HostHeartbeat())
    answers = bench.say(7.25, TimeRequest(9))
    assert only(Time, answers) == [Time(9, 250_000, 250_000)]
    assert only(Samples, answers)[0].t_us == 50_000


def test_a_ping_comes_back() -> None:
    assert only(Pong, Bench().say(0.0, Ping(b"abc"))) == [Pong(b"abc")]


def test_damaged_frames_are_counted_in_the_heartbeat() -> None:
    firmware = Firmware()
    firmware.step(0, b"\x02\x0b\0" + encode(HostHeartbeat())[1:])
    out = [decode(c) for c in Decoder().feed(firmware.step(NS_PER_S, b""))]
    assert only(Heartbeat, out)[0].bad_frames == 2


def test_a_reset_board_starts_from_nothing() -> None:
    bench = Bench()
    bench.say(0.0, HostHeartbeat())
    bench.say(5.0, HostHeartbeat(), Set(1, 0, 1.0, 0))
    bench.firmware.reset()
    answers = bench.say(6.0)
    assert only(Hello, answers)[0].uptime_ms == 0
    assert only(Heartbeat, answers) == [Heartbeat(0, 0, 0, (OutputValue(0.0, 0),))]


def test_noise_on_the_boards_line_does_nothing() -> None:
    firmware = Firmware()
    firmware.step(
        0, b"\x01\x02noise\0" + encode(Samples(0, 0, 0, 0, 1, b"ab")) + encode(HostHeartbeat())[:-2] + b"x\0"
    )
    assert (firmware.relay_on, firmware.failsafes) == (False, 0)


def over_limit_s(start_s: float, end_s: float, relay_on: bool = False) -> float:
    """The longest stretch above the limit, in seconds."""
    longest = now = 0.0
    for k in range(round(start_s * 20), round(end_s * 20)):
        now = now + 0.05 if motor(k / 20, relay_on)[1] > LIMIT_A else 0.0
        longest = max(longest, now)
    return longest


def test_the_motor_is_over_its_limit_for_four_seconds_in_any_minute() -> None:
    assert all(over_limit_s(start, start + 60) >= 4 for start in range(0, 120, 3))


def test_the_motors_first_swell_is_at_12_s() -> None:
    assert over_limit_s(0, 12) == 0
    assert over_limit_s(12, 17) > 4


def test_the_relay_sheds_an_ampere() -> None:
    assert all(motor(t, False)[1] - motor(t, True)[1] == pytest.approx(1.0) for t in range(60))


def test_a_rule_on_the_motors_limit_switches_the_relay_once_a_swell() -> None:
    relay_on, over_since, changes = False, None, []
    for k in range(60 * 20):
        t_s = k / 20
        if motor(t_s, relay_on)[1] <= LIMIT_A:
            over_since = None
            wanted = False
        else:
            over_since = t_s if over_since is None else over_since
            wanted = relay_on or t_s - over_since >= 1.0
        if wanted != relay_on:
            relay_on = wanted
            changes.append((round(t_s), relay_on))
    assert [on for _, on in changes] == [True, False, True, False]


def test_heartbeats_come_at_least_once_a_second() -> None:
    bench = Bench()
    beats = [only(Heartbeat, bench.say(k * 0.05)) for k in range(200)]
    at = [k for k, b in enumerate(beats) if b]
    assert max(b - a for a, b in pairwise(at)) * 50 * NS_PER_MS <= NS_PER_S

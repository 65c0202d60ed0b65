"""Real firmware, run: the same claims for each of the three boards.

Time is the board's own (`t_us`, `uptime_ms`), and order is `seq`: a busy machine may run an emulated board slowly.
"""

from __future__ import annotations

import random

import pytest
from boards import Board
from host import Host

from firmware_bridge.codec import DELIMITER
from firmware_bridge.link import Burst, Configured, Echo, Greeted
from firmware_bridge.messages import (
    Ack,
    Bye,
    ConfigAck,
    Fault,
    FaultKind,
    Heartbeat,
    Hello,
    HostHeartbeat,
    Message,
    Ping,
    Pong,
    Result,
    Samples,
    Set,
    Time,
    TimeRequest,
)

pytestmark = pytest.mark.firmware

RATE_HZ = 100
SLACK_MS = 500  # how late a loop may be that is starved by its host; never early
STAMP = 60_000  # an id that the link, which counts from 1, does not come to
_U32 = 1 << 32


def switch_on(host: Host) -> None:
    host.link.set_output("relay", 1.0)
    host.hears(Heartbeat, lambda m: m.outputs[0].value == 1.0)


def send_stamped(host: Host, *messages: Message) -> float:
    """Send these in one go; the board's uptime in ms when they began to arrive."""
    host.send(TimeRequest(STAMP), *messages)
    return host.hears(Time, lambda m: m.id == STAMP).received_us / 1000


def bursts_since(host: Host, start: int) -> list[Burst]:
    return [e for e in host.events[start:] if isinstance(e, Burst)]


def test_hello_says_who_it_is_and_what_it_has(board: Board, host: Host) -> None:
    hello = host.link.hello
    assert hello is not None
    assert (hello.protocol, hello.firmware, hello.firmware_version) == (1, board.firmware, "1.0.0")
    assert hello.build_id
    assert len(hello.channels) == 2
    assert all(c.rate_hz == RATE_HZ and c.enabled for c in hello.channels)
    (relay,) = hello.outputs
    assert (relay.name, relay.safe, relay.low, relay.high, relay.max_on_ms) == ("relay", 0, 0, 1, 60_000)
    assert hello.failsafe_ms == 2000


@pytest.mark.slow
def test_ten_seconds_at_100_hz_arrive_in_order_and_on_time(host: Host) -> None:
    bursts = host.listens(10.0)
    first, last = bursts[0].samples, bursts[-1].samples
    for burst in bursts:
        steps = (burst.samples.seq - first.seq) % _U32
        assert (burst.samples.t_us - first.t_us) % _U32 == pytest.approx(steps * 1e6 / RATE_HZ, abs=1)
    assert last.seq + last.count - first.seq >= 10 * RATE_HZ
    lost = host.link.counters
    assert (lost["samples_lost_on_line"], lost["bad_frames"], lost["duplicate_frames"]) == (0, 0, 0)
    assert sum(b.lost for b in bursts) == 0


def test_a_set_is_obeyed_acknowledged_and_reported(board: Board, host: Host) -> None:
    assert not board.relay()
    switch_on(host)
    assert board.relay()
    state = host.link.output("relay")
    assert (state.asked, state.reported, state.changes, state.error) == (1.0, 1.0, 1, None)
    host.send(Set(900, 0, 1.0, 0), Set(900, 0, 1.0, 0))
    assert host.hears(Ack, lambda m: m.correlation == 900).result == Result.OK
    host.link.set_output("relay", 0.0)
    assert host.hears(Heartbeat, lambda m: m.outputs[0].value == 0.0).outputs[0].changes == 2
    assert not board.relay()


@pytest.mark.parametrize(
    ("output", "value", "result"),
    [
        (1, 1.0, Result.NO_SUCH_OUTPUT),
        (255, 0.0, Result.NO_SUCH_OUTPUT),
        (0, 1.5, Result.OUT_OF_RANGE),
        (0, -0.001, Result.OUT_OF_RANGE),
        (0, float("nan"), Result.OUT_OF_RANGE),
        (0, float("-inf"), Result.OUT_OF_RANGE),
    ],
)
def test_a_set_that_cannot_be_is_refused(
    board: Board, host: Host, output: int, value: float, result: Result
) -> None:
    host.send(Set(901, output, value, 0))
    ack = host.hears(Ack, lambda m: m.correlation == 901)
    assert (ack.output, ack.result, ack.value) == (output, result, 0.0)
    assert not board.relay()


def test_time_is_the_clock_of_the_samples(host: Host) -> None:
    before = host.hears(Samples)
    host.send(TimeRequest(STAMP))
    time = host.hears(Time, lambda m: m.id == STAMP)
    after = host.hears(Samples, lambda m: m.seq > before.seq + 20)
    assert time.received_us <= time.sent_us
    assert before.t_us < time.received_us
    assert time.sent_us < after.t_us + after.count * 1e6 / RATE_HZ


@pytest.mark.slow
def test_outputs_go_safe_by_themselves_when_the_host_falls_silent(board: Board, host: Host) -> None:
    switch_on(host)
    host.silent = True
    last_ms = send_stamped(host, HostHeartbeat())
    said = host.hears(Heartbeat, lambda m: m.outputs[0].value == 0.0)
    assert not board.relay()
    assert said.failsafes == 1
    assert 2000 - 5 <= said.uptime_ms - last_ms <= 2000 + SLACK_MS
    assert [m.kind for m in host.heard if isinstance(m, Fault)] == [FaultKind.DEAD_MAN]

    start = len(host.heard)
    host.send(Set(902, 0, 1.0, 0))
    assert host.hears(Ack, lambda m: m.correlation == 902).result == Result.DEAD_MAN
    host.hears(Heartbeat, lambda m: m.uptime_ms > said.uptime_ms + 1000)
    assert not any(isinstance(m, Samples) for m in host.heard[start:])

    start = len(host.events)
    host.silent = False
    assert host.hears(Heartbeat).failsafes == 1
    host.hears(Samples)
    assert host.link.counters["failsafes"] == 1
    assert not board.relay(), "a machine must not start by itself because its host is back"
    gap = bursts_since(host, start)[0].lost
    assert gap == host.link.counters["samples_dropped_by_board"] > RATE_HZ
    assert host.link.counters["samples_lost_on_line"] == 0
    switch_on(host)
    assert board.relay()


def test_max_on_ends_while_the_host_is_alive(board: Board, host: Host) -> None:
    on_ms = send_stamped(host, Set(903, 0, 1.0, 700))
    assert host.hears(Ack, lambda m: m.correlation == 903).result == Result.OK
    fault = host.hears(Fault)
    off = host.hears(Heartbeat, lambda m: m.outputs[0].value == 0.0)
    assert (fault.kind, fault.index) == (FaultKind.MAX_ON, 0)
    assert not board.relay()
    assert 700 - 5 <= off.uptime_ms - on_ms <= 700 + SLACK_MS
    assert off.failsafes == 0
    switch_on(host)
    assert board.relay()


def test_garbage_costs_nothing_but_itself(board: Board, host: Host) -> None:
    noise = random.Random(4)
    for _ in range(20):
        host.send_bytes(noise.randbytes(100))
        host.hears(Samples)
    host.send_bytes(DELIMITER)
    switch_on(host)
    assert board.relay()
    counters = host.link.counters
    assert counters["bad_frames_at_board"] > 10
    assert (counters["bad_frames"], counters["samples_lost_on_line"], counters["resets"]) == (0, 0, 0)


def test_a_reset_in_mid_stream_is_seen_and_leaves_the_outputs_safe(board: Board, host: Host) -> None:
    switch_on(host)
    start = len(host.events)
    board.reset()
    host.until(lambda: any(isinstance(e, Greeted) for e in host.events[start:]))
    (greeted,) = [e for e in host.events[start:] if isinstance(e, Greeted)]
    assert greeted.reset
    assert host.hears(Hello, lambda m: m.uptime_ms < SLACK_MS)
    samples = host.hears(Samples)
    assert samples.t_us == pytest.approx(samples.seq * 1e6 / RATE_HZ, abs=SLACK_MS * 1000), "both began anew"
    assert not board.relay()
    assert host.link.counters["resets"] == 1
    assert host.hears(Heartbeat).outputs[0].changes == 0
    switch_on(host)
    assert board.relay()


def test_config_changes_rate_and_channels_from_one_sample_to_the_next(host: Host) -> None:
    assert host.link.hello is not None
    size = {1: 2, 2: 4, 3: 4}[host.link.hello.channels[1].type]
    start = len(host.events)
    host.link.configure(rate_hz=50.0, enabled=0b10)
    host.until(lambda: any(isinstance(e, Configured) for e in host.events[start:]))
    bursts = host.listens(1.0)
    first = bursts[0].samples
    assert all(b.samples.config == 1 and len(b.samples.data) == b.samples.count * size for b in bursts)
    for burst in bursts:
        steps = burst.samples.seq - first.seq
        assert burst.samples.t_us - first.t_us == pytest.approx(steps * 20_000, abs=1)
    assert host.link.counters["malformed_messages"] == 0


def test_a_config_out_of_range_is_refused_and_changes_nothing(host: Host) -> None:
    start = len(host.events)
    host.link.configure(rate_hz=1e6)
    assert host.hears(ConfigAck).result == Result.OUT_OF_RANGE
    assert host.hears(Samples).config == 0
    host.link.configure(enabled=1 << 31)
    assert host.hears(ConfigAck).result == Result.OUT_OF_RANGE
    assert host.hears(Samples).config == 0
    answers = [e for e in host.events[start:] if isinstance(e, Configured)]
    assert all(e.refused for e in answers)


def test_bye_makes_the_outputs_safe_at_once_and_is_no_failsafe(board: Board, host: Host) -> None:
    switch_on(host)
    host.silent = True
    left_ms = send_stamped(host, HostHeartbeat(), Bye())
    off = host.hears(Heartbeat, lambda m: m.outputs[0].value == 0.0)
    assert off.uptime_ms - left_ms < SLACK_MS
    assert off.failsafes == 0
    assert not board.relay()
    start = len(host.heard)
    assert host.hears(Heartbeat, lambda m: m.uptime_ms > off.uptime_ms + 2500).failsafes == 0
    assert not any(isinstance(m, Samples) for m in host.heard[start:])


def test_a_ping_comes_back_as_it_was(host: Host) -> None:
    data = bytes(range(60))

    def echoes() -> list[Echo]:
        if not host.link.pinging:  # not yet, or the answer was too late
            host.link.ping(data)
        return [e for e in host.events if isinstance(e, Echo)]

    host.until(echoes)
    assert [echo.data for echo in echoes()] == [data]


def test_a_line_that_is_busy_both_ways_breaks_no_frame_and_loses_no_sample(host: Host) -> None:
    start = len(host.events)
    for k in range(300):
        ping = Ping(k.to_bytes(2, "little") * 25)
        host.send(ping)
        host.hears(Pong, lambda m, data=ping.data: m.data == data)  # type: ignore[misc]
    host.hears(Samples)
    assert sum(burst.lost for burst in bursts_since(host, start)) == 0
    counters = host.link.counters
    assert (counters["bad_frames"], counters["bad_frames_at_board"], counters["resets"]) == (0, 0, 0)

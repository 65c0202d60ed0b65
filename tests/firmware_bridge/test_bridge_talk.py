"""What the link and the board agree on: rate and channels, time, flow control, ping, good-bye."""

from __future__ import annotations

from dataclasses import replace

from links import HELLO, S, all_sent, correlation, greeted, samples, sent

from firmware_bridge import Burst, Configured, Echo, Greeted, Link
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.link import TIME_BURST
from firmware_bridge.messages import (
    Ack,
    Bye,
    ChannelInfo,
    Config,
    ConfigAck,
    Fault,
    HelloRequest,
    HostHeartbeat,
    Log,
    Message,
    OutputInfo,
    Ping,
    Pong,
    Samples,
    Set,
    Time,
    TimeRequest,
)
from firmware_bridge.requests import RETRY_NS

TWO = replace(HELLO, channels=(*HELLO.channels, ChannelInfo("level", "m", 3, 1, 1.0, 20.0)))


def configured(rate_hz: float, enabled: int) -> tuple[Link, Config]:
    """A link that has asked a board of two channels for this, and what it has sent."""
    link = Link()
    link.receive(encode(TWO), 0)
    link.configure(rate_hz, enabled)
    (request,) = (m for m in all_sent(link, 0) if isinstance(m, Config))
    return link, request


def test_config_goes_out_before_the_first_heartbeat_and_again_until_it_is_answered() -> None:
    link = Link()
    link.poll(0)
    link.receive(encode(TWO), 0)
    link.configure(100.0, 0b10)
    link.set_output("relay", 1.0)
    (request,) = all_sent(link, 0)
    assert request == Config(request.correlation, 100.0, 0b10)  # type: ignore[attr-defined]
    assert all_sent(link, RETRY_NS - 1) == []
    assert all_sent(link, RETRY_NS) == [request]


def test_the_answer_to_config_says_how_the_board_samples_now() -> None:
    link, request = configured(100.0, 0b10)
    (event,) = link.receive(encode(ConfigAck(request.correlation, 0, 1, 99.5, 0b10)), 1)
    assert isinstance(event, Configured)
    assert event.refused == ""
    assert [(c.name, c.enabled, c.rate_hz) for c in event.hello.channels] == [
        ("current", 0, 99.5),
        ("level", 1, 99.5),
    ]
    assert HostHeartbeat() in all_sent(link, 1)
    (burst,) = link.receive(encode(Samples(0, 0, 0, 1, 2, bytes(8))), 2)
    assert isinstance(burst, Burst)


def test_a_config_that_is_refused_says_so_and_leaves_all_as_it_was() -> None:
    link, request = configured(5000.0, 0)
    (event,) = link.receive(encode(ConfigAck(request.correlation, 2, 0, 20.0, 0b11)), 1)
    assert event == Configured(TWO, "rate or channels out of range (result 2)")


def test_the_answer_to_an_older_config_is_late() -> None:
    link, request = configured(100.0, 0)
    link.configure(50.0, 0)
    assert link.receive(encode(ConfigAck(request.correlation, 0, 1, 100.0, 0b11)), 1) == []
    assert link.counters["late_answers"] == 1


def test_samples_of_a_config_that_is_not_known_are_not_guessed_at_and_hello_is_asked_for() -> None:
    link = greeted()
    assert link.receive(encode(Samples(0, 0, 0, 9, 2, bytes(4))), 1) == []
    assert sent(link, 1) == [HelloRequest(1, 1)]
    now = replace(HELLO, config=9)
    assert link.receive(encode(now), 2) == [Greeted(now, reset=False)]
    (burst,) = link.receive(encode(Samples(2, 0, 0, 9, 2, bytes(4))), 3)
    assert isinstance(burst, Burst)


def test_the_time_is_asked_for_often_at_first_and_then_each_second() -> None:
    link = Link()
    link.receive(encode(HELLO), 0)
    asked = [
        t_ms
        for t_ms in range(0, 4000, 10)
        if any(isinstance(m, TimeRequest) for m in all_sent(link, t_ms * 1_000_000))
    ]
    burst_end_ms = 50 * (TIME_BURST - 1)
    assert asked[:TIME_BURST] == list(range(0, 400, 50))
    assert asked[TIME_BURST:] == [burst_end_ms + 1000 * k for k in (1, 2, 3)]


def test_an_answer_sets_the_clock_and_one_that_comes_twice_does_not() -> None:
    link = Link()
    link.receive(encode(HELLO), 0)
    (request,) = (m for m in all_sent(link, S) if isinstance(m, TimeRequest))
    answer = encode(Time(request.id, 5_000_100, 5_000_300))
    link.receive(answer, S + 400_000)
    assert link.clock.host_ns(5_000_200, S) == S + 200_000
    assert link.clock.delay_ns == 200_000
    link.receive(answer, 9 * S)
    assert link.clock.delay_ns == 200_000
    assert link.counters["late_answers"] == 1


def test_a_reset_board_has_a_clock_of_its_own() -> None:
    link = Link()
    link.receive(encode(HELLO), 0)
    (request,) = (m for m in all_sent(link, S) if isinstance(m, TimeRequest))
    link.receive(encode(Time(request.id, 5_000_100, 5_000_300)), S + 400_000)
    link.receive(encode(replace(HELLO, uptime_ms=3)), 2 * S)
    assert not link.clock.known


def test_no_more_is_underway_than_the_board_can_hold() -> None:
    many = replace(HELLO, outputs=tuple(OutputInfo(f"o{i}", 0.0, 0.0, 1.0, 0) for i in range(20)))
    link = Link()
    link.receive(encode(many), 0)
    for i in range(20):
        link.set_output(f"o{i}", 1.0)
    acknowledged: list[int] = []
    while len(acknowledged) < 20:
        data = link.poll(1)
        assert 0 < len(data) <= HELLO.receive_bytes
        sets = [m for m in messages_in(data) if isinstance(m, Set)]
        assert link.due_ns() > 1  # and nobody is woken before something has changed
        acknowledged += [m.output for m in sets]
        link.receive(b"".join(encode(Ack(m.correlation, m.output, 0, 1.0)) for m in sets), 1)
        answer_the_time(link, data)
    assert acknowledged == list(range(20))


def messages_in(data: bytes) -> list[Message]:
    return [decode(content) for content in Decoder().feed(data)]


def answer_the_time(link: Link, data: bytes) -> None:
    for m in messages_in(data):
        if isinstance(m, TimeRequest):
            link.receive(encode(Time(m.id, 0, 0)), 1)


def test_what_is_not_answered_frees_its_room_after_a_quarter_of_a_second() -> None:
    link = greeted()
    link.set_output("relay", 1.0)
    link.set_output("fan", 1.0)
    link.ping(bytes(20))
    first = sent(link, 1)
    assert [type(m) for m in first] == [Ping, Set]
    assert [type(m) for m in sent(link, RETRY_NS + 1)] == [Set, Set]


def test_a_ping_comes_back_with_its_round_trip_and_an_older_ones_answer_does_not_count() -> None:
    link = greeted()
    link.ping(b"one")
    assert Ping(b"one") in sent(link, 10)
    link.ping(b"two")
    assert Ping(b"two") in sent(link, 20)
    assert link.receive(encode(Pong(b"one")), 30) == []
    assert link.pinging
    assert link.receive(encode(Pong(b"two")), 50) == [Echo(b"two", 30)]
    assert not link.pinging


def test_leaving_says_bye_to_a_board_that_has_been_greeted_and_nothing_to_another() -> None:
    assert messages_in(greeted().leave()) == [Bye()]
    assert Link().leave() == b""


def test_log_and_fault_are_handed_on_and_counted() -> None:
    link = greeted()
    log, fault = Log(2, "hot"), Fault(3, 0, "I2C")
    assert link.receive(encode(log) + encode(fault), 1) == [log, fault]
    assert (link.counters["logs"], link.counters["faults"]) == (1, 1)


def test_max_on_goes_out_with_the_set() -> None:
    link = greeted()
    link.set_output("relay", 1.0, max_on_ms=1500)
    messages = sent(link, 1)
    assert messages == [Set(correlation(messages), 0, 1.0, 1500)]


def test_a_board_that_was_reset_while_the_port_was_closed_is_known_by_an_uptime_too_small() -> None:
    link = greeted()
    link.receive(encode(samples(500)), S)
    link.restart()
    again = replace(HELLO, uptime_ms=5000)  # more than before, and yet a minute has passed
    assert link.receive(encode(again), 60 * S) == [Greeted(again, reset=True)]
    assert link.counters["resets"] == 1


def test_a_board_whose_clock_is_slow_was_not_reset() -> None:
    link = greeted()
    link.restart()
    later = replace(HELLO, uptime_ms=1000 + 3_590_000)  # an hour, 0.3 % slow
    assert link.receive(encode(later), 3600 * S) == [Greeted(later, reset=False)]

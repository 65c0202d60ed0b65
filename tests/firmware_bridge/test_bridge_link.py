"""The host's side of the link: what it sends and when, and what it makes of what it hears. No I/O, no clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from links import HELLO, S, beat, correlation, greeted, samples, sent

from firmware_bridge import Burst, Greeted, Link, Mismatch
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.link import ASK_EVERY_NS
from firmware_bridge.messages import (
    Ack,
    Heartbeat,
    HelloRequest,
    HostHeartbeat,
    Message,
    Samples,
    Set,
)
from firmware_bridge.requests import RETRY_NS, TRIES


def lost(link: Link, message: Samples) -> int:
    (event,) = link.receive(encode(message), 0)
    assert isinstance(event, Burst)
    return event.lost


def test_a_link_asks_for_hello_until_it_comes() -> None:
    link = Link()
    assert sent(link, 0) == [HelloRequest(1, 1)]
    assert sent(link, ASK_EVERY_NS - 1) == []
    assert link.due_ns() == ASK_EVERY_NS
    assert sent(link, ASK_EVERY_NS) == [HelloRequest(1, 1)]
    link.receive(encode(HELLO), ASK_EVERY_NS)
    assert sent(link, 10 * ASK_EVERY_NS) == [HostHeartbeat()]


def test_the_first_bytes_of_a_link_end_whatever_half_a_frame_the_board_holds() -> None:
    board = Decoder()
    board.feed(encode(Set(1, 0, 1.0, 0))[:5])
    assert [decode(c) for c in board.feed(Link().poll(0))] == [HelloRequest(1, 1)]


def test_nothing_is_believed_before_hello() -> None:
    link = Link()
    assert link.receive(encode(samples(0)) + encode(beat(5, relay=1.0)), 0) == []
    assert link.output("relay").reported is None


def test_heartbeats_go_out_each_quarter_of_failsafe_ms() -> None:
    link = greeted()
    assert sent(link, S // 2 - 1) == []
    assert sent(link, S // 2) == [HostHeartbeat()]
    assert sent(link, S - 1) == []
    assert sent(link, S) == [HostHeartbeat()]


def test_a_repeated_hello_of_the_same_board_is_no_event() -> None:
    link = greeted()
    assert link.receive(encode(HELLO) + encode(replace(HELLO, uptime_ms=1200)), 0) == []
    assert link.counters["resets"] == 0


def test_a_hello_whose_uptime_went_back_is_a_reset() -> None:
    link = greeted()
    link.receive(encode(samples(500)), 0)
    again = replace(HELLO, uptime_ms=3)
    assert link.receive(encode(again), 0) == [Greeted(again, reset=True)]
    assert lost(link, samples(0)) == 0
    assert link.counters["resets"] == 1


def test_a_reset_whose_hello_was_lost_is_seen_in_the_heartbeat_and_hello_is_asked_for() -> None:
    link = greeted()
    link.receive(encode(beat(5)), S)
    assert sent(link, S) == [HelloRequest(1, 1)]
    again = replace(HELLO, uptime_ms=300)
    assert link.receive(encode(again), S) == [Greeted(again, reset=True)]
    assert link.counters["resets"] == 1


def test_a_reset_that_neither_hello_nor_uptime_tells_is_known_by_samples_that_go_on_from_the_past() -> None:
    link = greeted()
    link.receive(encode(samples(500)), 0)
    for seq in (0, 2, 4):
        assert link.receive(encode(samples(seq)), 0) == []
    assert sent(link, 0) == [HelloRequest(1, 1)]
    again = replace(HELLO, uptime_ms=1300)
    assert link.receive(encode(again), 0) == [Greeted(again, reset=True)]
    assert lost(link, samples(6)) == 0
    assert link.counters["resets"] == 1


def test_uptime_that_wraps_after_49_days_is_no_reset() -> None:
    link = Link()
    link.receive(encode(replace(HELLO, uptime_ms=2**32 - 10)), 0)
    link.receive(encode(beat(90)), 0)
    assert link.counters["resets"] == 0
    assert link.greeted


def test_missing_samples_are_counted_exactly_by_seq() -> None:
    link = greeted()
    assert lost(link, samples(100, n=2)) == 0
    assert lost(link, samples(102, n=3)) == 0
    assert lost(link, samples(112, n=1)) == 7
    assert link.counters["samples_lost_on_line"] == 7


def test_what_the_board_dropped_is_told_from_what_the_line_lost() -> None:
    link = greeted()
    lost(link, samples(0, n=2, dropped=40))
    assert lost(link, samples(12, n=2, dropped=46)) == 10
    assert link.counters["samples_dropped_by_board"] == 6
    assert link.counters["samples_lost_on_line"] == 4


def test_seq_wraps_without_loss() -> None:
    link = greeted()
    lost(link, Samples(2**32 - 2, 0, 0, 0, 2, bytes(4)))
    assert lost(link, samples(0)) == 0


def test_a_duplicate_frame_is_delivered_once() -> None:
    link = greeted()
    frame = encode(samples(10))
    assert len(link.receive(frame + frame, 0)) == 1
    assert link.counters["duplicate_frames"] == 1


def test_an_older_frame_is_not_delivered_and_makes_the_host_ask_who_is_there() -> None:
    link = greeted()
    link.receive(encode(samples(1000)), 0)
    assert link.receive(encode(samples(4)), 1) == []
    assert link.counters["late_frames"] == 1
    assert sent(link, 1) == [HelloRequest(1, 1)]


def test_a_set_is_repeated_with_its_correlation_id_until_it_is_acknowledged() -> None:
    link = greeted()
    link.set_output("relay", 1.0)
    (first,) = sent(link, 1)
    assert first == Set(correlation([first]), 0, 1.0, 0)
    assert sent(link, RETRY_NS) == []
    assert sent(link, RETRY_NS + 1) == [first]
    link.receive(encode(Ack(correlation([first]), 0, 0, 1.0)), RETRY_NS + 2)
    assert sent(link, 2 * RETRY_NS + 5) == [HostHeartbeat()]
    state = link.output("relay")
    assert (state.asked, state.reported, state.error) == (1.0, 1.0, None)
    assert link.counters["set_retries"] == 1


def test_the_latest_value_asked_for_wins_and_the_older_ones_ack_means_nothing() -> None:
    link = greeted()
    link.set_output("relay", 1.0)
    older = correlation(sent(link, 1))
    link.set_output("relay", 0.0)
    assert sent(link, 2) == [Set(older + 1, 0, 0.0, 0)]
    link.receive(encode(Ack(older, 0, 0, 1.0)), 3)
    assert link.counters["late_answers"] == 1
    assert link.output("relay").reported is None


def test_a_set_without_an_answer_fails_in_words_after_its_tries() -> None:
    link = greeted()
    link.set_output("relay", 1.0)
    now_ns, sets = 1, 0
    while link.output("relay").error is None:
        sets += sum(isinstance(m, Set) for m in sent(link, now_ns))
        now_ns += RETRY_NS
    assert sets == TRIES
    assert link.output("relay").error == "the board did not acknowledge in 2 s"
    assert link.counters["set_failures"] == 1


def test_a_set_asked_for_before_hello_goes_out_after_the_first_heartbeat() -> None:
    link = Link()
    link.set_output("fan", 30.0)
    assert sent(link, 0) == [HelloRequest(1, 1)]
    link.receive(encode(HELLO), 1)
    heartbeat, request = sent(link, 1)
    assert heartbeat == HostHeartbeat()
    assert request == Set(correlation([request]), 1, 30.0, 0)


def test_an_output_that_the_board_has_not_is_an_error_that_names_those_it_has() -> None:
    link = greeted()
    link.set_output("valve", 1.0)
    assert sent(link, 1) == []
    assert link.output("valve").error == "the board has no output 'valve'; it has: relay, fan"


def test_a_value_out_of_range_is_an_error_that_names_the_range() -> None:
    link = greeted()
    link.set_output("fan", 400.0)
    link.receive(encode(Ack(correlation(sent(link, 1)), 1, 2, 0.0)), 2)
    assert link.output("fan").error == "the board refused the value; 'fan' takes 0 to 100"


def test_a_value_beyond_a_32_bit_float_is_an_error_and_is_not_sent() -> None:
    link = greeted()
    link.set_output("fan", 1e300)
    assert sent(link, 1) == []
    assert link.output("fan").error == "1e+300 does not fit a 32-bit float"


def test_a_set_that_the_dead_man_switch_refused_is_tried_again_after_a_heartbeat() -> None:
    link = greeted()
    link.set_output("relay", 1.0)
    (first,) = sent(link, 1)
    link.receive(encode(Ack(correlation([first]), 0, 3, 0.0)), 2)
    assert sent(link, 2) == [HostHeartbeat()]
    assert sent(link, RETRY_NS + 1) == [first]


@pytest.mark.parametrize("hello_lost", [False, True])
def test_after_a_reset_an_output_is_not_driven_again_by_itself_and_says_so(hello_lost: bool) -> None:
    link = greeted()
    link.set_output("relay", 1.0)
    done = Ack(correlation(sent(link, 1)), 0, 0, 1.0)
    link.receive(encode(done) + encode(beat(1100, relay=1.0, changes=1)), 2)
    if hello_lost:
        link.receive(encode(beat(5)), 3)
    link.receive(encode(replace(HELLO, uptime_ms=9)) + encode(beat(12)), 3)
    assert not any(isinstance(m, Set) for m in sent(link, 4))
    state = link.output("relay")
    assert (state.asked, state.reported) == (1.0, 0.0)
    assert (
        state.error == "the board reports 0: it was reset, its dead-man switch has acted, or max_on ran out"
    )


def test_the_board_tells_of_its_dead_man_switch_and_of_changes_that_nobody_asked_for() -> None:
    link = greeted()
    link.receive(encode(beat(1500, relay=1.0, changes=3, failsafes=2)), 1)
    assert link.counters["failsafes"] == 2
    assert (link.output("relay").reported, link.output("relay").changes) == (1.0, 3)


def test_another_version_is_an_event_and_no_heartbeat_is_sent_to_it() -> None:
    link = Link()
    other = encode(replace(HELLO, protocol=2))
    assert link.receive(other, 0) == []  # it was not asked, and may speak our version too
    assert sent(link, 0) == [HelloRequest(1, 1)]
    assert link.receive(other, 1) == [Mismatch(2)]
    assert sent(link, 1) == []
    assert link.counters["version_mismatches"] == 2


def test_a_board_that_answers_in_our_version_when_asked_is_greeted() -> None:
    link = Link()
    link.receive(encode(replace(HELLO, protocol=2)), 0)
    assert link.receive(encode(HELLO), 1) == [Greeted(HELLO, reset=False)]


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        (Samples(0, 0, 0, 0, 3, bytes(4)), "malformed_messages"),
        (Samples(0, 0, 0, 0, 0, b""), "malformed_messages"),
        (Heartbeat(1100, 0, 0, ()), "malformed_messages"),
        (HelloRequest(1, 1), "malformed_messages"),
        (Ack(99, 0, 0, 1.0), "late_answers"),
    ],
)
def test_a_message_that_makes_no_sense_is_counted_and_has_no_effect(message: Message, counter: str) -> None:
    link = greeted()
    assert link.receive(encode(message), 1) == []
    assert link.counters[counter] == 1


def test_samples_of_a_board_without_channels_make_no_sense() -> None:
    link = Link()
    link.receive(encode(replace(HELLO, channels=())), 0)
    assert link.receive(encode(Samples(0, 0, 0, 0, 4, b"")), 1) == []
    assert link.counters["malformed_messages"] == 1


def test_garbage_between_frames_is_counted_and_costs_nothing_else() -> None:
    link = greeted()
    events = link.receive(encode(samples(0)) + b"\x11garbage\x22\0" + encode(samples(2)), 1)
    assert [e.lost for e in events if isinstance(e, Burst)] == [0, 0]
    assert link.counters["bad_frames"] == 1


def test_a_port_that_is_opened_in_the_midst_of_a_frame_counts_no_damage_and_then_every_damage() -> None:
    link = Link()
    rest_of_a_frame, damaged = encode(HELLO)[20:], b"\x05" + encode(HELLO)
    assert link.receive(rest_of_a_frame, 0) == []
    assert link.counters["bad_frames"] == 0
    assert link.receive(damaged, 0) == []
    assert link.counters["bad_frames"] == 1
    link.restart()
    link.receive(encode(HELLO), 0)
    assert link.greeted
    link.receive(damaged, 0)
    assert link.counters["bad_frames"] == 2


def test_a_port_that_was_opened_again_on_the_same_board_counts_what_was_missed() -> None:
    link = greeted()
    link.receive(encode(samples(10)) + encode(samples(12))[:6], 1)
    link.restart()
    assert sent(link, S) == [HelloRequest(1, 1)]
    later = replace(HELLO, uptime_ms=9000)
    assert link.receive(encode(later), S) == [Greeted(later, reset=False)]
    assert lost(link, samples(50)) == 38


def test_another_board_on_the_same_port_begins_a_sample_count_of_its_own() -> None:
    link = greeted()
    link.receive(encode(samples(10)), 1)
    link.restart()
    link.receive(encode(replace(HELLO, uptime_ms=9000, unique_id="B2")), S)
    assert lost(link, samples(5)) == 0

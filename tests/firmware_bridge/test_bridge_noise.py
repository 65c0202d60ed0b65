"""Lines that damage what they carry: nothing undamaged is lost, nothing damaged is believed, nothing comes twice."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from links import HELLO, S, greeted

from firmware_bridge import Burst, Link
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import ChannelInfo, Hello, Message, Samples

BYTES_A_SECOND = 100_000  # 1 Mbaud, 8N1


def corrupted(stream: bytes, share: float, dice: Random) -> tuple[bytes, set[int]]:
    """The stream with so many of its bytes replaced by others, and where."""
    damaged = bytearray(stream)
    hit = {at for at in range(len(stream)) if dice.random() < share}
    for at in hit:
        damaged[at] ^= dice.randrange(1, 256)
    return bytes(damaged), hit


@pytest.mark.parametrize("seed", range(3))
def test_at_1_mbaud_with_a_tenth_of_the_bytes_damaged_every_whole_frame_is_delivered_once(seed: int) -> None:
    """A frame is whole if its bytes are, and the delimiter before it: without that, who could tell where it begins?"""
    dice = Random(seed)
    frames, contents, at = list[bytes](), list[bytes](), 0
    while at < 2 * BYTES_A_SECOND:
        message = Samples(len(frames), dice.randrange(2**32), 0, 0, 2, dice.randbytes(dice.randrange(1, 12)))
        frames.append(encode(message))
        contents.append(bytes((message.CODE,)) + message.pack())
        at += len(frames[-1])
    stream, hit = corrupted(b"\0" + b"".join(frames), 0.1, dice)
    whole, at = list[bytes](), 1
    for frame, content in zip(frames, contents, strict=True):
        if hit.isdisjoint(range(at - 1, at + len(frame))):
            whole.append(content)
        at += len(frame)
    decoder = Decoder()
    found = [c for at in range(0, len(stream), 997) for c in decoder.feed(stream[at : at + 997])]
    assert len(whole) > 100
    assert found == whole


def test_the_link_tells_exactly_which_samples_a_damaged_line_has_cost() -> None:
    dice, link = Random(5), greeted()
    frames = [encode(Samples(2 * k, 0, 0, 0, 2, bytes(4))) for k in range(2000)]
    stream, _ = corrupted(b"".join(frames), 0.02, dice)
    events = link.receive(stream, S) + link.receive(b"\0" + encode(Samples(4000, 0, 0, 0, 2, bytes(4))), S)
    bursts = [e for e in events if isinstance(e, Burst)]
    seqs = [e.samples.seq for e in bursts]
    assert seqs == sorted(set(seqs))
    first = seqs[0]
    assert sum(e.samples.count + e.lost for e in bursts) == 4002 - first
    assert link.counters["samples_lost_on_line"] == sum(e.lost for e in bursts) > 0


@settings(suppress_health_check=[HealthCheck.too_slow])  # which a busy machine is
@given(st.lists(st.binary(max_size=400), max_size=20), st.booleans())
def test_no_bytes_make_a_link_raise_and_it_greets_the_next_board_that_speaks(
    pieces: list[bytes], known: bool
) -> None:
    link = greeted() if known else Link()
    for k, piece in enumerate(pieces):
        link.receive(piece, k * S)
        link.poll(k * S)
    link.restart()
    link.receive(b"\0" + encode(HELLO), 100 * S)
    assert link.greeted
    assert link.hello == HELLO


STREAM = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=30),
        st.sampled_from([encode(HELLO), encode(Samples(5, 5, 5, 0, 1, b"ab")), b"\0"]),
    ),
    max_size=30,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(STREAM)
def test_every_frame_that_stands_between_two_delimiters_is_found(pieces: list[bytes]) -> None:
    decoder = Decoder()
    found = decoder.feed(b"".join(b"\0" + piece + b"\0" for piece in pieces))
    whole = [p for p in pieces if p in (encode(HELLO), encode(Samples(5, 5, 5, 0, 1, b"ab")))]
    contents = [Decoder().feed(p)[0] for p in whole]
    assert [c for c in found if c in contents] == contents


def test_a_megabyte_of_garbage_costs_no_memory() -> None:
    link, dice = greeted(), Random(3)
    noise = bytes(b or 1 for b in dice.randbytes(65536))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for k in range(16):
        link.receive(noise, k * S)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 4096
    assert peak - before < 8 * len(noise)


def test_a_hello_of_the_greatest_size_and_hostile_counts_is_bounded() -> None:
    message: Message = Hello(
        1,
        0,
        0,
        0,
        0.0,
        0,
        "",
        "",
        "",
        "",
        tuple(ChannelInfo("", "", 255, 255, 0.0, 0.0) for _ in range(80)),
        (),
    )
    link = Link()
    link.receive(encode(message), 0)
    assert decode(Decoder().feed(encode(message))[0]) == message
    assert isinstance(link.poll(0), bytes)

"""Frames: golden numbers from the COBS paper and the CRC catalogue, and any stream that a line can produce."""

from __future__ import annotations

import struct
from binascii import crc_hqx
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge import vectors
from firmware_bridge.codec import (
    Decoder,
    UnknownMessage,
    VersionMismatch,
    decode,
    encode,
)
from firmware_bridge.messages import (
    MAX_TO_HOST_BYTES,
    MESSAGES,
    ChannelInfo,
    Hello,
    HostHeartbeat,
    Message,
    Samples,
    Set,
)
from firmware_bridge.wire import Group, Malformed, Many, Wire, shortest

f32 = st.floats(width=32, allow_nan=False, allow_infinity=False).map(shortest)
BY_WIRE: dict[str, st.SearchStrategy[Any]] = {
    "u8": st.integers(0, 2**8 - 1),
    "u16": st.integers(0, 2**16 - 1),
    "u32": st.integers(0, 2**32 - 1),
    "f32": f32,
    "text": st.text(max_size=12),
    "bytes": st.binary(max_size=900),
    "8 bytes": st.binary(min_size=8, max_size=8),
}


def group(kind: type[Group]) -> st.SearchStrategy[Group]:
    """Any group of the table, field by field as it declares them."""
    return st.builds(kind, **{field.name: values(field.wire) for field in kind.FIELDS})


def values(wire: Wire) -> st.SearchStrategy[Any]:
    return st.lists(group(wire.item), max_size=4).map(tuple) if isinstance(wire, Many) else BY_WIRE[wire.name]


def spoken(message: Group) -> Message:
    """The message, with HELLO of a version that we speak."""
    assert isinstance(message, Message)
    return replace(message, protocol=1) if isinstance(message, Hello) else message


MESSAGE = st.one_of(*(group(kind).map(spoken) for kind in MESSAGES.values()))


@pytest.mark.parametrize(("content", "encoded"), vectors.PAPER)
def test_the_cobs_package_gives_the_papers_examples(content: str, encoded: str) -> None:
    assert cobs.encode(bytes.fromhex(content)) == bytes.fromhex(encoded)
    assert cobs.decode(bytes.fromhex(encoded)) == bytes.fromhex(content)


def test_the_crc_is_the_catalogues_ccitt_false() -> None:
    assert crc_hqx(b"123456789", 0xFFFF) == 0x29B1


def test_the_crc_over_a_good_frame_with_its_crc_is_zero() -> None:
    content = cobs.decode(encode(Set(7, 0, 1.0, 0))[:-1])
    assert crc_hqx(content, 0xFFFF) == 0


@given(MESSAGE)
def test_every_message_comes_back_as_it_went(message: Message) -> None:
    (content,) = Decoder().feed(encode(message))
    assert decode(content) == message


@given(MESSAGE)
def test_a_frame_has_one_zero_and_that_at_its_end(message: Message) -> None:
    assert encode(message).index(0) == len(encode(message)) - 1


@given(st.lists(MESSAGE, max_size=6), st.lists(st.integers(0, 4000)))
def test_frames_are_found_however_the_stream_is_cut(messages: list[Message], cuts: list[int]) -> None:
    stream = b"".join(encode(m) for m in messages)
    edges = [0, *sorted(c % (len(stream) + 1) for c in cuts), len(stream)]
    decoder = Decoder()
    found = [c for a, b in pairwise(edges) for c in decoder.feed(stream[a:b])]
    assert [decode(c) for c in found] == messages
    assert decoder.bad_frames == 0


@given(st.lists(st.binary(max_size=200)), MESSAGE)
def test_no_bytes_raise_and_the_next_good_frame_after_garbage_is_found(
    garbage: list[bytes], message: Message
) -> None:
    decoder = Decoder()
    for piece in garbage:
        decoder.feed(piece)
    found = decoder.feed(b"\0" + encode(message))
    assert decode(found[-1]) == message


@pytest.mark.parametrize("message", [Set(7, 0, 1.0, 0), HostHeartbeat(), Samples(1, 2, 3, 0, 2, b"abcd")])
def test_a_frame_with_any_one_bit_flipped_is_not_delivered(message: Message) -> None:
    frame = encode(message)
    for bit in range(8 * (len(frame) - 1)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        assert Decoder().feed(bytes(damaged)) == []


def decode_or_none(content: bytes) -> Message | None:
    try:
        return decode(content)
    except Malformed:
        return None


@given(st.binary(min_size=1, max_size=300))
def test_a_body_that_does_not_fit_its_message_is_malformed_and_nothing_worse(content: bytes) -> None:
    decode_or_none(content)


@given(st.binary(min_size=1, max_size=60), st.sampled_from(sorted(MESSAGES)))
def test_any_body_of_a_known_message_is_read_or_malformed(body: bytes, code: int) -> None:
    decode_or_none(bytes((code,)) + body)


def test_a_run_without_a_zero_is_held_to_the_bound() -> None:
    decoder = Decoder()
    for _ in range(100):
        decoder.feed(b"\x55" * 4096)
    assert len(decoder._tail) == MAX_TO_HOST_BYTES + 5 + 1
    assert decoder.feed(b"\0" + encode(HostHeartbeat())) == [b"\x03"]
    assert decoder.bad_frames == 1


def test_the_longest_frame_passes_and_one_byte_more_is_refused() -> None:
    longest = Samples(0, 0, 0, 0, 1, bytes(MAX_TO_HOST_BYTES - 18))
    (content,) = Decoder().feed(encode(longest))
    assert decode(content) == longest
    with pytest.raises(ValueError, match="1025 bytes; at most 1024"):
        encode(replace(longest, data=longest.data + b"x"))


def test_a_frame_over_the_bound_is_bad_though_its_crc_is_right() -> None:
    content = b"\x84" + bytes(MAX_TO_HOST_BYTES)
    content += crc_hqx(content, 0xFFFF).to_bytes(2, "big")
    decoder = Decoder()
    assert decoder.feed(cobs.encode(content) + b"\0") == []
    assert decoder.bad_frames == 1


def test_empty_frames_are_nothing() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\0\0\0") == []
    assert decoder.bad_frames == 0


def test_a_frame_that_lost_a_byte_is_counted_and_its_neighbours_are_found() -> None:
    decoder = Decoder()
    a, b, c = (encode(Set(i, 0, 1.0, 0)) for i in range(3))
    assert [decode(x) for x in decoder.feed(a + b[:4] + b[5:] + c)] == [Set(0, 0, 1.0, 0), Set(2, 0, 1.0, 0)]
    assert decoder.bad_frames == 1


def test_hello_of_another_version_says_which_though_its_body_is_unknown() -> None:
    with pytest.raises(VersionMismatch) as e:
        decode(b"\x81\x02what comes then is of version 2")
    assert e.value.protocol == 2


def test_a_code_that_is_not_in_the_table_is_unknown_not_malformed() -> None:
    with pytest.raises(UnknownMessage, match="0x9F"):
        decode(b"\x9fhello")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x02\x01", "ends within a u16"),
        (b"\x02\x01\x00\x00", "ends within a f32"),
        (b"\x03!", "1 bytes too many"),
        (b"\x83" + bytes(12), "ends before a count"),
        (b"\x83" + bytes(12) + b"\x01", "ends within a f32"),
        (b"\x81\x01" + bytes(13) + b"\x09short", "ends within a text"),
        (b"\x81\x01" + bytes(13) + b"\x02\xff\xfe", "not UTF-8"),
    ],
)
def test_a_malformed_body_says_where_it_ends(content: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(content)


def test_a_scale_is_read_as_the_shortest_decimal_that_is_the_same_float() -> None:
    assert struct.unpack("<f", struct.pack("<f", 0.01))[0] != 0.01
    info = ChannelInfo("current", "A", 1, 1, 0.01, 20.0)
    assert ChannelInfo.unpack(info.pack())[0].scale == 0.01


@given(st.floats(width=32, allow_nan=False))
def test_the_shortest_decimal_is_the_same_float(value: float) -> None:
    assert struct.pack("<f", shortest(value)) == struct.pack("<f", value)


def test_every_field_of_a_message_is_packed() -> None:
    assert [f.name for f in Hello.FIELDS] == [f.name for f in fields(Hello)]

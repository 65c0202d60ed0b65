"""Frames: golden numbers from the COBS paper and the CRC catalogue, and any stream that a line can produce."""

from __future__ import annotations

import struct
from binascii import crc_hqx
from dataclasses import fields, replace
from itertools import pairwise

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from firmware_bridge.codec import (
    MAX_ENCODED_BYTES,
    MAX_FRAME_BYTES,
    Decoder,
    UnknownMessage,
    VersionMismatch,
    decode,
    encode,
)
from firmware_bridge.messages import (
    Ack,
    ChannelInfo,
    Heartbeat,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Message,
    OutputInfo,
    OutputValue,
    Samples,
    Set,
)
from firmware_bridge.wire import Malformed, shortest

# Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999, and the table that grew from it: content -> encoded.
PAPER = [
    ("", "01"),
    ("00", "01 01"),
    ("00 00", "01 01 01"),
    ("00 11 00", "01 02 11 01"),
    ("11 22 00 33", "03 11 22 02 33"),
    ("11 22 33 44", "05 11 22 33 44"),
    ("11 00 00 00", "02 11 01 01 01"),
    # The paper's own example: an IP header's first bytes.
    ("45 00 00 2c 4c 79 00 00 40 06 4f 37", "02 45 01 04 2c 4c 79 01 05 40 06 4f 37"),
    (bytes(range(1, 255)).hex(), "ff" + bytes(range(1, 255)).hex()),
    (bytes(range(255)).hex(), "01 ff" + bytes(range(1, 255)).hex()),
    (bytes(range(1, 256)).hex(), "ff" + bytes(range(1, 255)).hex() + "02 ff"),
]

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
f32 = st.floats(width=32, allow_nan=False, allow_infinity=False).map(shortest)
name = st.text(max_size=12)
channels = st.lists(st.builds(ChannelInfo, name, name, u8, f32, f32), max_size=4).map(tuple)
outputs = st.lists(st.builds(OutputInfo, name, f32, f32, f32), max_size=4).map(tuple)
values = st.lists(st.builds(OutputValue, f32, u32), max_size=4).map(tuple)
MESSAGE = st.one_of(
    st.builds(HelloRequest, u8),
    st.builds(HostHeartbeat),
    st.builds(Set, u16, u8, f32),
    st.builds(Ack, u16, u8, u8, f32),
    st.builds(Heartbeat, u32, u32, values),
    st.builds(Hello, st.just(1), u32, name, name, name, u16, channels, outputs),
    st.builds(Samples, u32, u32, u32, u16, st.binary(max_size=900)),
)


@pytest.mark.parametrize(("content", "encoded"), PAPER)
def test_the_cobs_package_gives_the_papers_examples(content: str, encoded: str) -> None:
    assert cobs.encode(bytes.fromhex(content)) == bytes.fromhex(encoded)
    assert cobs.decode(bytes.fromhex(encoded)) == bytes.fromhex(content)


def test_the_crc_is_the_catalogues_ccitt_false() -> None:
    assert crc_hqx(b"123456789", 0xFFFF) == 0x29B1


def test_the_crc_over_a_good_frame_with_its_crc_is_zero() -> None:
    content = cobs.decode(encode(Set(7, 0, 1.0))[:-1])
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


@pytest.mark.parametrize("message", [Set(7, 0, 1.0), HostHeartbeat(), Samples(1, 2, 3, 2, b"abcd")])
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


@given(st.binary(min_size=1, max_size=60), st.integers(0x81, 0x84))
def test_any_body_of_a_known_message_is_read_or_malformed(body: bytes, code: int) -> None:
    decode_or_none(bytes((code,)) + body)


def test_a_run_without_a_zero_is_held_to_the_bound() -> None:
    decoder = Decoder()
    for _ in range(100):
        decoder.feed(b"\x55" * 4096)
    assert len(decoder._tail) == MAX_ENCODED_BYTES + 1
    assert decoder.feed(b"\0" + encode(HostHeartbeat())) == [b"\x03"]
    assert decoder.bad_frames == 1


def test_the_longest_frame_passes_and_one_byte_more_is_refused() -> None:
    longest = Samples(0, 0, 0, 1, bytes(MAX_FRAME_BYTES - 17))
    (content,) = Decoder().feed(encode(longest))
    assert decode(content) == longest
    with pytest.raises(ValueError, match="1025 bytes; at most 1024"):
        encode(replace(longest, data=longest.data + b"x"))


def test_a_frame_over_the_bound_is_bad_though_its_crc_is_right() -> None:
    content = b"\x84" + bytes(MAX_FRAME_BYTES)
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
    a, b, c = (encode(Set(i, 0, 1.0)) for i in range(3))
    assert [decode(x) for x in decoder.feed(a + b[:4] + b[5:] + c)] == [Set(0, 0, 1.0), Set(2, 0, 1.0)]
    assert decoder.bad_frames == 1


def test_hello_of_another_version_says_which_though_its_body_is_unknown() -> None:
    with pytest.raises(VersionMismatch) as e:
        decode(b"\x81\x02what comes then is of version 2")
    assert e.value.protocol == 2


def test_a_code_that_is_not_in_the_table_is_unknown_not_malformed() -> None:
    with pytest.raises(UnknownMessage, match="0x89"):
        decode(b"\x89hello")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x02\x01", "ends within a u16"),
        (b"\x02\x01\x00\x00", "ends within a f32"),
        (b"\x03!", "1 bytes too many"),
        (b"\x83" + bytes(8), "ends before a count"),
        (b"\x83" + bytes(8) + b"\x01", "ends within a f32"),
        (b"\x81\x01" + bytes(4) + b"\x09short", "ends within a text"),
        (b"\x81\x01" + bytes(4) + b"\x02\xff\xfe", "not UTF-8"),
    ],
)
def test_a_malformed_body_says_where_it_ends(content: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        decode(content)


def test_a_scale_is_read_as_the_shortest_decimal_that_is_the_same_float() -> None:
    assert struct.unpack("<f", struct.pack("<f", 0.01))[0] != 0.01
    info = ChannelInfo("current", "A", 1, 0.01, 20.0)
    assert ChannelInfo.unpack(info.pack())[0].scale == 0.01


@given(st.floats(width=32, allow_nan=False))
def test_the_shortest_decimal_is_the_same_float(value: float) -> None:
    assert struct.pack("<f", shortest(value)) == struct.pack("<f", value)


def test_every_field_of_a_message_is_packed() -> None:
    assert [f.name for f in Hello.FIELDS] == [f.name for f in fields(Hello)]

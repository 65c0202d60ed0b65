"""Frames of firmware_bridge: what encoding, decoding and a line with damage cost the host."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from statistics import median

from cobs import cobs

from bench.figure import Figure, times_us
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.link import Burst, Event, Link
from firmware_bridge.messages import ChannelInfo, Hello, Message, Samples, Set

CALLS = 5000
BIG_US, SMALL_US = 60, 15
LINE_BYTES_A_SECOND = 100_000  # 1 Mbaud, 8N1
CHANNELS = tuple(ChannelInfo(f"c{i}", "A", 1, 1, 0.01, 1000.0) for i in range(6))
HELLO = Hello(1, 10, 2000, 64, 0.0, 0, "bench", "1", "b", "u", CHANNELS, ())


def measure() -> Iterator[Figure]:
    data = Random(1).randbytes(64 * 6 * 2)
    yield from _frame("64 samples x 6 int16", Samples(1_000_000, 123_456_789, 0, 0, 64, data), BIG_US)
    yield from _frame("16 bytes (SET)", Set(7, 0, 1.0, 60_000), SMALL_US)
    stream, short = _stream(64), _stream(1)
    yield _line("a second of 1 Mbaud through the link", stream, stream)
    yield _line("the same, a tenth of its bytes damaged", _damaged(short), short)


def _frame(name: str, message: Message, floor_us: float) -> Iterator[Figure]:
    frame = encode(message)
    decoder = Decoder()
    plain = cobs.decode(frame[:-1])
    calls = {
        "encode": (lambda: encode(message), lambda: cobs.encode(plain)),
        "decode": (lambda: decode(decoder.feed(frame)[0]), lambda: cobs.decode(frame[:-1])),
    }
    for what, (call, raw) in calls.items():
        took_us, raw_us = median(times_us(call, CALLS)), median(times_us(raw, CALLS))
        yield Figure(
            f"{what} {name}, {len(frame)} B",
            f"{took_us:.1f} us",
            f"{raw_us:.1f} us",
            f"{took_us / raw_us:.1f}",
            f"<= {floor_us} us",
            took_us <= floor_us,
        )


def _stream(rows: int) -> bytes:
    """A second of a full line: frames of so many samples each, all of them different."""
    dice, frames, length, seq = Random(1), list[bytes](), 0, 0
    while length < LINE_BYTES_A_SECOND:
        frames.append(encode(Samples(seq, seq * 1000, 0, 0, rows, dice.randbytes(rows * 12))))
        length, seq = length + len(frames[-1]), seq + rows
    return b"".join(frames)


def _damaged(stream: bytes) -> bytes:
    dice, damaged = Random(2), bytearray(stream)
    for at in range(len(damaged)):
        if dice.random() < 0.1:
            damaged[at] ^= dice.randrange(1, 256)
    return bytes(damaged)


def _line(name: str, stream: bytes, sent: bytes) -> Figure:
    """`stream` in reads of 4 kB, through the whole link; raw is the second that it takes on the line."""
    link = Link()
    link.receive(encode(HELLO), 0)
    reads = [stream[at : at + 4096] for at in range(0, len(stream), 4096)]
    events: list[Event] = []

    def receive() -> None:
        events.extend(e for read in reads for e in link.receive(read, 1))

    (took_us,) = times_us(receive, 1)
    heard = [encode(e.samples) for e in events if isinstance(e, Burst)]
    assert all(frame in sent for frame in heard)
    assert len(set(heard)) == len(heard) > 0
    return Figure(name, f"{took_us / 1000:.1f} ms", "1000 ms", "", "< 1000 ms", took_us < 1e6)

"""Golden vectors: streams of bytes, and what a decoder must make of them, whoever wrote it and in whatever language.

Made here, kept in vectors.json, and held against the Python and the C side alike. What is expected is stated when a
stream is put together, never asked of a decoder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from firmware_bridge.codec import DELIMITER, encode, frame
from firmware_bridge.messages import (
    MAX_TO_BOARD_BYTES,
    MAX_TO_HOST_BYTES,
    Ack,
    Bye,
    ChannelInfo,
    Config,
    ConfigAck,
    Fault,
    Heartbeat,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Log,
    Message,
    OutputInfo,
    OutputValue,
    Ping,
    Pong,
    Samples,
    Set,
    Time,
    TimeRequest,
)

# Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999, and the table that grew from it: plain, encoded.
PAPER = (
    ("", "01"),
    ("00", "0101"),
    ("0000", "010101"),
    ("001100", "01021101"),
    ("11220033", "0311220233"),
    ("11223344", "0511223344"),
    ("11000000", "0211010101"),
    # The paper's own example: an IP header's first bytes.
    ("4500002c4c79000040064f37", "024501042c4c79010540064f37"),
    (bytes(range(1, 255)).hex(), "ff" + bytes(range(1, 255)).hex()),
    (bytes(range(255)).hex(), "01ff" + bytes(range(1, 255)).hex()),
    (bytes(range(1, 256)).hex(), "ff" + bytes(range(1, 255)).hex() + "02ff"),
)

# The catalogue of parametrised CRC algorithms, CRC-16/IBM-3740 (also called CCITT-FALSE): its check value.
CRC_CHECK = (b"123456789".hex(), 0x29B1)

MESSAGE_EXAMPLES: tuple[Message, ...] = (
    HelloRequest(1, 1),
    Set(7, 0, 1.0, 60_000),
    HostHeartbeat(),
    Config(8, 100.0, 0b11),
    TimeRequest(513),
    Ping(b"\0ping\0"),
    Bye(),
    Hello(
        protocol=1,
        uptime_ms=1500,
        failsafe_ms=2000,
        receive_bytes=64,
        max_rate_hz=1000.0,
        config=0,
        firmware="demo",
        firmware_version="1.4.2",
        build_id="3f2a1c0",
        unique_id="A1",
        channels=(
            ChannelInfo("temperature", "Cel", 1, 1, 0.0625, 20.0),
            ChannelInfo("current", "A", 3, 0, 1.0, 20.0),
        ),
        outputs=(OutputInfo("relay", 0.0, 0.0, 1.0, 60_000), OutputInfo("fan", 0.0, 0.0, 100.0, 0)),
    ),
    Ack(7, 0, 0, 1.0),
    Heartbeat(1604, 1, 2, (OutputValue(1.0, 3), OutputValue(0.0, 0))),
    Samples(30, 1_500_000, 10, 1, 2, b"\xf0\x00\xf5\x00"),
    ConfigAck(8, 0, 1, 100.0, 0b11),
    Time(513, 1_600_000, 1_600_125),
    Pong(b"\0ping\0"),
    Log(3, "ready"),
    Fault(2, 0, "relay"),
)


@dataclass(frozen=True)
class Vector:
    """A stream into a decoder with this bound, and the contents (code and body) that it must deliver, in order.

    `stream` and `contents` are hex; `bad_frames` is how many frames it must have counted as damaged in the end.
    """

    name: str
    max_bytes: int
    stream: str
    contents: tuple[str, ...]
    bad_frames: int


def as_json() -> str:
    """vectors.json: cobs, crc, messages and streams; see the classes here for what each holds."""
    whole = {
        "cobs": [{"plain": plain, "encoded": encoded} for plain, encoded in PAPER],
        "crc": {"data": CRC_CHECK[0], "crc": CRC_CHECK[1]},
        "messages": [
            {"message": type(m).__name__, "frame": encode(m).hex(), "says": repr(m)} for m in MESSAGE_EXAMPLES
        ],
        "streams": [asdict(vector) for vector in streams()],
    }
    return json.dumps(whole, indent=1) + "\n"


def streams() -> Iterator[Vector]:
    """Good and bad frames, and what lies between them."""
    yield from _contents()
    yield from _bounds()
    yield from _damaged()
    yield from _between()


def _good(name: str, *contents: bytes, max_bytes: int = MAX_TO_HOST_BYTES) -> Vector:
    return _vector(name, b"".join(map(frame, contents)), contents, max_bytes=max_bytes)


def _vector(
    name: str,
    stream: bytes,
    contents: tuple[bytes, ...] = (),
    bad_frames: int = 0,
    max_bytes: int = MAX_TO_HOST_BYTES,
) -> Vector:
    return Vector(name, max_bytes, stream.hex(), tuple(c.hex() for c in contents), bad_frames)


def _contents() -> Iterator[Vector]:
    """Contents that COBS treats each in a way of its own. The decoder knows no codes: 0x55 is as good as any."""
    code = b"\x55"
    yield _good("a code without a body", code)
    yield _good("a code of zero", b"\0")
    yield _good("ends in a zero", code + b"\x01\0")
    for n in (1, 2, 60, 253, 254, 255, 508, 1000):
        yield _good(f"{n} zeros", code + bytes(n))
    for n in (250, 251, 252, 253, 254, 255, 506, 507, 508, 760):
        yield _good(f"{n} bytes without a zero", code + bytes(1 + k % 255 for k in range(n - 1)))
    yield _good("every byte", code + bytes(range(256)))
    yield _good("all 0xff", code + b"\xff" * 600)
    for message in MESSAGE_EXAMPLES:
        content = bytes((message.CODE,)) + message.pack()
        yield _good(f"message {type(message).__name__}", content)


def _bounds() -> Iterator[Vector]:
    for max_bytes in (MAX_TO_BOARD_BYTES, MAX_TO_HOST_BYTES):
        to = {MAX_TO_BOARD_BYTES: "a board", MAX_TO_HOST_BYTES: "a host"}[max_bytes]
        for filling in (b"\0", b"\x11"):
            longest = filling * (max_bytes - 2)
            shape = f"of 0x{filling.hex()}"
            yield _good(f"the longest frame to {to}, {shape}", longest, max_bytes=max_bytes)
    next_ = frame(b"\x03")
    over = frame(b"\x11" * (MAX_TO_BOARD_BYTES - 1))
    yield _vector("one byte over the bound", over + next_, (b"\x03",), 1, MAX_TO_BOARD_BYTES)
    endless = b"\x11" * 5000
    yield _vector("far over the bound", endless + DELIMITER + next_, (b"\x03",), 1, MAX_TO_BOARD_BYTES)
    yield _vector("far over the bound to a host", endless + DELIMITER + next_, (b"\x03",), 1)


def _damaged() -> Iterator[Vector]:
    """A damaged frame between two good ones costs itself alone."""
    before, after = b"\x02before", b"\x02after"
    damaged = {
        "a wrong crc": _with(frame(b"\x84samples"), at=3, byte=0x20),
        "a crc of the wrong byte order": b"\x04\x03\x93\xd1\0",
        "a truncated frame": frame(b"\x84samples")[:-4] + DELIMITER,
        "a block that runs past the end": b"\x09\x84abc\0",
        "a crc and nothing before it": b"\x03\xff\xff\0",
        "one byte": b"\x11\0",
        "only a block length": b"\x01\0",
        "two zeros in COBS": b"\x01\x01\0",
    }
    for name, bad in damaged.items():
        yield _vector(name, frame(before) + bad + frame(after), (before, after), 1)
    lost = frame(before)[:-1] + frame(after)
    yield _vector("a lost delimiter costs two frames", lost + frame(after), (after,), 1)


def _between() -> Iterator[Vector]:
    good = b"\x82\x01\0\0\0"
    yield _vector("nothing", b"")
    yield _vector("only delimiters", DELIMITER * 5)
    yield _vector(
        "empty frames between", DELIMITER * 3 + frame(good) + DELIMITER * 2 + frame(good), (good, good)
    )
    yield _vector("the stream ends in mid-frame", frame(good) + frame(good)[:4], (good,))
    yield _vector("the stream begins in mid-frame", frame(good)[3:] + frame(good), (good,), 1)
    yield _vector(
        "text between", b"Booting...\r\n\0" + frame(good) + b"panic!\0" + frame(good), (good, good), 2
    )
    noise = bytes((17 * k + k // 7) % 255 + 1 for k in range(300))
    yield _vector("noise between", frame(good) + noise + DELIMITER + frame(good), (good, good), 1)


def _with(data: bytes, at: int, byte: int) -> bytes:
    return data[:at] + bytes((data[at] ^ byte,)) + data[at + 1 :]

"""A link that has been greeted by a board that the test speaks for."""

from __future__ import annotations

from firmware_bridge import Link
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import (
    ChannelInfo,
    Heartbeat,
    Hello,
    HostHeartbeat,
    Message,
    OutputInfo,
    OutputValue,
    Samples,
    Set,
    TimeRequest,
)

S = 1_000_000_000
HELLO = Hello(
    protocol=1,
    uptime_ms=1000,
    failsafe_ms=2000,
    receive_bytes=64,
    max_rate_hz=1000.0,
    config=0,
    firmware="demo",
    firmware_version="1.0",
    build_id="3f2a1c0",
    unique_id="A1",
    channels=(ChannelInfo("current", "A", 1, 1, 0.01, 20.0),),
    outputs=(OutputInfo("relay", 0.0, 0.0, 1.0, 0), OutputInfo("fan", 0.0, 0.0, 100.0, 0)),
)


def all_sent(link: Link, now_ns: int) -> list[Message]:
    return [decode(content) for content in Decoder().feed(link.poll(now_ns))]


def sent(link: Link, now_ns: int) -> list[Message]:
    """All but the questions for the time, which come of themselves."""
    return [m for m in all_sent(link, now_ns) if not isinstance(m, TimeRequest)]


def correlation(messages: list[Message]) -> int:
    (one,) = (m for m in messages if isinstance(m, Set))
    return one.correlation


def samples(seq: int, n: int = 2, dropped: int = 0) -> Samples:
    return Samples(seq, seq * 50_000, dropped, 0, n, bytes(2 * n))


def beat(uptime_ms: int, relay: float = 0.0, changes: int = 0, failsafes: int = 0) -> Heartbeat:
    return Heartbeat(uptime_ms, failsafes, 0, (OutputValue(relay, changes), OutputValue(0.0, 0)))


def greeted() -> Link:
    link = Link()
    link.poll(0)
    link.receive(encode(HELLO), 0)
    assert sent(link, 0) == [HostHeartbeat()]
    return link

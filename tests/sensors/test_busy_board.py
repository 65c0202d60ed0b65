"""How often a board that fills its line is read, and what its times become, on virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.line import FakeLine
from edgeagent.records import NS_PER_MS, NS_PER_S, Block
from edgeagent.sensors.bridge import BridgeSensor, Options
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import (
    ChannelInfo,
    Config,
    ConfigAck,
    Hello,
    HelloRequest,
    Message,
    Samples,
    Time,
    TimeRequest,
)

BAUD = 921_600
BYTE_NS = 10 * NS_PER_S / BAUD
CHANNELS, ROWS = 6, 64
FRAME = 2 * CHANNELS * ROWS + 22
SPAN_NS = FRAME * BYTE_NS  # its samples are taken while the frame before is on the line
RATE_HZ = ROWS * NS_PER_S / SPAN_NS
HELLO = Hello(
    protocol=1,
    uptime_ms=10,
    failsafe_ms=60_000,
    receive_bytes=256,
    max_rate_hz=0.0,
    config=0,
    firmware="busy",
    firmware_version="1",
    build_id="b",
    unique_id="u",
    channels=tuple(ChannelInfo(f"c{i}", "A", 1, 1, 0.01, RATE_HZ) for i in range(CHANNELS)),
    outputs=(),
)


class BusyBoard:
    """Samples without a pause from `began_ns` on, its line full of them byte by byte: `Program` of buses/fake/line.py.

    Its clock is the host's. `pauses_ns`: by frame, how long it takes no samples before it.
    """

    HAS_ID: ClassVar[bool] = False
    stuck_value = False

    def __init__(self, pauses_ns: dict[int, int] | None = None) -> None:
        self._decoder = Decoder()
        self._pauses_ns = pauses_ns or {}
        self._began_ns: int | None = None
        self._frames = self._stepped_ns = 0
        self._asked: list[tuple[int, int]] = []  # for the time: id, and when
        self._rest = b""
        self._rest_from_ns = 0.0
        self.arrived_ns: list[float] = []

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        self._stepped_ns = now_ns
        carried = list(self._sent(now_ns))
        return carried + [self._answer(decode(c), now_ns) for c in self._decoder.feed(heard)]

    def due_ns(self) -> int:
        return self._stepped_ns + NS_PER_MS // 2

    def _answer(self, message: Message, now_ns: int) -> bytes:
        match message:
            case HelloRequest():
                return encode(HELLO)
            case Config():
                self._began_ns, self._rest_from_ns = now_ns, now_ns + SPAN_NS
                return encode(ConfigAck(message.correlation, 0, 0, RATE_HZ, (1 << CHANNELS) - 1))
            case TimeRequest():
                self._asked.append((message.id, now_ns))
        return b""

    def _sent(self, now_ns: int) -> Iterator[bytes]:
        """What the line has carried up to now."""
        while self._began_ns is not None and now_ns >= self._rest_from_ns + BYTE_NS:
            if not self._rest:
                self._rest = self._next_frame()
                continue  # there may be a pause before it
            there = int((now_ns - self._rest_from_ns) / BYTE_NS)
            yield self._rest[:there]
            self._rest_from_ns += min(there, len(self._rest)) * BYTE_NS
            self._rest = self._rest[there:]
            if not self._rest:
                self.arrived_ns.append(self._rest_from_ns)

    def _next_frame(self) -> bytes:
        self._rest_from_ns += self._pauses_ns.get(self._frames, 0)
        t_us = round((self._rest_from_ns - SPAN_NS) / 1000)
        self._frames += 1
        frame = encode(Samples((self._frames - 1) * ROWS, t_us, 0, 0, ROWS, bytes(range(1, 13)) * ROWS))
        asked, self._asked = self._asked, []
        sent_us = round(self._rest_from_ns / 1000)
        return b"".join(encode(Time(id_, at_ns // 1000, sent_us)) for id_, at_ns in asked) + frame


def read_for(seconds: float, latency_s: float, board: BusyBoard) -> tuple[list[Block], int]:
    """The blocks of so many seconds, and how often the port was read for them."""
    clock = VirtualClock(NS_PER_S)
    line = FakeLine("fake:busy", clock, board, FakeDevice())
    options = Options(port="fake:busy", baud=BAUD, latency=latency_s)
    sensor = BridgeSensor("busy", options, line, clock)
    sensor.open()
    end_ns, reads, blocks = clock.now_ns() + round(seconds * NS_PER_S), 0, list[Block]()
    while clock.now_ns() < end_ns:
        clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        reads += 1
        block = sensor.read()
        blocks += [block] if block is not None else []
    assert sensor.counters()["bad_frames"] == 0
    return blocks, reads


@pytest.mark.parametrize("latency_s", [0.002, 0.01, 0.05])
def test_no_frame_waits_longer_than_the_latency(latency_s: float) -> None:
    board = BusyBoard()
    blocks, _ = read_for(5.0, latency_s, board)
    arrived_ns = iter(board.arrived_ns)
    waits_ns = [b.t_read_ns - next(arrived_ns) for b in blocks for _ in range(len(b.values) // ROWS)]
    assert len(waits_ns) > 500
    assert max(waits_ns) <= latency_s * NS_PER_S + NS_PER_MS


def test_a_line_full_of_frames_is_read_less_than_once_a_frame_at_the_default_latency() -> None:
    board = BusyBoard()
    blocks, reads = read_for(5.0, Options(port="any").latency, board)
    frames = sum(len(b.values) for b in blocks) / ROWS
    assert reads < frames


def test_a_board_that_pauses_without_losing_a_sample_keeps_its_own_times() -> None:
    board = BusyBoard(pauses_ns={100: 30 * NS_PER_MS, 101: 4 * NS_PER_MS})
    blocks, _ = read_for(2.0, 0.05, board)
    t_ns = np.concatenate([b.t_mono_ns for b in blocks])
    assert sum(b.lost for b in blocks) == 0
    steps_ms = np.diff(t_ns)[[100 * ROWS - 1, 101 * ROWS - 1]] / NS_PER_MS
    assert steps_ms == pytest.approx([30.0, 4.0], abs=0.5)
    assert all(np.all(np.diff(b.t_mono_ns) < NS_PER_MS) for b in blocks)
    assert all(a.t_mono_ns[-1] < b.t_mono_ns[0] for a, b in pairwise(blocks))

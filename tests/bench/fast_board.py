"""A board that fills its line: `python -m bench.fast_board FD RATE_B_S SECONDS`, a process that costs the host nothing.

Says HELLO, takes any CONFIG, and from the host's first heartbeat on sends SAMPLES at the pace of the line, some bytes
each millisecond as a UART would. Prints `ready`, and at the end how many samples it sent.
"""

from __future__ import annotations

import os
import select
import sys
import time
from random import Random

from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import (
    ChannelInfo,
    Config,
    ConfigAck,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Message,
    Samples,
    Time,
    TimeRequest,
)

CHANNELS, ROWS = 6, 64
FRAME_BYTES = 2 * CHANNELS * ROWS + 21
DATA = Random(1).randbytes(2 * CHANNELS * ROWS)
TICK_S, PATIENCE_S = 0.001, 10.0


class Board:
    """One line; `sent` samples so far."""

    def __init__(self, fd: int, rate_b_s: int) -> None:
        self._fd, self._rate_b_s = fd, rate_b_s
        self._rate_hz = rate_b_s / FRAME_BYTES * ROWS
        self._decoder, self._began_s = Decoder(), time.monotonic()
        self._answers = self._unsent = b""
        self._first_us = self.sent = 0

    def greet(self) -> bool:
        """Answer until a heartbeat comes: whether one did."""
        while self._now_us() < PATIENCE_S * 1e6:
            heard = self._hear()
            os.write(self._fd, self._answers)
            self._answers, self._first_us = b"", self._now_us()
            if any(isinstance(message, HostHeartbeat) for message in heard):
                return True
            time.sleep(TICK_S)
        return False

    def talk(self, seconds: float) -> None:
        start_s = last_s = time.monotonic()
        budget = 0.0
        while last_s - start_s < seconds:
            time.sleep(TICK_S)
            self._hear()
            now_s = time.monotonic()
            budget, last_s = budget + (now_s - last_s) * self._rate_b_s, now_s
            while budget >= 1:
                budget -= self._say(int(budget))
        os.write(self._fd, self._unsent)

    def _say(self, most_bytes: int) -> int:
        """Go on with a frame, or begin one; answers go between two."""
        if not self._unsent:
            t_us = self._first_us + round(self.sent * 1e6 / self._rate_hz)
            self._unsent = self._answers + encode(Samples(self.sent, t_us, 0, 0, ROWS, DATA))
            self._answers = b""
            self.sent += ROWS
        written = os.write(self._fd, self._unsent[:most_bytes])
        self._unsent = self._unsent[written:]
        return written

    def _hear(self) -> list[Message]:
        if not select.select([self._fd], [], [], 0)[0]:
            return []
        heard = [decode(content) for content in self._decoder.feed(os.read(self._fd, 4096))]
        self._answers += b"".join(map(self._answer, heard))
        return heard

    def _answer(self, message: Message) -> bytes:
        match message:
            case HelloRequest():
                channels = (ChannelInfo(f"c{i}", "A", 1, 1, 0.01, self._rate_hz) for i in range(CHANNELS))
                return encode(Hello(1, 10, 60_000, 256, 0.0, 0, "bench", "1", "b", "u", tuple(channels), ()))
            case Config():
                return encode(ConfigAck(message.correlation, 0, 0, self._rate_hz, 0b111111))
            case TimeRequest():
                return encode(Time(message.id, self._now_us(), self._now_us()))
        return b""

    def _now_us(self) -> int:
        return round((time.monotonic() - self._began_s) * 1e6)


if __name__ == "__main__":
    board = Board(int(sys.argv[1]), int(sys.argv[2]))
    print("ready", flush=True)
    if board.greet():
        board.talk(float(sys.argv[3]))
    print(board.sent)

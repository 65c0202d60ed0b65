"""The host's end of the line: firmware_bridge's Link on a port, and all that was heard, message by message."""

from __future__ import annotations

import os
import select
import time
import tty
from collections.abc import Callable
from typing import TypeVar

from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.link import Burst, Event, Link
from firmware_bridge.messages import Hello, Message, Samples

PATIENCE_S = 100.0  # an emulated board on a busy machine; nothing is asserted on this clock
_U32 = 1 << 32

M = TypeVar("M", bound=Message)


class Host:
    """`link` does what a host does; `heard` keeps every message of a greeted board, in order.

    `silent`: nothing is sent any more, as if the host had died.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._fd)
        self._decoder = Decoder()
        self.link = Link()
        self.heard: list[Message] = []
        self.events: list[Event] = []
        self.silent = False
        self._next = 0  # of `heard`

    def close(self) -> None:
        os.close(self._fd)

    def send(self, *messages: Message) -> None:
        self.send_bytes(b"".join(encode(m) for m in messages))

    def send_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            select.select([], [self._fd], [], PATIENCE_S)
            rest = rest[os.write(self._fd, rest) :]

    def until(self, done: Callable[[], object]) -> None:
        """Do a host's work until `done`."""
        end_s = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end_s, f"waited for nothing: {self.link.counters}, {self.heard[-3:]}"
            self._work()

    def hears(self, kind: type[M], where: Callable[[M], bool] = lambda _: True) -> M:
        """The next message like this after the last that was asked for; waits for it."""
        found: list[M] = []

        def look() -> bool:
            while not found and self._next < len(self.heard):
                message = self.heard[self._next]
                self._next += 1
                if isinstance(message, kind) and where(message):
                    found.append(message)
            return bool(found)

        self.until(look)
        return found[0]

    def listens(self, device_s: float) -> list[Burst]:
        """The bursts of so many seconds by the board's clock, from now on."""
        start = len(self.events)

        def bursts() -> list[Burst]:
            return [e for e in self.events[start:] if isinstance(e, Burst)]

        def long_enough() -> bool:
            times_us = [b.samples.t_us for b in bursts()]
            return bool(times_us) and (times_us[-1] - times_us[0]) % _U32 >= device_s * 1e6

        self.until(long_enough)
        return bursts()

    def _work(self) -> None:
        if not self.silent:
            self.send_bytes(self.link.poll(time.monotonic_ns()))
        select.select([self._fd], [], [], 0.01)
        try:
            data = os.read(self._fd, 65536)
        except BlockingIOError:
            return
        self.events += self.link.receive(data, time.monotonic_ns())
        self.heard += [decode(content) for content in self._decoder.feed(data)]

    def greets(self) -> Hello:
        """Until the board has said who it is, and samples come."""
        self.until(lambda: self.link.greeted)
        self.hears(Samples)
        assert self.link.hello is not None
        return self.link.hello

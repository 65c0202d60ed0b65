"""An SHT3x that is not there (datasheet version 7), single measurements without clock stretching only."""

from __future__ import annotations

import errno
from typing import ClassVar

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import FakeChip, os_error
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

DURATION_S = {0x2400: 0.0155, 0x240B: 0.0065, 0x2416: 0.0045}
READ_STATUS, SOFT_RESET = 0xF32D, 0x30A2
RESET_S = 0.0015
AFTER_RESET = 0x8010


class Sht3x(FakeChip):
    """A row is the two words S_T and S_RH. While it measures or resets it acknowledges nothing."""

    ADDRESSES: ClassVar[tuple[int, ...]] = (0x44, 0x45)
    REST, SWING = (0x6000, 0x7000), (0x0200, 0x0400)

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self._measurements = 0
        self._words: tuple[int, ...] = ()
        self._busy_until_ns = clock.now_ns()

    def receive(self, data: bytes) -> None:
        self._be_there()
        command = int.from_bytes(data[:2], "big")
        self._words = ()
        if command in DURATION_S:
            self._words = self.converted(self._measurements)
            self._measurements += 1
            self._busy_for(DURATION_S[command])
        elif command == READ_STATUS:
            self._words = (AFTER_RESET,)
        elif command == SOFT_RESET:
            self._busy_for(RESET_S)

    def answer(self, n: int) -> bytes:
        """What was measured can be fetched once; without it there is no acknowledge."""
        self._be_there()
        if not self._words:
            raise os_error(errno.EREMOTEIO)
        words, self._words = self._words, ()
        return b"".join(with_crc(word) for word in words)[:n].ljust(n, b"\xff")

    def _busy_for(self, seconds: float) -> None:
        self._busy_until_ns = self.clock.now_ns() + round(seconds * NS_PER_S)

    def _be_there(self) -> None:
        if self.clock.now_ns() < self._busy_until_ns:
            raise os_error(errno.EREMOTEIO)


def with_crc(word: int, start: int = 0xFF) -> bytes:
    """A word and its CRC-8: what is left of a long division by x^8 + x^5 + x^4 + 1."""
    rest = (word ^ start << 8) << 8
    for bit in range(23, 7, -1):
        if rest >> bit & 1:
            rest ^= 0x131 << (bit - 8)
    return word.to_bytes(2, "big") + bytes((rest,))


def build(clock: Clock, fake: Fake) -> Sht3x:
    return Sht3x(clock, fake)

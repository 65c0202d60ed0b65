"""An SHT4x that is not there (Sensirion, "Datasheet SHT4x"), without its heater."""

from __future__ import annotations

import errno

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import FakeChip, os_error
from edgeagent.buses.fake.sht3x import with_crc
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

MEASURE_S = {0xFD: 0.0083, 0xF6: 0.0045, 0xE0: 0.0016}
READ_SERIAL_NUMBER, SERIAL_NUMBER = 0x89, (0x0EDC, 0x47A1)
SOFT_RESET = 0x94
SHORT_S = 0.001  # for the serial number, and for a reset


class Sht4x(FakeChip):
    """A row is the two words of temperature and humidity. While it is busy it acknowledges nothing."""

    ADDRESSES = (0x44, 0x45, 0x46)
    REST, SWING = (0x6000, 0x7000), (0x0200, 0x0400)

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self._measurements = 0
        self._words: tuple[int, ...] = ()
        self._busy_until_ns = clock.now_ns()

    def receive(self, data: bytes) -> None:
        """A command that it does not know is not acknowledged."""
        self._be_there()
        command, self._words = data[0], ()
        if command in MEASURE_S:
            self._words = self.converted(self._measurements)
            self._measurements += 1
        elif command == READ_SERIAL_NUMBER:
            self._words = SERIAL_NUMBER
        elif command != SOFT_RESET:
            raise os_error(errno.EREMOTEIO)
        self._busy_until_ns = self.clock.now_ns() + round(MEASURE_S.get(command, SHORT_S) * NS_PER_S)

    def answer(self, n: int) -> bytes:
        """What there is can be fetched once; without it there is no acknowledge."""
        self._be_there()
        if not self._words:
            raise os_error(errno.EREMOTEIO)
        words, self._words = self._words, ()
        return b"".join(with_crc(word) for word in words)[:n].ljust(n, b"\xff")

    def _be_there(self) -> None:
        if self.clock.now_ns() < self._busy_until_ns:
            raise os_error(errno.EREMOTEIO)


def build(clock: Clock, fake: Fake) -> Sht4x:
    return Sht4x(clock, fake)

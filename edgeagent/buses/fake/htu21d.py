"""An HTU21D that is not there (HPC199); it measures without holding the clock only."""

from __future__ import annotations

import errno

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import FakeChip, os_error
from edgeagent.buses.fake.sht3x import with_crc
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

TEMPERATURE, HUMIDITY = 0xF3, 0xF5
MEASURE_S = {TEMPERATURE: 0.050, HUMIDITY: 0.016}
READ_USER = 0xE7
USER = b"\x02"  # as from power-on, and as the driver leaves it


class Htu21d(FakeChip):
    """A row is the two words of temperature and humidity. While it measures it acknowledges nothing."""

    ADDRESSES = (0x40,)
    REST, SWING = (0x683A, 0x7C82), (0x0200, 0x0400)

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self._rows_measured = 0
        self._answer = b""
        self._busy_until_ns = clock.now_ns()

    def receive(self, data: bytes) -> None:
        self._be_there()
        command = data[0]
        self._answer = USER if command == READ_USER else b""
        if command in MEASURE_S:
            humid = command == HUMIDITY
            self._answer = with_crc(self.converted(self._rows_measured)[humid], start=0x00)
            self._rows_measured += humid
            self._busy_until_ns = self.clock.now_ns() + round(MEASURE_S[command] * NS_PER_S)

    def answer(self, n: int) -> bytes:
        """What was measured can be fetched once; without it there is no acknowledge."""
        self._be_there()
        if not self._answer:
            raise os_error(errno.EREMOTEIO)
        answer, self._answer = self._answer, b""
        return answer[:n].ljust(n, b"\xff")

    def _be_there(self) -> None:
        if self.clock.now_ns() < self._busy_until_ns:
            raise os_error(errno.EREMOTEIO)


def build(clock: Clock, fake: Fake) -> Htu21d:
    return Htu21d(clock, fake)

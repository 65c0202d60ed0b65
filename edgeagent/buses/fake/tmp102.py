"""A TMP102 that is not there (SBOS397)."""

from __future__ import annotations

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.lm75 import Lm75
from edgeagent.timebase import Clock

RATES_HZ = (0.25, 1.0, 4.0, 8.0)  # by CR1 CR0
EXTENDED = 0x10  # EM, in the configuration's second byte


class Tmp102(Lm75):
    ADDRESSES = tuple(range(0x48, 0x4C))
    CONFIGURED = b"\x60\xa0"
    WRITABLE = b"\x9f\xd0"  # R1 R0 and AL are the chip's own

    def conversion_s(self) -> float:
        return 1 / RATES_HZ[self._configuration[1] >> 6]

    def mask(self) -> int:
        return 0xFFF0

    def _temperature(self) -> int:
        """In extended mode 13 bits of 1/128 degC a count, and bit 0 tells of it ("Extended Mode")."""
        counts = super()._temperature()
        if not self._configuration[1] & EXTENDED:
            return counts
        return ((counts ^ 0x8000) - 0x8000) >> 1 & 0xFFF8 | 1


def build(clock: Clock, fake: Fake) -> Tmp102:
    return Tmp102(clock, fake)

"""A TMP105 that is not there (SBOS302)."""

from __future__ import annotations

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.lm75 import Lm75
from edgeagent.timebase import Clock


class Tmp105(Lm75):
    def conversion_s(self) -> float:
        """27.5 ms for 9 bits, twice as long for each further one."""
        return 0.0275 * (1 << self._more_bits())

    def mask(self) -> int:
        return 0xFFFF & -(0x80 >> self._more_bits())

    def _more_bits(self) -> int:
        """R1 R0: how many beyond nine."""
        return (self._configuration[0] >> 5) & 3


def build(clock: Clock, fake: Fake) -> Tmp105:
    return Tmp105(clock, fake)

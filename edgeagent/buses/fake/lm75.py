"""An LM75 that is not there, and what its successors have in common with it (DS012658)."""

from __future__ import annotations

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import FakeChip
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

TEMPERATURE, CONFIGURATION = 0x00, 0x01
THRESHOLDS = {0x02: b"\x4b\x00", 0x03: b"\x50\x00"}  # 75 and 80 degC, until someone sets others


class Lm75(FakeChip):
    """Converts by itself, from power-on. A row is one count of 1/256 degC, as the register has it."""

    ADDRESSES = tuple(range(0x48, 0x50))
    REST, SWING = (0x1680,), (0x0080,)  # 22.5 degC and half a degree
    CONVERSION_S = 0.3
    CONFIGURED = b"\x00"
    WRITABLE = b"\x7f"

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self._pointer = 0
        self._configuration = self.CONFIGURED
        self._since_ns = clock.now_ns()

    def receive(self, data: bytes) -> None:
        self._pointer = data[0] & 0x03
        if self._pointer == CONFIGURATION and len(data) > 1:
            self._since_ns = self.clock.now_ns()
            written = data[1:].ljust(len(self.WRITABLE), b"\x00")
            self._configuration = bytes(
                (new & may) | (old & ~may & 0xFF)
                for new, may, old in zip(written, self.WRITABLE, self._configuration, strict=False)
            )

    def answer(self, n: int) -> bytes:
        here = THRESHOLDS.get(self._pointer, self._configuration)
        if self._pointer == TEMPERATURE:
            here = (self._temperature() & 0xFFFF).to_bytes(2, "big")
        return (here * n)[:n]

    def conversion_s(self) -> float:
        return self.CONVERSION_S

    def mask(self) -> int:
        """The bits of the register that this chip fills."""
        return 0xFF80

    def _temperature(self) -> int:
        """Nothing before the first conversion after power-on or a change of settings has ended."""
        done = int((self.clock.now_ns() - self._since_ns) // round(self.conversion_s() * NS_PER_S))
        (counts,) = self.converted(done - 1) if done else (0,)
        return counts & self.mask()


def build(clock: Clock, fake: Fake) -> Lm75:
    return Lm75(clock, fake)

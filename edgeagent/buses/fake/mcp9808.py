"""An MCP9808 that is not there (DS25095A)."""

from __future__ import annotations

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import WordRegisters
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

AMBIENT, MANUFACTURER_ID, DEVICE_ID, RESOLUTION = 0x05, 0x06, 0x07, 0x08
CONVERSION_S = (0.03, 0.065, 0.13, 0.25)  # by resolution


class Mcp9808(WordRegisters):
    """Converts by itself, from power-on. A row is what the ambient temperature register then says."""

    ADDRESSES = tuple(range(0x18, 0x20))
    ID = 0x04  # the high byte of the device id
    REST, SWING = (0xC168,), (0x0008,)  # 22.5 degC and half a degree

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self.words = {MANUFACTURER_ID: 0x0054, DEVICE_ID: (self.id or 0) << 8, RESOLUTION: 0x0303}
        self._since_ns = clock.now_ns()

    def receive(self, data: bytes) -> None:
        super().receive(data)
        if data[0] == RESOLUTION and len(data) == 2:  # the only register of one byte
            self.words[RESOLUTION] = (data[1] & 0x03) * 0x0101
            self._since_ns = self.clock.now_ns()

    def written(self, register: int, value: int) -> None:
        """Limits and alerts are not of interest here."""

    def refresh(self) -> None:
        period_ns = round(CONVERSION_S[self.words[RESOLUTION] & 0x03] * NS_PER_S)
        done = (self.clock.now_ns() - self._since_ns) // period_ns
        if done:
            (self.words[AMBIENT],) = self.converted(done - 1)


def build(clock: Clock, fake: Fake) -> Mcp9808:
    return Mcp9808(clock, fake)

"""An ADXL345 that is not there (revision E): data registers, and its FIFO in bypass and stream mode."""

from __future__ import annotations

import struct
from collections import deque

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import ByteRegisters
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

DEVID, BW_RATE, POWER_CTL, INT_SOURCE, DATA_FORMAT = 0x00, 0x2C, 0x2D, 0x30, 0x31
DATAX0, FIFO_CTL, FIFO_STATUS = 0x32, 0x38, 0x39
WRITABLE = {*range(0x1D, 0x2B), *range(0x2C, 0x30), DATA_FORMAT, FIFO_CTL}
MEASURE, FULL_RESOLUTION, STREAM = 0x08, 0x08, 0x80
DATA_READY, OVERRUN = 0x80, 0x01
FIFO_SAMPLES = 32


class Adxl345(ByteRegisters):
    """A row is one sample of x, y and z in counts of 1/256 g. It samples while POWER_CTL says to measure."""

    ADDRESSES = (0x53, 0x1D)
    ID = 0xE5
    REST, SWING = (0, 0, 256), (12, 8, 5)

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self.registers[DEVID] = self.id or 0
        self.registers[BW_RATE] = 0x0A
        self._fifo: deque[bytes] = deque(maxlen=FIFO_SAMPLES)
        self._first = 0  # the number of this stretch's first sample
        self._taken = 0
        self._since_ns = clock.now_ns()

    def written(self, register: int, value: int) -> None:
        if register not in WRITABLE:
            return
        self._catch_up()
        self.registers[register] = value
        if register in (POWER_CTL, BW_RATE):
            self._first += self._taken
            self._taken, self._since_ns = 0, self.clock.now_ns()
        if register == FIFO_CTL and not value & STREAM:
            self._fifo.clear()

    def answer(self, n: int) -> bytes:
        """Reading the data registers takes the oldest sample out of the FIFO: one a transaction."""
        self._catch_up()
        if self.pointer == DATAX0 and self._fifo:
            self.registers[DATAX0 : DATAX0 + 6] = self._fifo.popleft()
            self.registers[INT_SOURCE] &= ~OVERRUN & 0xFF
        self.registers[FIFO_STATUS] = len(self._fifo)
        return super().answer(n)

    def _catch_up(self) -> None:
        if not self.registers[POWER_CTL] & MEASURE:
            return
        rate_hz = 3200 / 2 ** (15 - (self.registers[BW_RATE] & 0x0F))
        due = int((self.clock.now_ns() - self._since_ns) * rate_hz // NS_PER_S)
        kept = FIFO_SAMPLES + 1 if self.registers[FIFO_CTL] & STREAM else 1
        for k in range(max(self._taken, due - kept), due):
            self._push(struct.pack("<3h", *(self._clipped(c) for c in self.converted(self._first + k))))
        self._taken = max(due, self._taken)

    def _push(self, sample: bytes) -> None:
        self.registers[INT_SOURCE] |= DATA_READY
        if not self.registers[FIFO_CTL] & STREAM:
            self.registers[DATAX0 : DATAX0 + 6] = sample
            return
        if len(self._fifo) == FIFO_SAMPLES:
            self.registers[INT_SOURCE] |= OVERRUN
        self._fifo.append(sample)

    def _clipped(self, counts: int) -> int:
        """What the range leaves of it; in ten bits (no full resolution) a count is worth more in a wider range."""
        wider = self.registers[DATA_FORMAT] & 0b11
        most = 512 << wider
        counts = min(max(counts, -most), most - 1)
        return counts if self.registers[DATA_FORMAT] & FULL_RESOLUTION else counts >> wider


def build(clock: Clock, fake: Fake) -> Adxl345:
    return Adxl345(clock, fake)

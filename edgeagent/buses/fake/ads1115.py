"""An ADS1115 that is not there (SBAS444, section 8), single-shot conversions only. Its oscillator is 8 % slow."""

from __future__ import annotations

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import WordRegisters
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

CONVERSION, CONFIGURATION, LOW_THRESHOLD, HIGH_THRESHOLD = 0x00, 0x01, 0x02, 0x03
START, IDLE = 0x8000, 0x8000
PAIRS = ((0, 1), (0, 3), (1, 3), (2, 3))  # by MUX, below 4
FULL_SCALE_UV = (6_144_000, 4_096_000, 2_048_000, 1_024_000, 512_000, 256_000, 256_000, 256_000)  # by PGA
SPEEDS = (8, 16, 32, 64, 128, 250, 475, 860)  # by DR
SLOW_BY = 1.08


class Ads1115(WordRegisters):
    """A row is the voltages at the four inputs, in microvolts; each conversion takes the next row."""

    ADDRESSES = (0x48, 0x49, 0x4A, 0x4B)
    REST, SWING = (500_000, 1_000_000, 1_650_000, 3_300_000), (5_000, 10_000, 16_500, 0)

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self.words = {CONVERSION: 0, CONFIGURATION: 0x8583, LOW_THRESHOLD: 0x8000, HIGH_THRESHOLD: 0x7FFF}
        self._conversions = 0
        self._ready_ns: int | None = None

    def written(self, register: int, value: int) -> None:
        if register != CONFIGURATION:
            return
        busy = self._ready_ns is not None
        self.words[CONFIGURATION] = value & ~IDLE | (0 if busy else IDLE)
        if value & START and not busy:
            self.words[CONFIGURATION] &= ~IDLE
            self._ready_ns = self.clock.now_ns() + round(SLOW_BY * NS_PER_S / SPEEDS[value >> 5 & 7])

    def refresh(self) -> None:
        if self._ready_ns is None or self.clock.now_ns() < self._ready_ns:
            return
        self._ready_ns = None
        setting = self.words[CONFIGURATION]
        inputs_uv = self.converted(self._conversions)
        self._conversions += 1
        mux, full_scale_uv = setting >> 12 & 7, FULL_SCALE_UV[setting >> 9 & 7]
        volts_uv = inputs_uv[mux - 4] if mux >= 4 else inputs_uv[PAIRS[mux][0]] - inputs_uv[PAIRS[mux][1]]
        counts = min(max(round(volts_uv * 32768 / full_scale_uv), -32768), 32767)
        self.words[CONVERSION] = counts & 0xFFFF
        self.words[CONFIGURATION] = setting | IDLE


def build(clock: Clock, fake: Fake) -> Ads1115:
    return Ads1115(clock, fake)

"""An INA219 that is not there (SBOS448G, section 8.6), without its calculation of current and power."""

from __future__ import annotations

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import WordRegisters
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

CONFIGURATION, SHUNT_VOLTAGE, BUS_VOLTAGE = 0x00, 0x01, 0x02
RESET, AFTER_RESET = 0x8000, 0x399F
CONVERSION_READY = 0x0002
TRIGGERED = 0b011
CONVERSION_S = 586e-6


class Ina219(WordRegisters):
    """A row is the counts of the shunt voltage (10 uV) and of the bus voltage (4 mV). Triggered conversions only."""

    ADDRESSES = tuple(range(0x40, 0x50))
    REST, SWING = (1500, 3000), (300, 20)  # 150 mA through 0.1 Ohm at 12 V

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self._conversions = 0
        self._ready_ns: int | None = None
        self._power_on()

    def _power_on(self) -> None:
        self.words = {CONFIGURATION: AFTER_RESET, SHUNT_VOLTAGE: 0, BUS_VOLTAGE: 0}
        self._ready_ns = None

    def written(self, register: int, value: int) -> None:
        if register != CONFIGURATION:
            return
        if value & RESET:
            self._power_on()
            return
        self.words[CONFIGURATION] = value
        self.words[BUS_VOLTAGE] &= ~CONVERSION_READY  # writing the mode clears it
        if value & 0b111 == TRIGGERED:
            both_s = CONVERSION_S * (_samples(value >> 3) + _samples(value >> 7))
            self._ready_ns = self.clock.now_ns() + round(both_s * NS_PER_S)

    def refresh(self) -> None:
        if self._ready_ns is None or self.clock.now_ns() < self._ready_ns:
            return
        self._ready_ns = None
        shunt, bus = self.converted(self._conversions)
        self._conversions += 1
        limit = 4000 << (self.words[CONFIGURATION] >> 11 & 0b11)
        self.words[SHUNT_VOLTAGE] = min(max(shunt, -limit), limit) & 0xFFFF
        self.words[BUS_VOLTAGE] = bus << 3 | CONVERSION_READY


def _samples(setting: int) -> int:
    """How many conversions a setting of BADC or SADC averages (table 5)."""
    return 1 << (setting & 0b111) if setting & 0b1000 else 1


def build(clock: Clock, fake: Fake) -> Ina219:
    return Ina219(clock, fake)

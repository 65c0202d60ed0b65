"""A BMP280 that is not there (BST-BMP280-DS001-26), and what the BME280 has in common with it."""

from __future__ import annotations

import struct
from typing import ClassVar

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import ByteRegisters
from edgeagent.records import NS_PER_MS
from edgeagent.timebase import Clock

CALIBRATION, CHIP_ID, RESET, STATUS, CTRL_MEAS, DATA = 0x88, 0xD0, 0xE0, 0xF3, 0xF4, 0xF7
RESET_WORD = 0xB6
MEASURING = 0x08
SLEEP, NORMAL = 0b00, 0b11
WRITABLE = {RESET, 0xF2, CTRL_MEAS, 0xF5}
TIMES = (0, 1, 2, 4, 8, 16, 16, 16)  # by osrs


class Bmp280(ByteRegisters):
    """A row is the counts of pressure and temperature (20 bits).

    In forced mode it measures once for each write of the mode, in normal mode again and again.
    """

    ADDRESSES = (0x76, 0x77)
    ID = 0x58
    REST: ClassVar[tuple[int, ...]] = (415148, 519888)
    SWING: ClassVar[tuple[int, ...]] = (200, 2000)
    # The calibration of the example in section 3.12 (figure 5).
    TRIMMING = struct.pack(
        "<HhhHhhhhhhhh", 27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000
    )

    def __init__(self, clock: Clock, fake: Fake) -> None:
        super().__init__(clock, fake)
        self._measurements = 0
        self._power_on()

    def _power_on(self) -> None:
        self.registers = bytearray(256)
        self.registers[CHIP_ID] = self.id or 0
        self.registers[CALIBRATION : CALIBRATION + len(self.TRIMMING)] = self.TRIMMING
        self.registers[DATA : DATA + 8] = bytes.fromhex("8000008000008000")  # nothing measured yet
        self._ready_ns: int | None = None

    def written(self, register: int, value: int) -> None:
        if register == RESET and value == RESET_WORD:
            self._power_on()
        if register not in WRITABLE:
            return
        self.registers[register] = value
        if register == CTRL_MEAS:
            self._begin()

    def refresh(self) -> None:
        if self._ready_ns is not None and self.clock.now_ns() >= self._ready_ns:
            self._ready_ns = None
            self.registers[DATA : DATA + 8] = self.measured(self.converted(self._measurements))
            self._measurements += 1
            if self._mode() == NORMAL:
                self._begin()
            else:
                self.registers[CTRL_MEAS] &= ~NORMAL & 0xFF  # back to sleep
        self.registers[STATUS] = MEASURING if self._ready_ns is not None else 0

    def measured(self, row: tuple[int, ...]) -> bytes:
        """The data registers after a measurement."""
        osrs_t, osrs_p, _ = self.oversampling()
        pressure = row[0] if osrs_p else 0x80000
        temperature = row[1] if osrs_t else 0x80000
        return (pressure << 4).to_bytes(3, "big") + (temperature << 4).to_bytes(3, "big") + b"\x80\x00"

    def oversampling(self) -> tuple[int, int, int]:
        """Of temperature, pressure and humidity."""
        setting = self.registers[CTRL_MEAS]
        return TIMES[setting >> 5], TIMES[setting >> 2 & 7], 0

    def _mode(self) -> int:
        return self.registers[CTRL_MEAS] & NORMAL

    def _begin(self) -> None:
        """The time that a measurement takes at most (BST-BME280-DS002, section 9.1)."""
        if self._mode() == SLEEP:
            return
        osrs_t, *others = self.oversampling()
        ms = 1.25 + 2.3 * osrs_t + sum(2.3 * osrs + 0.575 for osrs in others if osrs)
        self._ready_ns = self.clock.now_ns() + round(ms * NS_PER_MS)


def build(clock: Clock, fake: Fake) -> Bmp280:
    return Bmp280(clock, fake)

"""A BME280 that is not there (BST-BME280-DS002-15)."""

from __future__ import annotations

import struct

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.bmp280 import CTRL_MEAS, TIMES, Bmp280
from edgeagent.timebase import Clock

H1, H2_TO_H6, CTRL_HUM = 0xA1, 0xE1, 0xF2


class Bme280(Bmp280):
    """A row is the counts of pressure, temperature (20 bits) and humidity (16 bits)."""

    ID = 0x60
    REST, SWING = (326816, 529191, 30281), (200, 2000, 500)
    # The calibration of a real chip, as the tests of pimoroni/bme280-python have it.
    TRIMMING = struct.pack(
        "<HhhHhhhhhhhh", 28009, 25654, 50, 39145, -10750, 3024, 5667, -120, -7, 15500, -14600, 6000
    )
    HUMIDITY = (75, 376, 0, 286, 50, 30)

    def _power_on(self) -> None:
        super()._power_on()
        h1, h2, h3, h4, h5, h6 = self.HUMIDITY
        self.registers[H1] = h1
        shared = h4 & 0x0F | (h5 & 0x0F) << 4
        self.registers[H2_TO_H6 : H2_TO_H6 + 7] = struct.pack("<hBbBbb", h2, h3, h4 >> 4, shared, h5 >> 4, h6)
        self._osrs_h = 0

    def written(self, register: int, value: int) -> None:
        if register == CTRL_MEAS:  # only now what was written to ctrl_hum takes effect
            self._osrs_h = TIMES[self.registers[CTRL_HUM] & 7]
        super().written(register, value)

    def measured(self, row: tuple[int, ...]) -> bytes:
        return super().measured(row)[:6] + (row[2] if self._osrs_h else 0x8000).to_bytes(2, "big")

    def oversampling(self) -> tuple[int, int, int]:
        osrs_t, osrs_p, _ = super().oversampling()
        return osrs_t, osrs_p, self._osrs_h


def build(clock: Clock, fake: Fake) -> Bme280:
    return Bme280(clock, fake)

"""An SHT4x that is not there (Sensirion, "Datasheet SHT4x"), without its heater."""

from __future__ import annotations

import errno

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import os_error
from edgeagent.buses.fake.sht3x import Sht3x
from edgeagent.timebase import Clock

MEASURE_S = {0xFD: 0.0083, 0xF6: 0.0045, 0xE0: 0.0016}
READ_SERIAL_NUMBER, SERIAL_NUMBER = 0x89, (0x0EDC, 0x47A1)
SOFT_RESET = 0x94
SHORT_S = 0.001  # for the serial number, and for a reset


class Sht4x(Sht3x):
    """It answers as an SHT3x does, to commands of one byte. A row is the two words of temperature and humidity."""

    ADDRESSES = (0x44, 0x45, 0x46)

    def receive(self, data: bytes) -> None:
        """A command that it does not know is not acknowledged."""
        self._be_there()
        command, self._words = data[0], ()
        if command in MEASURE_S:
            self._words = self.converted(self._measurements)
            self._measurements += 1
        elif command == READ_SERIAL_NUMBER:
            self._words = SERIAL_NUMBER
        elif command != SOFT_RESET:
            raise os_error(errno.EREMOTEIO)
        self._busy_for(MEASURE_S.get(command, SHORT_S))


def build(clock: Clock, fake: Fake) -> Sht4x:
    return Sht4x(clock, fake)

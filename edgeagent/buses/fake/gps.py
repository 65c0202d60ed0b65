"""A GPS receiver that begins where and when the examples of NMEA 0183 do, and walks east."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.line import Talker

FIRST = datetime(1994, 3, 23, 12, 35, 19, tzinfo=UTC)
FIRST_MINUTES_EAST, STEP_MINUTES = 31.0, 0.006  # 7.4 m at this latitude


class Gps(Talker):
    """RMC and GGA."""

    def __init__(self, fake: FakeDevice) -> None:
        super().__init__(fake)
        self._every = timedelta(seconds=1 / fake.rate)

    def say(self, said: int, measured: int) -> list[bytes]:
        at = FIRST + said * self._every
        minutes = FIRST_MINUTES_EAST + measured * STEP_MINUTES
        place = f"4807.038,N,{11 + int(minutes // 60):03d}{minutes % 60:06.3f},E"
        time = f"{at:%H%M%S}.{at.microsecond // 10_000:02d}"
        return [
            sentence(f"GPRMC,{time},A,{place},022.4,084.4,{at:%d%m%y},003.1,W"),
            sentence(f"GPGGA,{time},{place},1,08,0.9,545.4,M,46.9,M,,"),
        ]


def sentence(body: str) -> bytes:
    """With its checksum: all bytes between $ and * by exclusive or."""
    checksum = 0
    for byte in body.encode():
        checksum ^= byte
    return f"${body}*{checksum:02X}\r\n".encode()


def program(fake: FakeDevice) -> Gps:
    return Gps(fake)

"""A device that prints a line for each sample, as people's Arduinos do."""

from __future__ import annotations

import math

from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.line import Talker

WAVE_LINES = 50


class Printer(Talker):
    """Says the lines that it was given, round and round."""

    def __init__(self, fake: FakeDevice) -> None:
        super().__init__(fake)
        self._lines = fake.says or tuple(map(_wave, range(WAVE_LINES)))

    def say(self, said: int, measured: int) -> list[bytes]:
        del said
        return [self._lines[measured % len(self._lines)].encode() + b"\r\n"]


def _wave(k: int) -> str:
    part = math.sin(2 * math.pi * k / WAVE_LINES)
    return f"{2 + part:.2f},{20 + 5 * part:.2f}"


def program(fake: FakeDevice) -> Printer:
    return Printer(fake)

"""Chips and devices that are not there. They are parts like any other: `bus: fake:CHIP` works in every config.

A fake chip answers like the chip, register by register, and so a driver's whole code is run. `fake:` beside the
driver's own keys says what it measures, and what goes wrong:

    fake: {raw: [[25600], [25600], [-25600]]}     # counts of the datasheet's table, a row a conversion
    fake: {nak: 3}                                # the first three transfers are not acknowledged

Devices on a serial line likewise, `port: fake:gps`, or on the network, `host: fake:meter`:

    fake: {noise: 3}                              # the first three messages have bits flipped
"""

from __future__ import annotations

import msgspec

from edgeagent.config.quantities import FilePath, Hz, Seconds, Switch


class Fake(msgspec.Struct, frozen=True, kw_only=True):
    """What a fake chip measures, and its faults.

    raw: What it converts, in counts, a row a conversion, over and over; nothing: a gentle wave.
    recording: What moves it (motion sensors): a folder, see edgeagent/recording.py.
    address: Where it answers; nothing: at whichever of its addresses it is asked.
    nak: So many transfers are not acknowledged.
    stuck: The bus is held low for good.
    slow: So long it holds the clock in each transfer; beyond the kernel's limit the transfer fails.
    stuck_value: It converts the same again and again.
    noise: So many answers have bits flipped.
    wrong_id: What its id register says.
    """

    raw: tuple[tuple[int, ...], ...] = ()
    recording: FilePath | None = None
    address: int | None = None
    nak: int = 0
    stuck: Switch = False
    slow: Seconds = 0.0
    stuck_value: Switch = False
    noise: int = 0
    wrong_id: int | None = None


class FakeDevice(msgspec.Struct, frozen=True, kw_only=True):
    """What a fake device at the far end of a line says, and its faults. A message is a line, a frame, an answer.

    says: What a printer prints, a line each, over and over; nothing: two numbers in a gentle wave.
    rate: How often it speaks by itself.
    unplugged: The cable is pulled.
    half: So many messages break off half way.
    garbage: So many messages have garbage before them.
    reordered: So many messages have their bytes swapped, two by two.
    noise: So many messages have bits flipped.
    slow: So long each message is underway.
    silent: It says nothing.
    stuck_value: It measures the same again and again.
    wrong_id: What it says that it is: a Modbus device's number, the protocol version of a board.
    """

    says: tuple[str, ...] = ()
    rate: Hz = 1.0
    unplugged: Switch = False
    half: int = 0
    garbage: int = 0
    reordered: int = 0
    noise: int = 0
    slow: Seconds = 0.0
    silent: Switch = False
    stuck_value: Switch = False
    wrong_id: int | None = None

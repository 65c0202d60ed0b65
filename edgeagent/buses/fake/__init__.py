"""Chips and devices that are not there. They are parts like any other: `bus: fake:CHIP` works in every config.

A fake chip answers like the chip, register by register, and so a driver's whole code is run. `fake:` beside the
driver's own keys says what it measures, and what goes wrong:

    fake: {raw: [[25600], [25600], [-25600]]}     # counts of the datasheet's table, a row a conversion
    fake: {nak: 3}                                # the first three transfers are not acknowledged
"""

from __future__ import annotations

import msgspec

from edgeagent.config.quantities import FilePath, Seconds, Switch


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

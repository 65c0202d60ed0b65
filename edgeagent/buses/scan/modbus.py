"""Modbus devices on a line that is silent. They speak only when spoken to, so this one asks: only on request."""

from __future__ import annotations

from typing import Literal, NamedTuple

from edgeagent.buses import Buses
from edgeagent.buses.modbus import Line, Refused, Wiring
from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_MS
from edgeagent.timebase import Clock

SETTINGS: tuple[tuple[int, Literal["none", "even"]], ...] = (
    (9600, "none"),
    (19200, "even"),
    (9600, "even"),
    (19200, "none"),
    (115200, "none"),
)
UNITS = range(1, 17)
PATIENCE_NS = 100 * NS_PER_MS


class Unit(NamedTuple):
    """A device that answered. `has_register_0`: it gave its first holding register, and did not refuse."""

    number: int
    baud: int
    parity: str
    has_register_0: bool


def find_units(path: str, clock: Clock) -> list[Unit]:
    """Ask each of the usual addresses for its first holding register, at each of the usual settings until one answers.

    A read changes nothing in a Modbus device. Raises nothing: a line that cannot be set up so has no answer.
    """
    for baud, parity in SETTINGS:
        line = Buses(clock).modbus(Wiring(path, baud, parity))
        units = [unit for number in UNITS if (unit := _ask(line, number, baud, parity))]
        line.leave(None)  # closes it
        if units:
            return units
    return []


def _ask(line: Line, number: int, baud: int, parity: str) -> Unit | None:
    try:
        line.read(number, "holding", 0, 1, PATIENCE_NS)
    except Refused:
        return Unit(number, baud, parity, has_register_0=False)
    except DeviceFault:
        return None
    return Unit(number, baud, parity, has_register_0=True)

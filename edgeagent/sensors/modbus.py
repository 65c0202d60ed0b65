"""One device on a Modbus line, serial or TCP: registers as channels, coils and registers as outputs.

Each device on a line is a sensor of its own, with its own health. A line has one master, which waits for each answer:
so their turns lie apart, nobody is waited for much longer than until the next one's turn, and one that is silent is
asked only where there is room for its whole answer (docs/decisions/0029-turns-on-a-line.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import Annotated, Any, NamedTuple

import msgspec

from edgeagent.buses.modbus import (
    MOST_BITS,
    MOST_WORDS,
    REQUEST_BYTES,
    AnswerFault,
    BadAnswer,
    Kind,
    Line,
    NoAnswer,
    Refused,
)
from edgeagent.buses.turns import STEP_NS
from edgeagent.buses.words import Number, Order, Output, Type
from edgeagent.config.quantities import Between, Hz, Seconds
from edgeagent.errors import ConfigFault, DeviceFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Channel, Layout
from edgeagent.sensors.patience import Patience, What
from edgeagent.sensors.polled import Polled, Row
from edgeagent.timebase import Clock

SILENCES_TILL_GONE = 3
OUTPUT_DELAY_NS = 20 * NS_PER_MS


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity: value = number x scale + offset. `address` counts from 0. A coil or discrete input is 0 or 1."""

    address: Annotated[int, Between(0, 65535)]
    unit: str
    kind: Kind = "holding"
    type: Type = "uint16"
    scale: float = 1.0
    offset: float = 0.0
    word_order: Order | None = None
    byte_order: Order | None = None

    @property
    def is_bit(self) -> bool:
        return self.kind in ("coil", "discrete")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a device on any line has. The orders hold for every register that does not say its own.

    `timeout` is the longest wait for an answer. Where the turn of another device comes before that, one that has
    answered is waited for no longer than until then, or as long as its slowest answer took; and 8 ms more.
    """

    registers: dict[str, Register]
    rate: Hz = 1.0
    timeout: Seconds = 0.3
    word_order: Order = "big"
    byte_order: Order = "big"


def layout(settings: Settings) -> Layout:
    """Raises ConfigFault if there is nothing to read."""
    if not settings.registers:
        raise ConfigFault(
            "no registers", expected="registers: {flow: {address: 100, type: float32, unit: L/min}}"
        )
    channels = (Channel(c.name, c.register.unit, c.lsb) for c in cells_of(settings))
    return Layout(settings.rate, tuple(channels))


class Cell(NamedTuple):
    """A channel: its column, where it lies and how it is read."""

    column: int
    name: str
    register: Register
    number: Number

    @property
    def size(self) -> int:
        return 1 if self.register.is_bit else self.number.words

    @property
    def end(self) -> int:
        return self.register.address + self.size

    @property
    def lsb(self) -> float | None:
        return 1.0 if self.register.is_bit else self.number.lsb

    def value(self, found: Sequence[int]) -> float:
        return float(found[0]) if self.register.is_bit else self.number.decode(found)


class Span(NamedTuple):
    """Neighbours that are read in one request, and so at one instant."""

    kind: Kind
    cells: list[Cell]

    @property
    def address(self) -> int:
        return self.cells[0].register.address

    @property
    def size(self) -> int:
        return max(cell.end for cell in self.cells) - self.address

    @property
    def answer_bytes(self) -> int:
        return 5 + (-(-self.size // 8) if self.cells[0].register.is_bit else 2 * self.size)


def cells_of(settings: Settings) -> list[Cell]:
    """The channels in the order of the config."""
    return [
        Cell(
            column,
            name,
            register,
            Number(
                register.type,
                register.scale,
                register.offset,
                register.word_order or settings.word_order,
                register.byte_order or settings.byte_order,
            ),
        )
        for column, (name, register) in enumerate(settings.registers.items())
    ]


def spans_of(cells: Sequence[Cell]) -> list[Span]:
    """The fewest requests for these cells. What nobody asked for is not read: devices refuse holes in their tables."""
    spans: list[Span] = []
    for cell in sorted(cells, key=lambda c: (c.register.kind, c.register.address)):
        most = MOST_BITS if cell.register.is_bit else MOST_WORDS
        last = spans[-1] if spans else None
        if (
            last is not None
            and last.kind == cell.register.kind
            and cell.register.address <= last.address + last.size
            and cell.end - last.address <= most
        ):
            last.cells.append(cell)
        else:
            spans.append(Span(cell.register.kind, [cell]))
    return spans


class NotAsked(NoAnswer):
    """It was silent when last asked, and the line is not free for another try."""


class _Held:
    """What is known of one output: what was asked, what the device has acknowledged, and what is still to be sent."""

    def __init__(self) -> None:
        self.asked: float | None = None
        self.words: list[int] = []
        self.reported: float | None = None
        self.current = False  # reported since the device was last opened: before that it may have lost power
        self.changes = 0
        self.pending = False
        self.hopeless = False  # what is asked cannot be: it is not sent again
        self.error: str | None = None


class Unit:
    """One device: how it is asked, and what it is told."""

    def __init__(self, line: Line, device: int, settings: Settings, clock: Clock) -> None:
        self.port, self.where = line.name, f"{line.name} device {device}"
        self._line, self._device, self._clock = line, device, clock
        self._columns = len(settings.registers)
        self._spans = spans_of(cells_of(settings))
        self._timeout_ns = round(settings.timeout * NS_PER_S)
        self._rate_hz = settings.rate
        self._is_open = self._has_turn = False
        self._patience = Patience(self._timeout_ns)
        self._counts = {"answers_none": 0, "answers_bad": 0, "answers_refused": 0}
        self._lock = Lock()  # over _outputs: the core asks, the reader's thread sends
        self._outputs: dict[Output, _Held] = {}
        self.due_ns = clock.now_ns  # the sensor's, once there is one

    # --- reading --------------------------------------------------------------------------------------

    def start(self) -> float:
        """Ask for the first registers: whoever answers is there. Raises DeviceFault."""
        self._read(self._spans[0])
        self._is_open = True
        self._renew()
        self.send()
        first_s = self._first_turn_s()
        self._line.turns.add(self, self._rate_hz, lambda: self.due_ns())
        return first_s

    def _first_turn_s(self) -> float:
        """How long until its first turn, in the middle between two that it may have: the grid has the next one.

        Once it has had one, its turns stay where they are.
        """
        if self._has_turn:
            return 0.0
        self._has_turn, now_ns = True, self._clock.now_ns()
        next_ns = -(-now_ns // STEP_NS) * STEP_NS
        first_ns = self._line.turns.first_ns(self._rate_hz, next_ns, self._timeout_ns)
        return max(first_ns - STEP_NS // 2 - now_ns, 0) / NS_PER_S

    def measure(self) -> Row:
        """All registers; NaN for what this device does not give. Raises DeviceFault for the line's, and for silence."""
        values, reasons = [math.nan] * self._columns, []
        self._renew()
        for span in self._spans:
            try:
                found = self._read(span)
            except NoAnswer as fault:
                if self._patience.silences >= SILENCES_TILL_GONE:
                    raise
                reasons.append(fault.what)
                break  # it would be as silent for the rest
            except AnswerFault as fault:
                reasons.append(fault.what)
                continue
            for cell in span.cells:
                at = cell.register.address - span.address
                value = cell.value(found[at : at + cell.size])
                if math.isfinite(value):
                    values[cell.column] = value
                else:
                    reasons.append(f"{cell.name}: the device says {value}")
        return Row(tuple(values), "; ".join(reasons))

    def counters(self) -> Mapping[str, int]:
        return dict(self._counts)

    def close(self) -> None:
        """Say what is still to be said (the agent's safe values), and let go."""
        with suppress(DeviceFault):
            if self._is_open and self._line.is_open and not self._patience.silences:
                self.send()
        self._is_open = False
        with self._lock:
            for held in self._outputs.values():
                held.current = False
        self._line.leave(self)

    def _read(self, span: Span) -> Sequence[int]:
        """Asked twice if the answer was garbled: noise comes in bursts, silence does not go away."""
        for last_try in (False, True):
            try:
                patience_ns = self._ask("read", REQUEST_BYTES, span.answer_bytes)
                found = self._line.read(self._device, span.kind, span.address, span.size, patience_ns)
            except AnswerFault as fault:
                self._count(fault)
                if last_try or not isinstance(fault, BadAnswer):
                    raise
            else:
                self._answered("read", REQUEST_BYTES + span.answer_bytes)
                return found
        raise AssertionError("unreachable")

    def _ask(self, what: What, request_bytes: int, answer_bytes: int) -> int:
        """How long to wait for an answer, in ns. Raises NotAsked if it was silent, and others need the line."""
        room_ns = self._line.room_ns(self, request_bytes)
        patience_ns = self._patience.ask(what, self._line.air_ns(answer_bytes), room_ns, self._clock.now_ns())
        if patience_ns is None:
            raise NotAsked(
                "no answer when last asked",
                where=self.where,
                hint="The line is too busy to ask again yet.",
            )
        return patience_ns

    def _answered(self, what: What, size_bytes: int) -> None:
        self._patience.answered(what, self._line.air_ns(size_bytes), self._clock.now_ns())

    def _count(self, fault: AnswerFault) -> None:
        if isinstance(fault, NotAsked):
            return
        if isinstance(fault, NoAnswer):
            self._patience.was_silent()
            self._counts["answers_none"] += 1
        elif isinstance(fault, Refused):
            self._patience.silences = 0
            self._counts["answers_refused"] += 1
        else:
            self._counts["answers_bad"] += 1

    # --- outputs --------------------------------------------------------------------------------------

    @property
    def has_outputs(self) -> bool:
        return bool(self._outputs)

    def write_output(self, output: Output, value: float) -> None:
        with self._lock:
            held = self._outputs.setdefault(output, _Held())
            held.asked, held.pending, held.hopeless, held.error = value, True, False, None
            try:
                held.words = [int(bool(value))] if output.kind == "coil" else output.number.encode(value)
            except ConfigFault as fault:
                held.pending, held.hopeless, held.error = False, True, str(fault)

    def output_state(self, output: Output) -> dict[str, Any]:
        with self._lock:
            held = self._outputs.get(output) or _Held()
            reported = held.reported if held.current else None
            told = reported == held.asked
            error = held.error if told or held.error else f"{self.where} has not been told yet"
            return {"asked": held.asked, "reported": reported, "changes": held.changes, "error": error}

    def send(self) -> None:
        """Tell the device what is new. Raises DeviceFault if the line broke."""
        for output, held in list(self._outputs.items()):
            with self._lock:
                pending, asked, words = held.pending, held.asked, held.words
                held.pending = False
            if pending:
                self._tell(output, held, asked, words)

    def _tell(self, output: Output, held: _Held, asked: float | None, words: Sequence[int]) -> None:
        try:
            request_bytes = REQUEST_BYTES if len(words) == 1 else 9 + 2 * len(words)
            patience_ns = self._ask("write", request_bytes, REQUEST_BYTES)
            if output.kind == "coil":
                self._line.write_coil(self._device, output.address, bool(words[0]), patience_ns)
            else:
                self._line.write_words(self._device, output.address, words, patience_ns)
        except AnswerFault as fault:
            self._count(fault)
            with self._lock:
                held.error, held.hopeless = str(fault), isinstance(fault, Refused)
        else:
            self._answered("write", request_bytes + REQUEST_BYTES)
            with self._lock:
                held.changes += held.reported is not None and held.reported != asked
                held.reported, held.current, held.error = asked, True, None

    def _renew(self) -> None:
        """What the device has not acknowledged since it was opened is sent again, once a reading."""
        with self._lock:
            for held in self._outputs.values():
                told = held.current and held.reported == held.asked
                held.pending |= held.asked is not None and not told and not held.hopeless


class ModbusSensor(Polled):
    """The device as a source of blocks, and as the far end of the modbus actuators."""

    def __init__(self, name: str, settings: Settings, line: Line, device: int, clock: Clock) -> None:
        self._unit = Unit(line, device, settings, clock)
        super().__init__(name, layout(settings), clock, self._unit)
        self._unit.due_ns = super().due_ns
        self.wake = line.wake

    def due_ns(self) -> int:
        """Where there are outputs, soon: what is asked of them waits for no reading."""
        due_ns = super().due_ns()
        return min(due_ns, self._clock.now_ns() + OUTPUT_DELAY_NS) if self._unit.has_outputs else due_ns

    def read(self) -> Block | None:
        """As Polled, after telling the device what is asked of its outputs. Raises DeviceFault."""
        if self._is_open:
            self._unit.send()
        return super().read()

    def write_output(self, output: Output, value: float) -> None:
        """Ask the device to drive an output; returns at once, from any thread."""
        self._unit.write_output(output, value)

    def output_state(self, output: Output) -> dict[str, Any]:
        """asked, reported (acknowledged by the device since it was last opened), changes, error."""
        return self._unit.output_state(output)

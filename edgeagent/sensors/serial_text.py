"""What people's Arduinos print: a line of numbers for each sample, on a serial port.

    12.5,23.1
    12.6,23.1

A line that cannot be read is counted by its cause and becomes a row of NaN with a reason: never 0.0, never the end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from edgeagent.buses.serial import SerialPort
from edgeagent.config.quantities import Hz, Seconds
from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Channel, Float32Array, Int64Array, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.timebase import Clock, SampleTimes

MAX_LINE_BYTES = 4096
SHOWN_BYTES = 40
WAIT_NS = 50 * NS_PER_MS
JUMP_S = (
    0.1  # USB adapters and their hubs hold bytes back for tens of ms; more than this is a pause of the device
)
RATE_IF_UNSAID_HZ = 1.0


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One number of the line: value = number x scale + offset, in `unit`."""

    name: str
    unit: str
    scale: float = 1.0
    offset: float = 0.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Without `rate`, samples bear the time of their arrival, and the sensor counts as one of 1 Hz."""

    port: str
    channels: list[Column]
    baud: int = 9600
    format: Literal["csv"] = "csv"
    delimiter: str = ","
    rate: Hz | None = None
    latency: Seconds = 0.01


def layout(options: Options) -> Layout:
    """Raises ConfigFault if the channels or the delimiter cannot be meant."""
    names = Counter(c.name for c in options.channels)
    if not names:
        raise ConfigFault("no channels", expected="a name and a unit for each number of the line")
    if max(names.values()) > 1:
        raise ConfigFault(
            f"two channels are called {names.most_common(1)[0][0]!r}", expected="different names"
        )
    if len(options.delimiter) != 1 or options.delimiter in "\r\n.+-0123456789":
        raise ConfigFault(
            f"delimiter {options.delimiter!r}", expected="one character, such as , or ; or a space"
        )
    if options.rate is not None and options.rate <= 0:
        raise ConfigFault(
            f"rate {options.rate:g} Hz", expected="how often the device prints a line, such as 10 Hz"
        )
    channels = tuple(Channel(c.name, c.unit) for c in options.channels)
    return Layout(options.rate or RATE_IF_UNSAID_HZ, channels)


def build(name: str, options: Options, context: Context) -> Sensor:
    return SerialText(name, options, context.clock)


class Rows(NamedTuple):
    """Parsed lines: float32[n, channels], and why some of it is NaN, each cause once with an example."""

    values: Float32Array
    reasons: tuple[str, ...]


class LineParser:
    """Bytes in, rows out; no I/O, no clock.

    `faults` counts lines by what was wrong with them since the start. What comes first after `restart` is taken
    for the second half of a line, and is left out.
    """

    def __init__(self, columns: list[Column], delimiter: str) -> None:
        self.faults: Counter[str] = Counter(wrong_fields=0, not_numbers=0, too_long=0, not_finite=0)
        # A space separates however many of them there are; anything else separates even empty fields.
        self._delimiter = None if delimiter == " " else delimiter.encode()
        self._scale = np.array([c.scale for c in columns])
        self._offset = np.array([c.offset for c in columns])
        self._width = len(columns)
        self.restart()

    def restart(self) -> None:
        """The port was opened anew."""
        self._partial = b""
        self._skipping = True

    def feed(self, data: bytes) -> Rows:
        """The lines that `data` completes."""
        lines = [line for line in self._lines(data) if line.strip()]
        reasons: dict[str, str] = {}
        malformed = self.faults.total()
        numbers = self._in_bulk(lines)
        if numbers is None:
            numbers = [number for line in lines for number in self._row(line, reasons)]
        malformed = self.faults.total() - malformed
        table = np.array(numbers, dtype=np.float64).reshape(len(lines), self._width)
        with np.errstate(all="ignore"):
            values = (table * self._scale + self._offset).astype(np.float32)
            sound = math.isfinite(values.sum())  # one call to numpy instead of five, each read
        if not sound:
            self._blank_not_finite(values, malformed, reasons)
        return Rows(values, tuple(reasons.values()))

    def _blank_not_finite(self, values: Float32Array, malformed: int, reasons: dict[str, str]) -> None:
        """Make NaN of nan and inf alike, in place, and count the rows that had some in spite of being well-formed."""
        bad = ~np.isfinite(values)
        values[bad] = np.nan
        rows = int(bad.any(axis=1).sum()) - malformed
        if rows:
            self.faults["not_finite"] += rows
            reasons["not_finite"] = "the device sent nan or inf"

    def _in_bulk(self, lines: list[bytes]) -> list[float] | None:
        """Every number of every line, at half the cost; None if a line has to be looked at by itself."""
        delimiter = self._delimiter
        if delimiter is None or any(
            line.count(delimiter) != self._width - 1 or len(line) > MAX_LINE_BYTES for line in lines
        ):
            return None
        joined = delimiter.join(lines)
        try:
            return None if b"_" in joined else list(map(float, joined.split(delimiter)))
        except ValueError:
            return None

    def _lines(self, data: bytes) -> list[bytes]:
        """Whole lines without their ends; one that has grown too long is given up as it stands."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if self._skipping and lines:
            del lines[0]
            self._skipping = False
        if len(self._partial) > MAX_LINE_BYTES:
            if not self._skipping:
                lines.append(self._partial)
            self._partial, self._skipping = b"", True
        return lines

    def _row(self, line: bytes, reasons: dict[str, str]) -> list[float]:
        if len(line) > MAX_LINE_BYTES:
            return self._reject("too_long", f"no line end within {MAX_LINE_BYTES} bytes", line, reasons)
        fields = line.split(self._delimiter)
        if len(fields) != self._width:
            found = f"{len(fields)} fields, expected {self._width}"
            return self._reject("wrong_fields", found, line, reasons)
        try:
            if b"_" in line:  # Python reads 1_0 as ten
                raise ValueError
            return list(map(float, fields))
        except ValueError:
            return self._reject("not_numbers", "not all numbers", line, reasons)

    def _reject(self, cause: str, what: str, line: bytes, reasons: dict[str, str]) -> list[float]:
        self.faults[cause] += 1
        reasons.setdefault(
            cause, f"{what}: {line.strip()[:SHOWN_BYTES].decode('ascii', 'backslashreplace')!r}"
        )
        return [np.nan] * self._width


class SerialText:
    """One device that prints."""

    truth: Callable[[int, int], str | None] | None = None

    def __init__(self, name: str, options: Options, clock: Clock) -> None:
        self.port = options.port
        self.layout: Layout | None = layout(options)
        self._name, self._clock = name, clock
        self._serial = SerialPort(options.port, options.baud, clock)
        self.wake: Callable[[], None] | None = self._serial.wake
        self._parser = LineParser(options.channels, options.delimiter)
        rate_hz = options.rate
        self._times = SampleTimes(rate_hz, slack=max(3.0, JUMP_S * rate_hz)) if rate_hz else None
        self._latency_ns = round(options.latency * NS_PER_S)
        self._read_ns = self._due_ns = self._last_ns = 0
        self._seq = 0

    def open(self) -> None:
        """Raises DeviceFault: see SerialPort.open."""
        self._serial.open()
        self._parser.restart()
        if self._times:
            self._times.reset()
        self._read_ns = self._due_ns = self._clock.now_ns()

    def due_ns(self) -> int:
        """After data `latency` later: to wake up for every few bytes costs three times the processor time."""
        return self._due_ns

    def read(self) -> Block | None:
        """The lines that have been completed. Raises DeviceGone when unplugged."""
        data = self._serial.read(WAIT_NS)
        since_ns, self._read_ns = self._read_ns, self._clock.now_ns()
        self._due_ns = self._read_ns + (self._latency_ns if data else 0)
        values, reasons = self._parser.feed(data)
        if not len(values):
            return None
        self._seq += 1
        t_ns = self._stamp(len(values), since_ns)
        return Block(self._name, self._seq, t_ns, values, self._read_ns, reasons=reasons)

    def close(self) -> None:
        self._serial.close()

    def counters(self) -> dict[str, int | float]:
        counts: dict[str, int | float] = {f"lines_{cause}": n for cause, n in self._parser.faults.items()}
        if self._times:
            counts["true_rate_hz"] = self._times.true_rate_hz
        return counts

    def _stamp(self, n: int, since_ns: int) -> Int64Array:
        """Times for n lines; at no stated rate they are spread over the time since the last read."""
        if self._times:
            t_ns = self._times.stamp(n, self._read_ns, earliest_ns=since_ns)
        else:
            step_ns = (self._read_ns - since_ns) / n
            t_ns = np.rint(self._read_ns - np.arange(n - 1, -1, -1) * step_ns).astype(np.int64)
        if (
            t_ns[0] <= self._last_ns
        ):  # lines that were held up came all at once, and reach back into the last block
            t_ns = np.maximum(t_ns, self._last_ns + 1 + np.arange(n))
        self._last_ns = int(t_ns[-1])
        return t_ns

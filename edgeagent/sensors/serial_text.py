"""What people's Arduinos print: a line with numbers for each sample, on a serial port.

    format: csv          12.5,23.1
    format: key_value    I: 12.5 A, T=23.1
    format: json         {"i": 12.5, "board": {"t": 23.1}}

A line that cannot be read is counted by its cause and becomes a row of NaN with a reason: never 0.0, never the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np

from edgeagent.buses import Port
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.ports import Baud
from edgeagent.config.quantities import Hz, Seconds
from edgeagent.errors import ConfigFault, DeviceFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Channel, Int64Array, Layout
from edgeagent.sensors import Advice, Context, Sensor
from edgeagent.sensors.lines import Column, CsvParser, JsonParser, KeyValueParser, LineParser
from edgeagent.sensors.on_serial import OnSerial, port_advice
from edgeagent.timebase import Clock, SampleTimes

WAIT_NS = 50 * NS_PER_MS
JUMP_S = (
    0.1  # USB adapters and their hubs hold bytes back for tens of ms; more than this is a pause of the device
)
RATE_IF_UNSAID_HZ = 1.0
SILENCE_S, SILENCE_PERIODS = (
    10.0,
    5,
)  # whichever is longer: a device that states a rate and says nothing hangs


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Without `rate`, samples bear the time of their arrival, and the sensor counts as one of 1 Hz."""

    port: str
    channels: list[Column]
    baud: Baud = 9600
    format: Literal["csv", "key_value", "json"] = "csv"
    delimiter: str = ","
    rate: Hz | None = None
    latency: Seconds = 0.01
    fake: FakeDevice = FakeDevice()


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
    if options.format == "csv" and any(c.key for c in options.channels):
        raise ConfigFault(
            "`key:` with format csv, which has no names",
            expected="channels in the order of the line, or format key_value or json",
        )
    if options.rate is not None and options.rate <= 0:
        raise ConfigFault(
            f"rate {options.rate:g} Hz", expected="how often the device prints a line, such as 10 Hz"
        )
    channels = tuple(Channel(c.name, c.unit) for c in options.channels)
    return Layout(options.rate or RATE_IF_UNSAID_HZ, channels)


def advise(options: Options) -> Iterator[Advice]:
    yield from port_advice(options.port, options.baud)
    if options.rate is None:
        yield Advice(
            "rate",
            f"none is stated, so windows and rules take it for {RATE_IF_UNSAID_HZ:g} Hz, whatever it prints. "
            "`edgeagent sensors read` shows what it really is",
        )


def build(name: str, options: Options, context: Context) -> Sensor:
    serial = context.buses.port(options.port, options.baud, options.fake)
    return SerialText(name, options, serial, context.clock)


def _parser(options: Options) -> LineParser:
    if options.format == "csv":
        return CsvParser(options.channels, options.delimiter)
    return {"key_value": KeyValueParser, "json": JsonParser}[options.format](options.channels)


class SerialText(OnSerial):
    """One device that prints."""

    def __init__(self, name: str, options: Options, serial: Port, clock: Clock) -> None:
        super().__init__(name, layout(options), serial, clock)
        self._parser = _parser(options)
        rate_hz = options.rate
        self._times = SampleTimes(rate_hz, slack=max(3.0, JUMP_S * rate_hz)) if rate_hz else None
        self._latency_ns = round(options.latency * NS_PER_S)
        self._silence_ns = round(max(SILENCE_S, SILENCE_PERIODS / rate_hz) * NS_PER_S) if rate_hz else None
        self._read_ns = self._due_ns = self._last_ns = self._heard_ns = 0
        self._lines, self._first_ns = 0, 0  # since it was opened, if nobody has stated a rate

    def open(self) -> None:
        """Raises DeviceFault: as the port."""
        self._serial.open()
        self._parser.restart()
        if self._times:
            self._times.reset()
        self._read_ns = self._due_ns = self._heard_ns = self._clock.now_ns()
        self._lines = 0

    def due_ns(self) -> int:
        """After data `latency` later: to wake up for every few bytes costs three times the processor time."""
        return self._due_ns

    def read(self) -> Block | None:
        """The lines that have been completed. Raises DeviceGone when unplugged, DeviceFault when silent for long."""
        data = self._serial.read(WAIT_NS)
        since_ns, self._read_ns = self._read_ns, self._clock.now_ns()
        self._due_ns = self._read_ns + (self._latency_ns if data else 0)
        values, reasons = self._parser.feed(data)
        if not len(values):
            self._check_silence()
            return None
        self._heard_ns = self._read_ns
        self._seq += 1
        t_ns = self._stamp(len(values), since_ns)
        return Block(self._name, self._seq, t_ns, values, self._read_ns, reasons=reasons)

    def counters(self) -> dict[str, int | float]:
        counts: dict[str, int | float] = {f"lines_{cause}": n for cause, n in self._parser.faults.items()}
        if self._times:
            counts |= {"true_rate_hz": self._times.true_rate_hz, "jitter_ms": self._times.jitter_ms}
        else:
            counts["measured_hz"] = self._measured_hz()
        return counts

    def _measured_hz(self) -> float:
        """Lines a second since it was opened; 0 before the second line."""
        spans, took_ns = self._lines - 1, self._last_ns - self._first_ns
        return round(spans * NS_PER_S / took_ns, 3) if spans > 0 and took_ns > 0 else 0.0

    def _check_silence(self) -> None:
        if self._silence_ns is not None and self._read_ns - self._heard_ns > self._silence_ns:
            raise DeviceFault(
                f"the device has printed no line for {self._silence_ns / NS_PER_S:.0f} s",
                where=self.port,
                hint="Its program hangs or it has lost power: press its reset button; and check `baud` and `rate`.",
            )

    def _stamp(self, n: int, since_ns: int) -> Int64Array:
        """Times for n lines; at no stated rate they are spread over the time since the last read."""
        if self._times:
            t_ns = self._times.stamp(n, self._read_ns, earliest_ns=since_ns)
        else:
            step_ns = max((self._read_ns - since_ns) // n, 1)
            t_ns = np.arange(self._read_ns - (n - 1) * step_ns, self._read_ns + 1, step_ns)
            self._first_ns = self._first_ns if self._lines else t_ns.item(0)
            self._lines += n
        if t_ns.item(0) <= self._last_ns:  # lines that were held up came all at once, and reach back
            t_ns = np.maximum(t_ns, self._last_ns + 1 + np.arange(n))
        self._last_ns = t_ns.item(-1)
        return t_ns

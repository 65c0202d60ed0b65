"""A microcontroller that speaks firmware_bridge on a serial port: its channels, and the way to its outputs.

    motor: {driver: bridge, port: /dev/serial/by-id/usb-Arduino_LLC_Uno-if00, channels: {current: A}, rate: 100 Hz}

What it measures, in which unit and how fast, the board says itself in HELLO. Protocol: firmware_bridge/PROTOCOL.md.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Lock
from typing import Any

import msgspec
import numpy as np

from edgeagent.buses import Port
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.ports import Baud
from edgeagent.config.quantities import Hz, Seconds
from edgeagent.errors import ConfigFault, DeviceFault, WrongDevice
from edgeagent.records import (
    NS_PER_MS,
    NS_PER_S,
    Block,
    Channel,
    Int64Array,
    Layout,
    Source,
)
from edgeagent.sensors import Advice, Context, Sensor
from edgeagent.sensors.board_samples import Numbers, Stretch
from edgeagent.sensors.on_serial import port_advice
from edgeagent.timebase import Clock
from firmware_bridge.link import Burst, Configured, Greeted, Link, Mismatch
from firmware_bridge.link import Event as LinkEvent
from firmware_bridge.messages import (
    PROTOCOL_VERSION,
    ChannelInfo,
    ChannelType,
    Fault,
    Hello,
    Level,
    Log,
)
from firmware_bridge.samples import LETTERS, enabled
from firmware_bridge.versions import VersionRange
from firmware_bridge.words import fault_text

log = logging.getLogger(__name__)

WAIT_NS = 50 * NS_PER_MS
HELLO_WAIT_NS = 3 * NS_PER_S  # opening the port resets many Arduinos, and their bootloader takes up to two
SILENCE_NS = 10 * NS_PER_S  # a board says HEARTBEAT each second at least
SHOWN_BYTES = 40
LOGS_A_MINUTE = 20  # a board in a loop must not fill the journal; all are counted

PAUSE_US = 2000  # what a frame's stamp may be off by; a board that stamps in milliseconds has half of it
NS_PER_US = 1000
_U32 = 1 << 32
_LEVELS = {Level.ERROR: logging.ERROR, Level.WARNING: logging.WARNING, Level.INFO: logging.INFO}

# HELLO has UCUM; these are the units that people, and so the configs, write otherwise.
UNITS = {"Cel": "degC", "[degF]": "degF", "Ohm": "ohm", "1": ""}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`channels` (name: unit) is what the config expects, and all that the board is to send; empty: all it has.

    Without `rate`, the board's own. What has come waits for `latency` at most. `firmware` is the range of versions that
    will do; `board` the unique id of the one that is meant, where two are alike.
    """

    port: str
    baud: Baud = 115200
    channels: dict[str, str] = {}
    rate: Hz | None = None
    latency: Seconds = 0.01
    firmware: str = ""
    board: str = ""
    fake: FakeDevice = FakeDevice()

    def __post_init__(self) -> None:
        try:
            self.wanted_firmware()
        except ValueError as e:
            raise ConfigFault(
                "not a range of versions", where="firmware", expected="bounds such as '>=1.2,<2'"
            ) from e

    def wanted_firmware(self) -> VersionRange | None:
        return VersionRange.parse(self.firmware) if self.firmware else None


def layout(options: Options) -> Layout | None:
    """None: the board's HELLO says it, rate and all."""
    del options
    return None


def advise(options: Options) -> Iterator[Advice]:
    return port_advice(options.port, options.baud)


def build(name: str, options: Options, context: Context) -> Sensor:
    port = context.buses.port(options.port, options.baud, options.fake)
    return BridgeSensor(name, options, port, context.clock)


class BridgeSensor:
    """The board as a source of blocks, and as the far end of the bridge actuators.

    The reader's thread alone calls `open`, `read` and `close`; `set_output` and `output_state` may be called
    from any thread.
    """

    def __init__(self, name: str, options: Options, port: Port, clock: Clock) -> None:
        self.port = options.port
        self.layout: Layout | None = None
        self.wake: Callable[[], None] | None = self._wake
        self.truth: Callable[[int, int], str | None] | None = None
        self._name, self._options, self._clock = name, options, clock
        self._port = port
        self._link = Link()
        self._lock = Lock()  # over _wishes alone
        self._wishes: dict[str, tuple[float, int]] = {}  # value and max_on_ms
        self._asked: dict[str, float] = {}
        self._hurry = Event()
        self._seen = b""
        self._ready: deque[Stretch] = deque()
        self._seq = 0
        self._deadline_ns = self._due_ns = 0
        self._numbers: Numbers | None = None  # None until the board has answered HELLO and CONFIG
        self._latency_ns = round(options.latency * NS_PER_S)
        self._byte_ns = 10 * NS_PER_S // options.baud
        self._last_ns = 0
        self._frame_bytes = self._next_us = 0  # of the last frame: how long, and when its next sample is due
        self._logs_left, self._logs_from_ns = 0, 0

    def open(self) -> None:
        """Open the port and wait for HELLO.

        Raises:
            DeviceGone, DeviceDenied, DeviceFault: As SerialPort; DeviceFault also if the board says nothing.
            WrongDevice: What answers is no bridge firmware, another version, or has other channels.
        """
        self._port.open()
        self._begin()
        while self._numbers is None and not self._hurry.is_set():
            self._exchange()
            self._check_silence()

    def due_ns(self) -> int:
        return 0 if self._ready else self._due_ns

    def read(self) -> Block | None:
        """What the board has sampled since the last read; feeds its dead-man switch and sends what is asked."""
        if not self._ready:
            self._exchange()
            self._check_silence()
        return self._block(self._ready.popleft()) if self._ready else None

    def close(self) -> None:
        """Send what is still asked of the outputs (the agent's safe values), say good-bye, and let go."""
        with suppress(DeviceFault):
            if self._link.greeted:
                self._send()
                self._port.write(self._link.leave())
        self._port.close()
        self._begin()
        self._ready.clear()
        self._hurry.clear()

    def counters(self) -> dict[str, int | float]:
        clock = self._link.clock
        rate_hz = self.layout.rate_hz if self.layout else 0.0
        return {
            **self._link.counters,
            "true_rate_hz": round(rate_hz * (1 + clock.drift), 4),
            "clock_drift_ppm": round(clock.drift * 1e6, 1),
            "round_trip_ms": round(clock.delay_ns / NS_PER_MS, 3),
        }

    def set_output(self, name: str, value: float, max_on_s: float | None = None) -> None:
        """Ask the board to drive an output, for `max_on_s` at most; returns at once.

        Without a link it is sent when there is one.
        """
        max_on_ms = min(math.ceil(max_on_s * 1000), _U32 - 1) if max_on_s is not None else 0
        with self._lock:
            self._asked[name] = value
            self._wishes[name] = value, max_on_ms
        self._port.wake()

    def output_state(self, name: str) -> dict[str, Any]:
        """asked, reported (by the board; None without a link), changes (counted by the board), error."""
        state = self._link.output(name)
        asked = self._asked.get(name)
        if not self._link.greeted:
            error = f"no link to the board on {self.port}; what is asked is sent when it is back"
            return {"asked": asked, "reported": None, "changes": state.changes, "error": error}
        underway = name in self._wishes  # not handed to the link yet, so its error is an older one's
        return {
            "asked": asked,
            "reported": state.reported,
            "changes": state.changes,
            "error": None if underway else state.error,
        }

    def _wake(self) -> None:
        """End a `read` or an `open` that waits: someone wants this thread to stop."""
        self._hurry.set()
        self._port.wake()

    def _send(self) -> None:
        with self._lock:
            wishes, self._wishes = self._wishes, {}
        for name, (value, max_on_ms) in wishes.items():
            self._link.set_output(name, value, max_on_ms)
        data = self._link.poll(self._clock.now_ns())
        if data:
            self._port.write(data)

    def _exchange(self) -> None:
        """Send what is due, wait for bytes, and make blocks of them."""
        wait_ns = self._link.due_ns() - self._clock.now_ns()
        if self._wishes or wait_ns <= 0:
            self._send()
            wait_ns = self._link.due_ns() - self._clock.now_ns()
        data = self._port.read(max(min(wait_ns, WAIT_NS), 0))
        now_ns = self._clock.now_ns()
        good_frames = self._link.counters["good_frames"]
        events = self._link.receive(data, now_ns)
        for event in events:
            if isinstance(event, Burst):
                self._take(event, now_ns)
            else:
                self._obey(event, now_ns)
        self._due_ns = self._next_read_ns(now_ns) if data and not self._link.waiting else 0
        if self._numbers is None:
            self._seen = self._seen or data[:SHOWN_BYTES]
        elif self._link.counters["good_frames"] > good_frames:
            self._deadline_ns = now_ns + SILENCE_NS

    def _next_read_ns(self, now_ns: int) -> int:
        """When what comes next will have waited for `latency`: to wake up costs more than all that there is to do.

        The rest of a frame that has begun takes its time on the line, and nothing overtakes it.
        """
        begun_bytes = self._link.begun_bytes
        rest_ns = max(self._frame_bytes - begun_bytes, 0) * self._byte_ns if begun_bytes else 0
        return now_ns + self._latency_ns + min(rest_ns, self._latency_ns)

    def _obey(self, event: LinkEvent, now_ns: int) -> None:
        match event:
            case Greeted():
                self._greeted(event.hello, now_ns)
            case Configured():
                self._configured(event)
            case Mismatch():
                raise self._wrong(
                    f"the board speaks protocol version {event.protocol}",
                    expected=f"version {PROTOCOL_VERSION}",
                    hint="Flash the firmware that goes with this edgeagent, or update edgeagent.",
                )
            case Log():
                self._say(_LEVELS.get(Level(event.level), logging.DEBUG), event.text, now_ns)
            case Fault():
                self._say(logging.WARNING, fault_text(event, self._link.hello), now_ns)

    def _say(self, level: int, text: str, now_ns: int) -> None:
        if now_ns - self._logs_from_ns >= 60 * NS_PER_S:
            self._logs_left, self._logs_from_ns = LOGS_A_MINUTE, now_ns
        if self._logs_left > 0:
            self._logs_left -= 1
            log.log(level, "the board of %s says: %s", self._name, text)

    def _begin(self) -> None:
        """Ask who is there, as if for the first time."""
        self._link.restart()
        self._numbers = None
        self._due_ns = 0
        self._seen = b""
        self._deadline_ns = self._clock.now_ns() + HELLO_WAIT_NS

    def _greeted(self, hello: Hello, now_ns: int) -> None:
        """Ask for the rate and the channels of the config, if this is the board that it means."""
        self._numbers = None
        self._deadline_ns = now_ns + HELLO_WAIT_NS
        options, range_ = self._options, self._options.wanted_firmware()
        if options.board not in ("", hello.unique_id):
            self._link.restart()
            raise self._wrong(
                f"the board {hello.unique_id} answers",
                expected=f"the board {options.board}",
                hint="Have two boards changed their sockets? `edgeagent scan` says which is where.",
            )
        if range_ is not None and hello.firmware_version not in range_:
            self._link.restart()  # a board that we don't take gets no heartbeat of ours
            raise self._wrong(
                f"{_who(hello)} is on the board",
                expected=f"version {range_.text}",
                hint="Flash a firmware of that range, or change `firmware:`.",
            )
        if faults := _faults(hello, options.channels):
            self._link.restart()
            raise self._wrong(f"{_who(hello)} says {_channels(hello)}", "; ".join(faults))
        mask = sum(1 << i for i, c in enumerate(hello.channels) if c.name in options.channels)
        self._link.configure(options.rate or 0.0, mask)

    def _configured(self, event: Configured) -> None:
        hello = event.hello
        if event.refused:
            self._link.restart()
            most = f"{hello.max_rate_hz:g} Hz at most" if hello.max_rate_hz else "its own rate alone"
            raise self._wrong(
                f"{_who(hello)} refuses rate {self._options.rate or 0:g} Hz",
                expected=most,
                hint="Change `rate:`.",
            )
        self._numbers = Numbers(hello)
        channels = enabled(hello)
        self.layout = (
            Layout(channels[0].rate_hz, tuple(map(_channel, channels)), _source(hello)) if channels else None
        )

    def _take(self, burst: Burst, t_read_ns: int) -> None:
        """Add a burst to the one before if nothing is missing between them, and the board has not paused."""
        if self._numbers is None:
            return
        samples, self._frame_bytes = burst.samples, len(burst.samples.data)
        apart = burst.lost or _since_us(self._next_us, samples.t_us) > PAUSE_US
        if apart or not self._ready or self._ready[-1].numbers is not self._numbers:
            self._ready.append(Stretch(self._numbers, t_read_ns, burst.lost, []))
        self._ready[-1].frames.append(samples)
        self._next_us = samples.t_us + round(samples.count * self._numbers.period_us)

    def _block(self, stretch: Stretch) -> Block:
        values, reasons = stretch.values()
        t_ns = self._times(stretch, len(values))
        self._seq += 1
        return Block(self._name, self._seq - 1, t_ns, values, stretch.t_read_ns, stretch.lost, reasons)

    def _times(self, stretch: Stretch, count: int) -> Int64Array:
        """int64[count]: by the board's clock as the link knows it; before it does, by the arrival.

        Never after the read, which may have brought more than this. Where a better knowledge of the clock would make
        time run back, it goes on at half its pace, or less if the read leaves no room for that.
        """
        clock, t_read_ns = self._link.clock, stretch.t_read_ns
        first, last = stretch.frames[0], stretch.frames[-1]
        before = count - last.count
        step_us = _since_us(first.t_us, last.t_us) / before if before else stretch.numbers.period_us
        brought = count
        for other in self._ready:
            brought += sum(frame.count for frame in other.frames)
        step_ns = max(round(step_us * NS_PER_US / (1 + clock.drift)), 1)
        first_ns = t_read_ns - (brought - 1) * step_ns
        if clock.known:
            first_ns = min(first_ns, clock.host_ns(first.t_us, t_read_ns))
        if first_ns < self._last_ns + step_ns // 2:
            left_ns = (t_read_ns - self._last_ns) // brought
            step_ns = max(min(step_ns // 2, left_ns), 1)
            first_ns = self._last_ns + step_ns
        self._last_ns = first_ns + (count - 1) * step_ns
        return np.arange(first_ns, self._last_ns + 1, step_ns)

    def _check_silence(self) -> None:
        if self._clock.now_ns() <= self._deadline_ns:
            return
        if self._numbers is not None:
            raise DeviceFault(
                f"the board has said nothing for {SILENCE_NS // NS_PER_S} s",
                where=self.port,
                hint="Its program hangs or it has lost power: press its reset button, check the cable.",
            )
        if self._link.greeted:
            raise DeviceFault(
                f"the board has not answered CONFIG in {HELLO_WAIT_NS // NS_PER_S} s",
                where=self.port,
                hint="Its firmware is older than its protocol version, or the line is bad: see bad_frames.",
            )
        if not self._seen:
            raise DeviceFault(
                f"the board has not answered in {HELLO_WAIT_NS // NS_PER_S} s, not with one byte",
                where=self.port,
                expected="HELLO of a firmware_bridge board",
                hint="Is the firmware flashed, the board powered, and is this its port?",
            )
        raise self._wrong(
            f"no HELLO; what comes is {_looks_like(self._seen)}",
            expected="frames of firmware_bridge",
            hint="A board that prints text wants `driver: serial_text`; noise wants another `baud:`.",
        )

    def _wrong(self, what: str, expected: str, hint: str = "Check `port:` and the firmware.") -> WrongDevice:
        return WrongDevice(what, where=self.port, expected=expected, hint=hint)


def _since_us(earlier_us: int, later_us: int) -> int:
    """From one of the board's stamps, which wrap, to a later one; it may be a little earlier too."""
    return (later_us - earlier_us + PAUSE_US) % _U32 - PAUSE_US


def _who(hello: Hello) -> str:
    return f"{hello.firmware} {hello.firmware_version}"


def _unit(ucum: str) -> str:
    return UNITS.get(ucum, ucum)


def _channel(info: ChannelInfo) -> Channel:
    return Channel(info.name, _unit(info.unit), None if info.type == ChannelType.FLOAT32 else info.scale)


def _source(hello: Hello) -> Source:
    return Source(hello.firmware, hello.firmware_version, hello.build_id, hello.unique_id)


def _faults(hello: Hello, expected: dict[str, str]) -> list[str]:
    """What HELLO would have to say instead; empty if it can be used."""
    units = {c.name: (c.unit, _unit(c.unit)) for c in hello.channels}
    faults = [f"{name} in {unit}" for name, unit in expected.items() if unit not in units.get(name, ())]
    if len(units) != len(hello.channels):
        faults.append("channels of different names")
    if len({c.rate_hz for c in hello.channels}) > 1:
        faults.append("one rate for all channels")
    faults += [f"int16, int32 or float32 for {c.name}" for c in hello.channels if c.type not in LETTERS]
    faults += [f"a positive rate and a scale for {c.name}" for c in hello.channels if not _can_be_meant(c)]
    return faults


def _can_be_meant(info: ChannelInfo) -> bool:
    return math.isfinite(info.rate_hz) and info.rate_hz > 0 and math.isfinite(info.scale) and info.scale != 0


def _channels(hello: Hello) -> str:
    said = (
        f"{c.name} in {_unit(c.unit)}, type {c.type} x {c.scale:g} at {c.rate_hz:g} Hz"
        for c in hello.channels
    )
    return "; ".join(said) or "it has no channels"


def _looks_like(data: bytes) -> str:
    if all(byte in b"\r\n\t" or 32 <= byte < 127 for byte in data):
        return f"text: {data.decode()!r}"
    return f"not text either: {data[:16].hex(' ')}"

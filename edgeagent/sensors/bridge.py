"""A microcontroller that speaks firmware_bridge on a serial port: its channels, and the way to its outputs.

    motor: {driver: bridge, port: /dev/serial/by-id/usb-Arduino_LLC_Uno-if00, channels: {current: A}}

What it measures, in which unit and how fast, the board says itself in HELLO. Protocol: firmware_bridge/PROTOCOL.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock
from typing import Any

import msgspec
import numpy as np

from edgeagent.buses.serial import SerialPort
from edgeagent.errors import DeviceFault, WrongDevice
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Channel, Float32Array, Int64Array, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.timebase import Clock
from firmware_bridge.link import Burst, Greeted, Link, Mismatch
from firmware_bridge.messages import PROTOCOL_VERSION, ChannelType, Hello, Samples

WAIT_NS = 50 * NS_PER_MS
HELLO_WAIT_NS = 3 * NS_PER_S  # opening the port resets many Arduinos, and their bootloader takes up to two
SILENCE_NS = 10 * NS_PER_S  # a board says HEARTBEAT each second at least
SHOWN_BYTES = 40
_U32 = 1 << 32


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`channels` (name: unit) is what the config expects to find; empty: whatever the board has."""

    port: str
    baud: int = 115200
    channels: dict[str, str] = {}


def layout(options: Options) -> Layout | None:
    """None: the board's HELLO says it, rate and all."""
    del options
    return None


def build(name: str, options: Options, context: Context) -> Sensor:
    return BridgeSensor(name, options, context.clock)


class DeviceTime:
    """The board's microseconds as our monotonic time.

    What comes over a line comes late, never early: so the offset follows the least delay seen. It gives way
    upwards by `DRIFT`, for a board whose clock runs slow, and downwards by half a sample a frame at most, so
    that time never runs back.
    """

    DRIFT = 0.005  # a ceramic resonator's tolerance

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = NS_PER_S / rate_hz
        self._last_us: int | None = None
        self._device_ns = 0
        self._offset_ns = 0.0
        self._first: tuple[int, int] | None = None
        self.true_rate_hz = rate_hz

    def stamp(self, samples: Samples, t_read_ns: int) -> Int64Array:
        """int64[count]: the monotonic time of each sample of a frame that was read at `t_read_ns`."""
        step_ns = (samples.t_us - self._last_us) % _U32 * 1000 if self._last_us is not None else 0
        self._device_ns += step_ns
        within_ns = np.arange(samples.count) * self._period_ns
        seen_ns = t_read_ns - self._device_ns - float(within_ns[-1])
        if self._last_us is None:
            self._offset_ns = seen_ns
        else:
            error_ns = seen_ns - self._offset_ns
            self._offset_ns += min(max(error_ns, -self._period_ns / 2), self.DRIFT * step_ns)
        self._last_us = samples.t_us
        t_ns: Int64Array = np.rint(self._device_ns + self._offset_ns + within_ns).astype(np.int64)
        self._note_rate(samples.seq, int(t_ns[0]))
        return t_ns

    def _note_rate(self, seq: int, t_ns: int) -> None:
        if self._first is None:
            self._first = seq, t_ns
        elif t_ns - self._first[1] > NS_PER_S:
            self.true_rate_hz = (seq - self._first[0]) % _U32 * NS_PER_S / (t_ns - self._first[1])


class BridgeSensor:
    """The board as a source of blocks, and as the far end of the bridge actuators.

    The reader's thread alone calls `open`, `read` and `close`; `set_output` and `output_state` may be called
    from any thread.
    """

    def __init__(self, name: str, options: Options, clock: Clock) -> None:
        self.port = options.port
        self.layout: Layout | None = None
        self.wake: Callable[[], None] | None = self._wake
        self.truth: Callable[[int, int], str | None] | None = None
        self._name, self._expected, self._clock = name, options.channels, clock
        self._port = SerialPort(options.port, options.baud, clock)
        self._link = Link()
        self._lock = Lock()  # over _wishes alone
        self._wishes: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._hurry = Event()
        self._seen = b""
        self._ready: deque[Block] = deque()
        self._seq = 0
        self._deadline_ns = 0
        self._scales = np.zeros(0)
        self._time = DeviceTime(1.0)

    def open(self) -> None:
        """Open the port and wait for HELLO.

        Raises:
            DeviceGone, DeviceDenied, DeviceFault: As SerialPort; DeviceFault also if the board says nothing.
            WrongDevice: What answers is no bridge firmware, another version, or has other channels.
        """
        self._port.open()
        self._link.restart()
        self._deadline_ns = self._clock.now_ns() + HELLO_WAIT_NS
        while not self._link.greeted and not self._hurry.is_set():
            self._exchange()
            self._check_silence()

    def due_ns(self) -> int:
        return 0

    def read(self) -> Block | None:
        """What the board has sampled since the last read; feeds its dead-man switch and sends what is asked."""
        if not self._ready:
            self._exchange()
            self._check_silence()
        return self._ready.popleft() if self._ready else None

    def close(self) -> None:
        """Send what is still asked of the outputs (the agent's safe values), and let go."""
        with suppress(DeviceFault):
            if self._link.greeted:
                self._send()
        self._port.close()
        self._link.restart()
        self._ready.clear()
        self._hurry.clear()

    def counters(self) -> dict[str, int | float]:
        return {**self._link.counters, "true_rate_hz": round(self._time.true_rate_hz, 4)}

    def set_output(self, name: str, value: float) -> None:
        """Ask the board to drive an output; returns at once. Without a link it is sent when there is one."""
        with self._lock:
            self._asked[name] = self._wishes[name] = value
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
        for name, value in wishes.items():
            self._link.set_output(name, value)
        data = self._link.poll(self._clock.now_ns())
        if data:
            self._port.write(data)

    def _exchange(self) -> None:
        """Send what is due, wait for bytes, and make blocks of them."""
        self._send()
        wait_ns = min(self._link.due_ns() - self._clock.now_ns(), WAIT_NS)
        data = self._port.read(max(wait_ns, 0))
        now_ns = self._clock.now_ns()
        good_frames = self._link.counters["good_frames"]
        for event in self._link.receive(data, now_ns):
            match event:
                case Greeted():
                    self._greeted(event.hello)
                case Burst():
                    self._take(event, now_ns)
                case Mismatch():
                    raise self._wrong(
                        f"the board speaks protocol version {event.protocol}",
                        expected=f"version {PROTOCOL_VERSION}",
                        hint="Flash the firmware that goes with this edgeagent, or update edgeagent.",
                    )
        if not self._link.greeted:
            self._seen = self._seen or data[:SHOWN_BYTES]
        elif self._link.counters["good_frames"] > good_frames:
            self._deadline_ns = now_ns + SILENCE_NS

    def _greeted(self, hello: Hello) -> None:
        self._seen = b""
        faults = _faults(hello, self._expected)
        if faults:
            self._link.restart()  # a board that we don't take gets no heartbeat of ours
            who = f"{hello.firmware} {hello.firmware_version}"
            raise self._wrong(f"{who} says {_channels(hello)}", "; ".join(faults))
        if not hello.channels:
            self.layout = None
            return
        rate_hz = hello.channels[0].rate_hz
        self.layout = Layout(rate_hz, tuple(Channel(c.name, c.unit, c.scale) for c in hello.channels))
        self._scales = np.array([c.scale for c in hello.channels])
        self._time = DeviceTime(rate_hz)

    def _take(self, burst: Burst, t_read_ns: int) -> None:
        """Make a block of a burst, or join it to the one before if nothing is missing between them."""
        samples = burst.samples
        counts = np.frombuffer(samples.data, dtype="<i2").reshape(samples.count, len(self._scales))
        values: Float32Array = (counts * self._scales).astype(np.float32)
        t_ns = self._time.stamp(samples, t_read_ns)
        last = self._ready[-1] if self._ready else None
        if last is not None and not burst.lost:
            self._ready[-1] = msgspec.structs.replace(
                last,
                t_mono_ns=np.concatenate([last.t_mono_ns, t_ns]),
                values=np.concatenate([last.values, values]),
            )
            return
        self._ready.append(Block(self._name, self._seq, t_ns, values, t_read_ns, burst.lost))
        self._seq += 1

    def _check_silence(self) -> None:
        if self._clock.now_ns() <= self._deadline_ns:
            return
        if self._link.greeted:
            raise DeviceFault(
                f"the board has said nothing for {SILENCE_NS // NS_PER_S} s",
                where=self.port,
                hint="Its program hangs or it has lost power: press its reset button, check the cable.",
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


def _faults(hello: Hello, expected: dict[str, str]) -> list[str]:
    """What HELLO would have to say instead; empty if it can be used."""
    units = {c.name: c.unit for c in hello.channels}
    faults = [f"{name} in {unit}" for name, unit in expected.items() if units.get(name) != unit]
    if len(units) != len(hello.channels):
        faults.append("channels of different names")
    if len({c.rate_hz for c in hello.channels}) > 1:
        faults.append("one rate for all channels")
    for c in hello.channels:
        if c.type != ChannelType.INT16:
            faults.append(f"int16 for {c.name}")
        if not (math.isfinite(c.rate_hz) and c.rate_hz > 0 and math.isfinite(c.scale) and c.scale != 0):
            faults.append(f"a positive rate and a scale for {c.name}")
    return faults


def _channels(hello: Hello) -> str:
    said = (f"{c.name} in {c.unit}, type {c.type} x {c.scale:g} at {c.rate_hz:g} Hz" for c in hello.channels)
    return "; ".join(said) or "it has no channels"


def _looks_like(data: bytes) -> str:
    if all(byte in b"\r\n\t" or 32 <= byte < 127 for byte in data):
        return f"text: {data.decode()!r}"
    return f"not text either: {data[:16].hex(' ')}"

"""A virtual microcontroller that speaks firmware_bridge on a pty: a motor's temperature and current, one relay.

`Firmware` is the program on it, without I/O; `VirtualBoard` is the board with the cable in it.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import ClassVar

from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.port import FakePort
from edgeagent.records import NS_PER_MS, NS_PER_S
from edgeagent.timebase import Clock
from firmware_bridge.codec import DELIMITER, Decoder, decode, encode
from firmware_bridge.messages import (
    MAX_TO_BOARD_BYTES,
    PROTOCOL_VERSION,
    Ack,
    Bye,
    ChannelInfo,
    ChannelType,
    Config,
    ConfigAck,
    Fault,
    FaultKind,
    Heartbeat,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Message,
    OutputInfo,
    OutputValue,
    Ping,
    Pong,
    Result,
    Samples,
    Set,
    Time,
    TimeRequest,
)
from firmware_bridge.samples import NO_READING
from firmware_bridge.wire import Malformed

CHANNELS = (("temperature", "Cel"), ("current", "A"))
ALL_CHANNELS = 0b11
SCALE = 0.01
NOT_READ = NO_READING[ChannelType.INT16]
MAX_RATE_HZ = 1000.0
US_PER_S = 1_000_000
HEARTBEAT_EVERY_NS = 500 * NS_PER_MS
STEP_NS = 50 * NS_PER_MS
SEND_BUFFER_BYTES = 4096
MAX_SAMPLES_A_FRAME = 100

FIRST_SWELL_S, SWELL_EVERY_S = 12.0, 24.0
SWELL_RISE_S, SWELL_FALL_S, SWELL_S = 0.5, 1.0, 7.5

Scenario = Callable[[float, bool], tuple[float, float]]
"""(seconds since the board's start, relay on) -> (temperature in degC, current in A)."""


def motor(t_s: float, relay_on: bool) -> tuple[float, float]:  # noqa: FBT001
    """A motor that runs heavy every 24 s, for 7.5 s: 5 A instead of 2.4. The relay sheds a load of 1 A.

    With the load shed a swell still stands above 3.5 A, only less long: so a rule on 3.5 A switches once a
    swell instead of fluttering.
    """
    into_s = (t_s - FIRST_SWELL_S) % SWELL_EVERY_S if t_s >= FIRST_SWELL_S else SWELL_S
    swell = max(min(into_s / SWELL_RISE_S, 1.0, (SWELL_S - into_s) / SWELL_FALL_S), 0.0)
    current_a = 2.4 + 2.6 * swell - 1.0 * relay_on + 0.05 * math.sin(9.0 * t_s)
    temperature_c = 42.0 - 3.0 * math.cos(2 * math.pi * (t_s - FIRST_SWELL_S - 2.0) / SWELL_EVERY_S)
    return temperature_c, current_a


class Firmware:
    """The board's program: bytes and time in, bytes out. Its start is the first `step`.

    Args:
        scenario: What there is to measure; a NaN is a reading that failed.
        rate_hz: Samples a second, until CONFIG asks for others.
        failsafe_ms: How long the host may be silent before the relay goes to its safe value, off.
        max_on_ms: How long the relay stays on without a new SET; 0: as long as the host says.
        protocol: The version that its HELLO claims.
        version: Of the firmware.
    """

    def __init__(
        self,
        scenario: Scenario = motor,
        rate_hz: float = 20.0,
        failsafe_ms: int = 5000,
        max_on_ms: int = 0,
        protocol: int = PROTOCOL_VERSION,
        version: str = "1.0.0",
    ) -> None:
        self._scenario, self._own_rate_hz = scenario, rate_hz
        self._failsafe_ms, self._max_on_ms = failsafe_ms, max_on_ms
        self._protocol, self._version = protocol, version
        self.reset()

    def reset(self) -> None:
        """The reset button: the next step is a new start, and says HELLO."""
        self._decoder = Decoder(MAX_TO_BOARD_BYTES)
        self._start_ns: int | None = None
        self._host_ns: int | None = None  # the last heartbeat of a host that is alive
        self._heartbeat_due_ns = 0
        self._rate_hz, self._enabled, self._config = self._own_rate_hz, ALL_CHANNELS, 0
        self._since_ns = 0  # when sampling began as it is now, and the first sample that was so
        self._first = self._taken = 0
        self.dropped = 0
        self.failsafes = 0
        self.relay_on = False
        self.relay_changes = 0
        self._relay_safe_ns: int | None = None  # when max_on runs out

    def step(self, now_ns: int, data: bytes, room_bytes: int = SEND_BUFFER_BYTES) -> bytes:
        """Obey what came, take the samples that are due, and say what there is to say.

        `room_bytes` is what the line takes now: a frame that does not fit is dropped whole, and its samples
        are counted.
        """
        self._out, self._room_bytes = bytearray(), room_bytes
        if self._start_ns is None:
            self._start_ns = self._heartbeat_due_ns = self._since_ns = now_ns
            self._out += DELIMITER  # ends whatever half a frame the host still holds
            self._send(self._hello(now_ns))
        for content in self._decoder.feed(data):
            with suppress(Malformed):
                self._obey(decode(content), now_ns)
        self._watch(now_ns)
        if now_ns >= self._heartbeat_due_ns:
            self._heartbeat(now_ns)
        self._sample(now_ns)
        return bytes(self._out)

    def _obey(self, message: Message, now_ns: int) -> None:
        match message:
            case HelloRequest():
                self._send(self._hello(now_ns))
            case HostHeartbeat():
                self._host_ns = now_ns
            case Set():
                result = self._set(message, now_ns)
                value = float(self.relay_on) if message.output == 0 else 0.0
                self._send(Ack(message.correlation, message.output, result, value))
            case Config():
                result = self._configure(message, now_ns)
                state = self._config % 256, self._rate_hz, self._enabled
                self._send(ConfigAck(message.correlation, result, *state))
            case TimeRequest():
                t_us = self._uptime_ns(now_ns) // 1000 % (1 << 32)
                self._send(Time(message.id, t_us, t_us))
            case Ping():
                self._send(Pong(message.data))
            case Bye():
                self._host_ns = None
                self._drive(on=False)

    def _set(self, message: Set, now_ns: int) -> Result:
        if message.output != 0:
            return Result.NO_SUCH_OUTPUT
        if message.value not in (0.0, 1.0):
            return Result.OUT_OF_RANGE
        if self._host_ns is None:
            return Result.DEAD_MAN
        self._drive(on=message.value == 1.0)
        limit_ms = min(filter(None, (message.max_on_ms, self._max_on_ms)), default=None)
        self._relay_safe_ns = None if limit_ms is None else now_ns + limit_ms * NS_PER_MS
        return Result.OK

    def _configure(self, message: Config, now_ns: int) -> Result:
        if not (message.rate_hz == 0 or 0 < message.rate_hz <= MAX_RATE_HZ) or message.enabled > ALL_CHANNELS:
            return Result.OUT_OF_RANGE
        self._sample(now_ns)
        self._rate_hz = message.rate_hz or self._own_rate_hz
        self._enabled = message.enabled or ALL_CHANNELS
        self._config += 1
        self._since_ns, self._first = now_ns, self._taken
        return Result.OK

    def _drive(self, *, on: bool) -> None:
        if on != self.relay_on:
            self.relay_on = on
            self.relay_changes += 1
            self._heartbeat_due_ns = 0

    def _watch(self, now_ns: int) -> None:
        """The dead-man switch and max_on: what the board does by itself."""
        if self._host_ns is not None and now_ns - self._host_ns > self._failsafe_ms * NS_PER_MS:
            self._host_ns = None
            self.failsafes += 1
            self._drive(on=False)
            self._send(Fault(FaultKind.DEAD_MAN, 0, "no heartbeat of the host"))
        if self.relay_on and self._relay_safe_ns is not None and now_ns >= self._relay_safe_ns:
            self._drive(on=False)
            self._send(Fault(FaultKind.MAX_ON, 0, "relay"))

    def _heartbeat(self, now_ns: int) -> None:
        self._heartbeat_due_ns = now_ns + HEARTBEAT_EVERY_NS
        relay = OutputValue(float(self.relay_on), self.relay_changes)
        beat = Heartbeat(self._uptime_ms(now_ns), self.failsafes, self._decoder.bad_frames, (relay,))
        self._send(beat)

    def _sample(self, now_ns: int) -> None:
        due = self._first + int((now_ns - self._since_ns) * self._rate_hz // NS_PER_S) + 1
        while self._taken < due:
            first, self._taken = self._taken, min(self._taken + MAX_SAMPLES_A_FRAME, due)
            n = self._taken - first
            if self._host_ns is None or not self._send(self._samples(first, n)):
                self.dropped += n

    def _samples(self, first: int, n: int) -> Samples:
        times_us = [self._sample_us(k) for k in range(first, first + n)]
        counts = [
            NOT_READ if math.isnan(value) else round(value / SCALE)
            for t_us in times_us
            for i, value in enumerate(self._scenario(t_us / US_PER_S, self.relay_on))
            if self._enabled >> i & 1
        ]
        data = struct.pack(f"<{len(counts)}h", *counts)
        return Samples(first % (1 << 32), times_us[0] % (1 << 32), self.dropped, self._config % 256, n, data)

    def _sample_us(self, k: int) -> int:
        return round(self._uptime_ns(self._since_ns) / 1000 + (k - self._first) * US_PER_S / self._rate_hz)

    def _hello(self, now_ns: int) -> Hello:
        return Hello(
            protocol=self._protocol,
            uptime_ms=self._uptime_ms(now_ns),
            failsafe_ms=self._failsafe_ms,
            receive_bytes=256,
            max_rate_hz=MAX_RATE_HZ,
            config=self._config % 256,
            firmware="virtual-motor",
            firmware_version=self._version,
            build_id="virtual",
            unique_id="virtual-0001",
            channels=tuple(
                ChannelInfo(*c, ChannelType.INT16, self._enabled >> i & 1, SCALE, self._rate_hz)
                for i, c in enumerate(CHANNELS)
            ),
            outputs=(OutputInfo("relay", safe=0.0, low=0.0, high=1.0, max_on_ms=self._max_on_ms),),
        )

    def _send(self, message: Message) -> bool:
        frame = encode(message)
        if len(self._out) + len(frame) > self._room_bytes:
            return False
        self._out += frame
        return True

    def _uptime_ms(self, now_ns: int) -> int:
        return self._uptime_ns(now_ns) // NS_PER_MS % (1 << 32)

    def _uptime_ns(self, now_ns: int) -> int:
        return now_ns - (self._start_ns or 0)


class VirtualBoard(FakePort):
    """A board on a pty; `path` is what `driver: bridge` opens. `serve` wants a thread of its caller's.

    Args:
        clock: The board's clock; with a ScaledClock the board runs as fast.
        link: A symlink to make for the pty, for configs that name a fixed path.
        firmware: The program on the board.
    """

    def __init__(self, clock: Clock, link: Path | None = None, firmware: Firmware | None = None) -> None:
        super().__init__()
        self.firmware = firmware or Firmware()
        self._clock = clock
        self._unsent = b""
        self._link = link
        if link is not None:
            link.unlink(missing_ok=True)
            link.symlink_to(self.path)
            self.path = str(link)

    def pump(self) -> None:
        """One round: wait a little for the host, step, and write what the line takes."""
        data = self.receive(self._clock.real_s(STEP_NS))
        room_bytes = SEND_BUFFER_BYTES - len(self._unsent)
        self._unsent += self.firmware.step(self._clock.now_ns(), data, room_bytes)
        if self._unsent:
            with suppress(BlockingIOError):
                self._unsent = self._unsent[os.write(self._device_fd, self._unsent) :]

    def serve(self, stop: Event) -> None:
        """Run until `stop` is set or the cable is pulled."""
        with suppress(OSError, ValueError):  # what a descriptor says that `unplug` has closed
            while not stop.is_set():
                self.pump()

    def unplug(self) -> None:
        super().unplug()
        if self._link is not None:
            self._link.unlink(missing_ok=True)


class Motor:
    """The same board on a fake line: `Program` of line.py."""

    HAS_ID: ClassVar[bool] = True

    def __init__(self, fake: FakeDevice) -> None:
        protocol = PROTOCOL_VERSION if fake.wrong_id is None else fake.wrong_id
        self.stuck_value = fake.stuck_value
        self._measured: tuple[float, float] | None = None
        self._firmware = Firmware(self._measure, fake.rate, protocol=protocol)
        self._stepped_ns = 0

    def step(self, now_ns: int, heard: bytes) -> list[bytes]:
        self._stepped_ns = now_ns
        frames = self._firmware.step(now_ns, heard).split(DELIMITER)[:-1]
        return [frame + DELIMITER for frame in frames]

    def due_ns(self) -> int:
        return self._stepped_ns + STEP_NS

    def _measure(self, t_s: float, relay_on: bool) -> tuple[float, float]:  # noqa: FBT001
        if self._measured is None or not self.stuck_value:
            self._measured = motor(t_s, relay_on)
        return self._measured


def program(fake: FakeDevice) -> Motor:
    return Motor(fake)

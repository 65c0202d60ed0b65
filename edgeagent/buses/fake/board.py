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

from edgeagent.buses.fake.port import FakePort
from edgeagent.records import NS_PER_MS, NS_PER_S
from edgeagent.timebase import Clock
from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.messages import (
    PROTOCOL_VERSION,
    Ack,
    ChannelInfo,
    ChannelType,
    Heartbeat,
    Hello,
    HelloRequest,
    HostHeartbeat,
    Message,
    OutputInfo,
    OutputValue,
    Result,
    Samples,
    Set,
)
from firmware_bridge.wire import Malformed

SCALE = 0.01
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
        scenario: What there is to measure.
        rate_hz: Samples a second.
        failsafe_ms: How long the host may be silent before the relay goes to its safe value, off.
        protocol: The version that its HELLO claims.
    """

    def __init__(
        self,
        scenario: Scenario = motor,
        rate_hz: float = 20.0,
        failsafe_ms: int = 5000,
        protocol: int = PROTOCOL_VERSION,
    ) -> None:
        self._scenario, self._rate_hz, self._failsafe_ms = scenario, rate_hz, failsafe_ms
        self._protocol = protocol
        self.reset()

    def reset(self) -> None:
        """The reset button: the next step is a new start, and says HELLO."""
        self._decoder = Decoder()
        self._start_ns: int | None = None
        self._host_ns: int | None = None  # the last heartbeat of a host that is alive
        self._heartbeat_due_ns = 0
        self._taken = 0
        self.dropped = 0
        self.failsafes = 0
        self.relay_on = False
        self.relay_changes = 0

    def step(self, now_ns: int, data: bytes, room_bytes: int = SEND_BUFFER_BYTES) -> bytes:
        """Obey what came, take the samples that are due, and say what there is to say.

        `room_bytes` is what the line takes now: a frame that does not fit is dropped whole, and its samples
        are counted.
        """
        self._out, self._room_bytes = bytearray(), room_bytes
        if self._start_ns is None:
            self._start_ns = self._heartbeat_due_ns = now_ns
            self._send(self._hello(now_ns))
        for content in self._decoder.feed(data):
            with suppress(Malformed):
                self._obey(decode(content), now_ns)
        self._watch_host(now_ns)
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
                result = self._set(message)
                known = result != Result.NO_SUCH_OUTPUT
                value = float(self.relay_on) if known else 0.0
                self._send(Ack(message.correlation, message.output, result, value))

    def _set(self, message: Set) -> Result:
        if message.output != 0:
            return Result.NO_SUCH_OUTPUT
        if message.value not in (0.0, 1.0):
            return Result.OUT_OF_RANGE
        if self._host_ns is None:
            return Result.DEAD_MAN
        self._drive(on=message.value == 1.0)
        return Result.OK

    def _drive(self, *, on: bool) -> None:
        if on != self.relay_on:
            self.relay_on = on
            self.relay_changes += 1
            self._heartbeat_due_ns = 0

    def _watch_host(self, now_ns: int) -> None:
        if self._host_ns is not None and now_ns - self._host_ns > self._failsafe_ms * NS_PER_MS:
            self._host_ns = None
            self.failsafes += 1
            self._drive(on=False)

    def _heartbeat(self, now_ns: int) -> None:
        self._heartbeat_due_ns = now_ns + HEARTBEAT_EVERY_NS
        relay = OutputValue(float(self.relay_on), self.relay_changes)
        self._send(Heartbeat(self._uptime_ms(now_ns), self.failsafes, 0, (relay,)))

    def _sample(self, now_ns: int) -> None:
        due = int(self._since_start_ns(now_ns) * self._rate_hz // NS_PER_S) + 1
        while self._taken < due:
            first, self._taken = self._taken, min(self._taken + MAX_SAMPLES_A_FRAME, due)
            n = self._taken - first
            if self._host_ns is None or not self._send(self._samples(first, n)):
                self.dropped += n

    def _samples(self, first: int, n: int) -> Samples:
        counts = [
            round(value / SCALE)
            for k in range(first, first + n)
            for value in self._scenario(k / self._rate_hz, self.relay_on)
        ]
        t_us = round(first * 1_000_000 / self._rate_hz)
        data = struct.pack(f"<{len(counts)}h", *counts)
        return Samples(first % (1 << 32), t_us % (1 << 32), self.dropped, 0, n, data)

    def _hello(self, now_ns: int) -> Hello:
        channels = (("temperature", "degC"), ("current", "A"))
        return Hello(
            protocol=self._protocol,
            uptime_ms=self._uptime_ms(now_ns),
            failsafe_ms=self._failsafe_ms,
            receive_bytes=64,
            max_rate_hz=0.0,
            config=0,
            firmware="virtual-motor",
            firmware_version="1.0.0",
            build_id="virtual",
            unique_id="virtual-0001",
            channels=tuple(ChannelInfo(*c, ChannelType.INT16, 1, SCALE, self._rate_hz) for c in channels),
            outputs=(OutputInfo("relay", safe=0.0, low=0.0, high=1.0, max_on_ms=0),),
        )

    def _send(self, message: Message) -> bool:
        frame = encode(message)
        if len(self._out) + len(frame) > self._room_bytes:
            return False
        self._out += frame
        return True

    def _uptime_ms(self, now_ns: int) -> int:
        return self._since_start_ns(now_ns) // NS_PER_MS % (1 << 32)

    def _since_start_ns(self, now_ns: int) -> int:
        return now_ns - (self._start_ns if self._start_ns is not None else now_ns)


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

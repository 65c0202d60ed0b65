"""An MPU-6050 that is not there: it answers as the chip does (register map RM-MPU-6000A-00, revision 4.2).

It samples by the clock it was given: at each transfer it works out which samples have been taken since the last.
What it measures is a recording (any sensor with the channels acc_x ... gyro_z, played round and round; its
time 0 is the first sample after the FIFO was first enabled), or else a gentle synthetic wave. Counts follow the
range registers. Like the chip it sleeps after a reset, forgets writes while it resets, and drops the oldest
bytes when its FIFO overflows, so that what is left is no longer aligned to samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgeagent.buses.fake import Fake
from edgeagent.buses.fake.chip import FakeChip
from edgeagent.errors import ConfigFault
from edgeagent.recording import Label, Recording, label_between
from edgeagent.records import NS_PER_MS, NS_PER_S, Int64Array
from edgeagent.timebase import Clock

Float64Array = npt.NDArray[np.float64]
Row = npt.NDArray[np.int16]

STANDARD_GRAVITY = 9.80665
RESET_NS = 50 * NS_PER_MS
ROW_BYTES = 14  # in the FIFO, with the temperature

SMPLRT_DIV = 0x19
CONFIG = 0x1A
GYRO_CONFIG = 0x1B
ACCEL_CONFIG = 0x1C
FIFO_EN = 0x23
INT_STATUS = 0x3A
ACCEL_XOUT_H = 0x3B
GYRO_ZOUT_L = 0x48
USER_CTRL = 0x6A
PWR_MGMT_1 = 0x6B
FIFO_COUNTH = 0x72
FIFO_COUNTL = 0x73
FIFO_R_W = 0x74
WHO_AM_I = 0x75

USER_FIFO_EN, USER_FIFO_RESET = 0x40, 0x04
DEVICE_RESET, SLEEP = 0x80, 0x40
FIFO_OFLOW_INT, DATA_RDY_INT = 0x10, 0x01
READ_ONLY = {INT_STATUS, *range(ACCEL_XOUT_H, GYRO_ZOUT_L + 1), FIFO_COUNTH, FIFO_COUNTL, WHO_AM_I}

COUNTS_PER_G = (16384, 8192, 4096, 2048)  # by AFS_SEL
COUNTS_PER_DPS = (131.0, 65.5, 32.8, 16.4)  # by FS_SEL
TEMPERATURE_25C = round((25.0 - 36.53) * 340)
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = ("m/s2",) * 3 + ("rad/s",) * 3


class Motion(Protocol):
    """What the chip is moved by."""

    def at(self, world_ns: Int64Array) -> Float64Array:
        """float64[n, 6], m/s² and rad/s, at times counted from the chip's first sample."""
        ...

    def label(self, t_start_ns: int, t_end_ns: int) -> str | None:
        """What is really happening all through a stretch of such time; None if that is not known."""
        ...


class Wave:
    """A gentle synthetic swing: one g on z, 0.5 m/s² and 0.2 rad/s around it, each axis a bit slower."""

    HERTZ = np.array([1.0, 0.8, 0.5, 0.7, 0.6, 0.4])
    REST = np.array([0.0, 0.0, STANDARD_GRAVITY, 0.0, 0.0, 0.0])
    SWING = np.array([0.5, 0.5, 0.5, 0.2, 0.2, 0.2])

    def at(self, world_ns: Int64Array) -> Float64Array:
        angle = 2 * np.pi * (world_ns[:, np.newaxis] / NS_PER_S) * self.HERTZ
        return np.asarray(self.REST + self.SWING * np.sin(angle), dtype=np.float64)

    def label(self, t_start_ns: int, t_end_ns: int) -> None:
        del t_start_ns, t_end_ns


class Playback:
    """A recording played round and round, straight lines between its samples.

    Raises StorageFault if it cannot be read, ConfigFault if no sensor in it has the six channels.
    """

    def __init__(self, folder: Path) -> None:
        recording = Recording(folder)
        sensor, layout = _six_axes(recording)
        t_ns, values = recording.series(sensor)
        good = np.isfinite(values).all(axis=1)
        columns = [layout.index(name) for name in CHANNELS]
        self._origin_ns = int(t_ns[0])
        self._loop_ns = int(t_ns[-1]) - self._origin_ns + round(NS_PER_S / layout.rate_hz)
        # The first sample again at the end, so that the seam of the loop is a line like any other.
        self._t_ns = np.append(t_ns[good] - self._origin_ns, self._loop_ns)
        self._values = np.append(values[good], values[good][:1], axis=0)[:, columns]
        self._labels: tuple[Label, ...] = recording.header.labels

    def at(self, world_ns: Int64Array) -> Float64Array:
        t_ns = world_ns % self._loop_ns
        left = np.clip(np.searchsorted(self._t_ns, t_ns, side="right") - 1, 0, len(self._t_ns) - 2)
        step_ns = self._t_ns[left + 1] - self._t_ns[left]
        part = ((t_ns - self._t_ns[left]) / step_ns)[:, np.newaxis]
        here, there = (self._values[i].astype(np.float64) for i in (left, left + 1))
        return np.asarray(here + part * (there - here))

    def label(self, t_start_ns: int, t_end_ns: int) -> str | None:
        start_ns = t_start_ns % self._loop_ns + self._origin_ns
        end_ns = start_ns + t_end_ns - t_start_ns
        return label_between(self._labels, start_ns, end_ns)


def _six_axes(recording: Recording) -> tuple[str, Any]:
    for name, layout in recording.header.sensors.items():
        units = {c.name: c.unit for c in layout.channels}
        if all(units.get(c) == u for c, u in zip(CHANNELS, UNITS, strict=True)):
            return name, layout
    raise ConfigFault(
        "no sensor in this recording is a 6-axis IMU",
        where=str(recording.folder),
        expected="channels acc_x acc_y acc_z in m/s2 and gyro_x gyro_y gyro_z in rad/s",
    )


class Mpu6050(FakeChip):
    """The chip. `motion` is what it measures."""

    ADDRESSES = (0x68, 0x69)  # by its pin AD0
    ID = 0x68
    FIFO_BYTES = 1024

    def __init__(self, clock: Clock, motion: Motion, fake: Fake = Fake()) -> None:  # noqa: B008
        super().__init__(clock, fake)
        self._motion = motion
        self._world_zero_ns: int | None = None
        self._power_on()

    def close(self) -> None:
        self.clock.let_run(None)

    def _power_on(self) -> None:
        self.clock.let_run(None)
        self._registers = bytearray(0x80)
        self._registers[PWR_MGMT_1] = SLEEP
        self._registers[WHO_AM_I] = self.id or 0
        self._registers[ACCEL_XOUT_H + 6 : ACCEL_XOUT_H + 8] = TEMPERATURE_25C.to_bytes(2, "big", signed=True)
        self._fifo = bytearray()
        self._last_fifo_byte = 0
        self._pointer = 0
        self._frozen_row: Row | None = None
        self._busy_until_ns = 0
        self._start_sampling(self.clock.now_ns())

    # What a driver sees

    def receive(self, data: bytes) -> None:
        self.clock.let_run(self._half_fifo_ns())  # before a write that starts it, not after
        self._catch_up(self.clock.now_ns())
        self._pointer = data[0]
        for number, value in enumerate(data[1:], start=data[0]):
            if number not in READ_ONLY:
                self._set(number, value)
        self._wait_for_the_reader()

    def answer(self, n: int) -> bytes:
        self._catch_up(self.clock.now_ns())
        self._wait_for_the_reader()
        register = self._pointer
        if register == FIFO_COUNTH:
            self._registers[FIFO_COUNTH : FIFO_COUNTL + 1] = len(self._fifo).to_bytes(2, "big")
        # At the FIFO the register number stops counting up.
        plain = n if register > FIFO_R_W else min(n, FIFO_R_W - register)
        answer = bytes(self._registers[register : register + plain])
        if register <= INT_STATUS < register + plain:
            self._registers[INT_STATUS] = 0
        return answer + self._take(n - plain)

    # What happens inside

    def _set(self, number: int, value: int) -> None:
        now_ns = self.clock.now_ns()
        if now_ns < self._busy_until_ns:
            return
        if number == PWR_MGMT_1 and value & DEVICE_RESET:
            self._power_on()
            self._busy_until_ns = now_ns + RESET_NS
            return
        if number == USER_CTRL:
            value = self._control_fifo(value)
        if number == FIFO_R_W:
            return
        changed = self._registers[number] != value
        self._registers[number] = value
        first_fifo = self._world_zero_ns is None and self._fifo_runs() and not self._asleep()
        if first_fifo or (changed and number in (SMPLRT_DIV, CONFIG, PWR_MGMT_1)):
            self._start_sampling(now_ns)
        if first_fifo:
            self._world_zero_ns = round(self._first_ns)

    def _wait_for_the_reader(self) -> None:
        """A time that is shared for show stands still before the FIFO runs over."""
        self.clock.let_run(self._half_fifo_ns() if self._fifo_runs() else None)

    def _half_fifo_ns(self) -> int:
        return round(self.FIFO_BYTES / ROW_BYTES / 2 * self._period_ns)

    def _control_fifo(self, value: int) -> int:
        """USER_CTRL as it is stored: FIFO_RESET works while the FIFO is off, and clears itself."""
        if value & USER_FIFO_RESET and not value & USER_FIFO_EN:
            self._fifo.clear()
        return value & ~USER_FIFO_RESET

    def _asleep(self) -> bool:
        return bool(self._registers[PWR_MGMT_1] & SLEEP)

    def _fifo_runs(self) -> bool:
        return bool(self._registers[USER_CTRL] & USER_FIFO_EN and self._registers[FIFO_EN])

    def _start_sampling(self, now_ns: int) -> None:
        """Sample number k of this stretch is taken at `_first_ns + k * _period_ns`."""
        filtered = self._registers[CONFIG] & 7 not in (0, 7)
        gyro_hz = 1000 if filtered else 8000
        self._period_ns = NS_PER_S * (1 + self._registers[SMPLRT_DIV]) / gyro_hz
        self._first_ns = now_ns + self._period_ns
        self._taken = 0

    def _catch_up(self, now_ns: int) -> None:
        """Take the samples that have fallen due."""
        if self._asleep():
            return
        due = int((now_ns - self._first_ns) // self._period_ns) + 1
        if due <= self._taken:
            return
        # Of a long silence only what fills the FIFO and overflows it matters.
        start = max(self._taken, due - self.FIFO_BYTES)
        t_ns = np.rint(self._first_ns + np.arange(start, due) * self._period_ns).astype(np.int64)
        rows = self._measure(t_ns - (self._world_zero_ns or 0))
        self._taken = due
        self._registers[INT_STATUS] |= DATA_RDY_INT
        self._registers[ACCEL_XOUT_H : GYRO_ZOUT_L + 1] = rows[-1].tobytes()
        if self._fifo_runs():
            self._push(rows)

    def _measure(self, world_ns: Int64Array) -> Row:
        """The data registers at times: big-endian int16[n, 7], accelerometer, temperature, gyroscope."""
        accel = COUNTS_PER_G[self._range(ACCEL_CONFIG)] / STANDARD_GRAVITY
        gyro = np.degrees(COUNTS_PER_DPS[self._range(GYRO_CONFIG)])
        counts = np.rint(self._motion.at(world_ns) * ([accel] * 3 + [gyro] * 3)).clip(-32768, 32767)
        rows = np.insert(counts, 3, TEMPERATURE_25C, axis=1).astype(">i2")
        if not self.stuck_value:
            self._frozen_row = None
            return rows
        if self._frozen_row is None:
            self._frozen_row = rows[0]
        return np.tile(self._frozen_row, (len(rows), 1))

    def _range(self, register: int) -> int:
        return (self._registers[register] >> 3) & 3

    def _push(self, rows: Row) -> None:
        enabled = self._registers[FIFO_EN]
        columns = [0, 1, 2] if enabled & 0x08 else []
        columns += [3 + i for i, bit in enumerate((0x80, 0x40, 0x20, 0x10)) if enabled & bit]
        self._fifo += rows[:, columns].tobytes()
        if len(self._fifo) > self.FIFO_BYTES:
            del self._fifo[: -self.FIFO_BYTES]
            self._registers[INT_STATUS] |= FIFO_OFLOW_INT

    def _take(self, n: int) -> bytes:
        """`n` bytes out of the FIFO; an empty one repeats the last byte that was read."""
        taken = bytes(self._fifo[:n])
        del self._fifo[:n]
        self._last_fifo_byte = taken[-1] if taken else self._last_fifo_byte
        return taken + bytes([self._last_fifo_byte]) * (n - len(taken))

    # What only a fake knows

    def truth(self, t_start_ns: int, t_end_ns: int) -> str | None:
        """The recording's label between two times of the clock; None if they span more than one."""
        zero_ns = self._world_zero_ns
        return None if zero_ns is None else self._motion.label(t_start_ns - zero_ns, t_end_ns - zero_ns)


def motion_of(fake: Fake) -> Motion:
    """The recording that is to be played, or else a gentle wave."""
    return Playback(fake.recording) if fake.recording else Wave()


def build(clock: Clock, fake: Fake) -> Mpu6050:
    return Mpu6050(clock, motion_of(fake), fake)

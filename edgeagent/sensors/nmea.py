"""A GPS or GNSS receiver that speaks NMEA 0183 on a serial port: where it is, how fast, and how well it knows.

    gps: {driver: nmea, port: /dev/serial/by-id/usb-u-blox_AG_u-blox_7-if00, rate: 1 Hz}

RMC and GGA of one time of day make one sample; it bears the time of arrival, never the receiver's, which may leap.
Samples are float32: a position is good to a metre or two. `clock: on` lets it give the agent its time while the
system's clock is not set (sensors/gnss_time.py says when it is believed).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
from pynmeagps import NMEAMessageError, NMEAParseError, NMEAReader, NMEATypeError

from edgeagent.buses import Port
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.ports import Baud
from edgeagent.config.quantities import Hz, Switch
from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Channel, Layout
from edgeagent.sensors import Advice, Context, Sensor
from edgeagent.sensors.gnss_time import GnssTime
from edgeagent.sensors.lines import MAX_LINE_BYTES, Splitter, shown
from edgeagent.sensors.on_serial import OnSerial, port_advice
from edgeagent.timebase import Clock, Wall

log = logging.getLogger(__name__)

WAIT_NS = 50 * NS_PER_MS
SILENCE_NS = 10 * NS_PER_S
LEAP_S = 2.0
NO_SATELLITES = ("E", "M", "S", "N")  # RMC's mode: dead reckoning, by hand, a simulator, none
M_S_PER_KNOT = 1852 / 3600

# Of the two sentences that matter, what is taken; pynmeagps gives "" for an empty field.
FIELDS = {
    "RMC": ("time", "status", "lat", "lon", "spd", "date"),
    "GGA": ("time", "quality", "lat", "lon", "alt", "numSV", "HDOP"),
}
CHANNELS = (
    Channel("latitude", "deg"),
    Channel("longitude", "deg"),
    Channel("altitude", "m"),
    Channel("speed", "m/s"),
    Channel("satellites", "1"),
    Channel("hdop", "1"),
    Channel("fix", "1"),
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` is how often the receiver says where it is; `clock`: let it tell the agent the time, too."""

    port: str
    baud: Baud = 9600
    rate: Hz = 1.0
    clock: Switch = False
    fake: FakeDevice = FakeDevice()


def layout(options: Options) -> Layout:
    """`fix` is GGA's quality: 0 none, 1 GPS, 2 differential, 4 and 5 RTK."""
    return Layout(options.rate, CHANNELS)


def advise(options: Options) -> Iterator[Advice]:
    return port_advice(options.port, options.baud)


def build(name: str, options: Options, context: Context) -> Sensor:
    serial = context.buses.port(options.port, options.baud, options.fake)
    return Nmea(name, options, serial, context.clock)


class Fix(NamedTuple):
    """One sample: a value for each of CHANNELS, NaN with a reason where there is none."""

    values: tuple[float, ...]
    reason: str


class Receiver:
    """Bytes in, fixes out; no I/O. The time is passed in, to see whether the receiver's leaps.

    `counts` has what was wrong with sentences, and how often the receiver's time was not where it should be; `utc` is
    its time by the last sentence of the newest data that has one and a fix.
    """

    def __init__(self) -> None:
        self.counts = {"bad_checksum": 0, "malformed": 0, "time_leaps": 0}
        self.utc: datetime | None = None
        self._splitter = Splitter()
        self.restart()

    def restart(self) -> None:
        """The port was opened anew."""
        self._splitter.restart()
        self._epoch: dict[str, Any] = {}  # RMC and GGA of one time of day
        self._before: tuple[datetime, int] | None = None

    def feed(self, data: bytes, now_ns: int) -> list[Fix]:
        """The fixes that are complete: both sentences are there, or the next time of day has begun."""
        fixes, self.utc = [], None
        for line in filter(bytes.strip, self._splitter.feed(data).split(b"\n")):
            kind, said = self._sentence(line.strip())
            if not said:
                continue
            if kind in self._epoch or any(said["time"] != other["time"] for other in self._epoch.values()):
                fixes.append(self._fix())
            self._epoch[kind] = said
            if kind == "RMC":
                self._note_time(said, now_ns)
            if len(self._epoch) == len(FIELDS):
                fixes.append(self._fix())
        return fixes

    def _sentence(self, line: bytes) -> tuple[str, dict[str, Any]]:
        """A sentence's kind and fields; none for another kind, or a spoilt one."""
        try:
            if len(line) > MAX_LINE_BYTES or not line.startswith(b"$") or b"*" not in line:
                raise NMEAParseError(f"not a sentence: {shown(line)}")
            message = NMEAReader.parse(line + b"\r\n")
            kind = str(message.msgID)
            said = {field: getattr(message, field) for field in FIELDS.get(kind, ())}
            return kind, said and said | {"mode": getattr(message, "posMode", "")}  # old receivers have none
        except (
            NMEAParseError,
            NMEAMessageError,
            NMEATypeError,
            ValueError,
            LookupError,
            AttributeError,
        ) as e:
            self.counts["bad_checksum" if "checksum" in str(e) else "malformed"] += 1
            return "", {}

    def _fix(self) -> Fix:
        rmc, gga = self._epoch.pop("RMC", {}), self._epoch.pop("GGA", {})
        valid = rmc.get("status", "A") == "A" and gga.get("quality", 1) != 0
        said = {**rmc, **gga} if valid else {key: gga[key] for key in ("numSV", "quality") if key in gga}
        found = {
            "latitude": said.get("lat", ""),
            "longitude": said.get("lon", ""),
            "altitude": said.get("alt", ""),
            "speed": said.get("spd", ""),
            "satellites": said.get("numSV", ""),
            "hdop": said.get("HDOP", ""),
            "fix": said.get("quality", float(valid)),
        }
        values = {name: float(value) if value != "" else math.nan for name, value in found.items()}
        values["speed"] *= M_S_PER_KNOT
        absent = [name for name, value in values.items() if not math.isfinite(value)]
        return Fix(tuple(values.values()), _reason(valid, absent))

    def _note_time(self, rmc: dict[str, Any], now_ns: int) -> None:
        if not rmc["date"] or rmc["time"] == "":
            return
        utc = datetime.combine(rmc["date"], rmc["time"], UTC)
        if self._before is not None:
            before, then_ns = self._before
            drift_s = (utc - before).total_seconds() - (now_ns - then_ns) / NS_PER_S
            self.counts["time_leaps"] += abs(drift_s) > LEAP_S
        self._before = utc, now_ns
        if rmc["status"] == "A" and rmc["mode"] not in NO_SATELLITES:
            self.utc = utc


def _reason(valid: bool, absent: list[str]) -> str:  # noqa: FBT001
    if not valid:
        return "no fix: it does not see enough satellites"
    return f"the receiver does not say {', '.join(absent)}" if absent else ""


class Nmea(OnSerial):
    """One receiver."""

    def __init__(self, name: str, options: Options, serial: Port, clock: Clock) -> None:
        super().__init__(name, layout(options), serial, clock)
        self._gives_time = options.clock
        self._time = GnssTime()
        self._told = self._doubting = False
        self._receiver = Receiver()
        self._heard_ns = self._last_ns = 0
        self._seen = b""

    def open(self) -> None:
        """Raises DeviceFault: as the port."""
        self._serial.open()
        self._receiver.restart()
        self._heard_ns, self._seen = self._clock.now_ns(), b""

    def due_ns(self) -> int:
        return 0

    def read(self) -> Block | None:
        """The fixes that have come. Raises DeviceGone when unplugged, DeviceFault after 10 s without any."""
        data = self._serial.read(WAIT_NS)
        now_ns = self._clock.now_ns()
        fixes = self._receiver.feed(data, now_ns)
        if self._gives_time and self._receiver.utc is not None:
            self._tell_time(self._receiver.utc, now_ns)
        if not fixes:
            self._seen = (self._seen + data)[-40:]
            self._check_silence(now_ns)
            return None
        self._heard_ns = now_ns
        self._seq += 1
        values = np.array([fix.values for fix in fixes], np.float32)
        reasons = tuple(dict.fromkeys(fix.reason for fix in fixes if fix.reason))
        first_ns = max(now_ns - len(fixes) + 1, self._last_ns + 1)
        self._last_ns = first_ns + len(fixes) - 1
        t_ns = np.arange(first_ns, first_ns + len(fixes))
        return Block(self._name, self._seq, t_ns, values, max(now_ns, self._last_ns), reasons=reasons)

    def counters(self) -> dict[str, int | float]:
        counts: dict[str, int | float] = {f"sentences_{c}": n for c, n in self._receiver.counts.items()}
        return counts | ({"times_doubted": self._time.doubted} if self._gives_time else {})

    def _tell_time(self, utc: datetime, now_ns: int) -> None:
        """Tell the agent's clock, once the time is to be believed; say that once, and once whenever it is not."""
        why = self._time.hear(utc, now_ns, now_ns + self._clock.wall().offset_ns)
        if why and not self._doubting:
            log.warning("sensor %s says that it is %s, which is not believed: %s", self._name, utc, why)
        self._doubting = bool(why)
        if why or self._time.offset_ns is None:
            return
        if not self._told:
            self._told = True
            log.info("sensor %s gives the agent its time: %s", self._name, utc)
        self._clock.tell_wall(Wall(self._time.offset_ns, synced=True, source=self._name))

    def _check_silence(self, now_ns: int) -> None:
        if now_ns - self._heard_ns > SILENCE_NS:
            found = f"only {shown(self._seen)}" if self._seen.strip() else "not one byte"
            raise DeviceFault(
                f"no RMC or GGA for {SILENCE_NS // NS_PER_S} s, {found}",
                where=self.port,
                expected="sentences such as $GPGGA,...*47",
                hint="Check `baud`: receivers use 4800, 9600, 38400 or 115200.",
            )

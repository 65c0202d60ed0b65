"""Still pictures at a rate: from a webcam, from a network camera's snapshot address, or from a folder.

    front: {driver: camera, device: /dev/v4l/by-id/usb-046d_C920-video-index0, size: 1280x720, rate: 5 Hz}
    porch: {driver: camera, url: http://10.0.0.7/snapshot.jpg, user: admin, password: {credential: porch}, rate: 1 Hz}

A sample is the size of the picture's file, with the file itself beside it, as the camera made it: it is unpacked only
when a model is to see it. The size alone says something: in the dark, in fog and behind a covered lens it is small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from urllib.parse import urlsplit

import msgspec
import numpy as np

from edgeagent.buses.camera import Camera as Source
from edgeagent.buses.camera import Still
from edgeagent.buses.camera.picture import examine
from edgeagent.config.parts import pip_install
from edgeagent.config.quantities import FilePath, Hz
from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, DeviceFault
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Channel, Layout
from edgeagent.sensors import Advice, Context, Sensor
from edgeagent.sensors.polled import Grid, Pace
from edgeagent.timebase import Clock

WAIT_NS = 50 * NS_PER_MS
SILENCE_NS = 10 * NS_PER_S
BAD_IN_A_ROW = 10
_SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})")
_BY_ARRIVAL = re.compile(r"/dev/video\d+")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One of `device`, `url` and `folder`; `size`, width x height, is asked of a camera at `device`."""

    device: str = ""
    url: str = ""
    folder: FilePath | None = None
    rate: Hz = 1.0
    size: str = ""
    user: str = ""
    password: Secret | None = None

    def __post_init__(self) -> None:
        if sum(map(bool, (self.device, self.url, self.folder))) != 1:
            raise ConfigFault("not one source of pictures", expected="one of device, url and folder")
        if self.size and not self.device:
            raise ConfigFault(
                "no camera that could be asked for it", where="size", expected="size with device only"
            )
        if self.size and not _SIZE.fullmatch(self.size):
            raise ConfigFault("not a size", where="size", expected="width x height, as 1280x720")
        if bool(self.user) != bool(self.password) or (self.user and not self.url):
            raise ConfigFault("half a login", where="user", expected="user and password, with url")
        if self.url:
            _must_be_an_address(self.url)


def _must_be_an_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # half a bracket, a port beyond all ports
        raise _no_address() from None
    if parts.username or parts.password:
        raise ConfigFault(
            "a login in the address", where="url", expected="user and password as their own keys"
        )
    if not sound:
        raise _no_address()


def _no_address() -> ConfigFault:
    return ConfigFault(
        "not an address of pictures",
        where="url",
        expected="http://HOST/PATH, as http://10.0.0.7/snapshot.jpg",
    )


def layout(options: Options) -> Layout:
    """Raises ConfigFault where what a webcam needs is not installed."""
    if options.device and find_spec("linuxpy") is None:
        raise ConfigFault(
            "a camera at `device` needs linuxpy, which is not installed",
            where="device",
            hint=f"Install it: {pip_install('edgeagent[v4l2]')} (it is under the GPL, version 3 or later).",
        )
    return Layout(options.rate, (Channel("file_size", "B"),), pictures=True)


def advise(options: Options) -> Iterator[Advice]:
    if _BY_ARRIVAL.fullmatch(options.device):
        text = (
            f"{options.device} is whichever camera came first, after the next replug or reboot another; "
            "use one of /dev/v4l/by-id/ or /dev/v4l/by-path/"
        )
        yield Advice("device", text)


def build(name: str, options: Options, context: Context) -> Sensor:
    return Camera(name, layout(options), context.clock, _source(options, context.clock))


def _source(options: Options, clock: Clock) -> Source:
    if options.device:
        from edgeagent.buses.camera.v4l2 import V4l2Camera

        width, height = map(int, (options.size or "640x480").split("x"))
        return V4l2Camera(options.device, clock, width, height)
    if options.url:
        from edgeagent.buses.camera.snapshot import SnapshotCamera

        login = f"{options.user}:{options.password.reveal()}" if options.password else ""
        return SnapshotCamera(options.url, clock, login)
    from edgeagent.buses.camera.folder import FolderCamera

    return FolderCamera(str(options.folder), clock)


class Camera:
    """One camera, asked once a deadline. A network camera has a thread to itself, and may hold it up."""

    wake: Callable[[], None] | None = None
    truth: Callable[[int, int], str | None] | None = None

    def __init__(self, name: str, layout: Layout, clock: Clock, source: Source) -> None:
        self.port = source.name
        self.layout: Layout | None = layout
        self._name, self._clock, self._source = name, clock, source
        self._grid = Grid(layout.rate_hz)
        self._pace = Pace(layout.rate_hz)
        self._is_open = False
        self._seq = self._due_ns = self._heard_ns = self._last_ns = 0
        self._bad = self._bad_in_a_row = self._skipped = 0

    def open(self) -> None:
        """Raises DeviceFault: see the camera's."""
        self._source.open()
        self._heard_ns = self._clock.now_ns()
        self._due_ns = self._grid.restart(self._heard_ns)
        self._bad_in_a_row = 0
        self._is_open = True

    def due_ns(self) -> int:
        return self._due_ns

    def read(self) -> Block | None:
        """The newest picture. Raises DeviceFault: the camera's, after ten that are none, and after 10 s without any."""
        if not self._is_open:
            raise DeviceFault("the camera is not open", where=self.port)
        began_ns = self._clock.now_ns()
        if began_ns < self._due_ns:
            return None
        still = self._source.take(WAIT_NS)
        if still is None:
            self._check_silence()
            return None
        self._grid.take(began_ns)
        self._pace.late(self._grid.late_ns(began_ns))
        self._pace.read(still.t_mono_ns, still.t_read_ns - began_ns)
        self._heard_ns, self._due_ns = still.t_read_ns, self._grid.next_ns()
        return self._block(still)

    def close(self) -> None:
        self._is_open = False
        self._source.close()

    def counters(self) -> dict[str, int | float]:
        """`pictures_skipped` came faster than they are wanted, and were dropped."""
        return {
            "pictures_bad": self._bad,
            "pictures_skipped": self._skipped,
            "deadlines_missed": self._grid.missed,
            "late_p99_ms": self._pace.late_p99_ms,
            "reading_ms": self._pace.reading_ms,
            "true_rate_hz": self._pace.true_rate_hz,
        }

    def _block(self, still: Still) -> Block:
        reason = self._trouble_with(still.data)
        self._skipped += still.skipped
        self._seq += 1
        self._last_ns = max(still.t_mono_ns, self._last_ns + 1)
        return Block(
            self._name,
            self._seq,
            np.array([self._last_ns], np.int64),
            np.array([[np.nan if reason else len(still.data)]], np.float32),
            max(still.t_read_ns, self._last_ns),
            self._grid.lost(),
            (reason,) if reason else (),
            (b"" if reason else still.data,),
        )

    def _trouble_with(self, picture: bytes) -> str:
        """What is wrong with a picture; "" if nothing. Raises DeviceFault when it has been too many in a row."""
        try:
            examine(picture, self.port)
        except DeviceFault as fault:
            self._bad += 1
            self._bad_in_a_row += 1
            if self._bad_in_a_row >= BAD_IN_A_ROW:
                raise
            return fault.what
        self._bad_in_a_row = 0
        return ""

    def _check_silence(self) -> None:
        if self._clock.now_ns() - self._heard_ns > SILENCE_NS:
            raise DeviceFault(
                f"no picture for {SILENCE_NS // NS_PER_S} s",
                where=self.port,
                hint="Plug the camera in again; on a hub, give it power of its own.",
            )

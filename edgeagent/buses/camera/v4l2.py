"""A camera at /dev/videoN by linuxpy: USB webcams, and whatever else gives Motion JPEG or YUYV.

linuxpy is under the GPL, version 3 or later, and so is in an extra of its own (docs/decisions/0012).
"""

from __future__ import annotations

import errno
import logging
import select
from contextlib import suppress
from typing import Any

from edgeagent.buses.camera import Still
from edgeagent.buses.camera.picture import jpeg_of_yuyv
from edgeagent.buses.serial import holders
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

_GONE = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO)
_BUFFERS = 2


class V4l2Camera:
    """Streams by itself; `take` empties its buffers and keeps the newest."""

    def __init__(self, path: str, clock: Clock, width: int, height: int) -> None:
        self.name = path
        self._clock, self._size = clock, (width, height)
        self._device: Any = None
        self._capture: Any = None
        self._yuyv: Any = None
        self._poll = select.poll()
        self._last_number: int | None = None

    def open(self) -> None:
        from linuxpy.video.device import Device, V4L2Error, VideoCapture

        self.close()
        # It tells of each opening, and a camera that is gone is looked for each second.
        logging.getLogger("linuxpy").setLevel(logging.WARNING)
        try:
            self._device = Device(self.name)
            self._device.open()
            self._capture = VideoCapture(self._device, size=_BUFFERS)
            self._yuyv = self._agree(self._capture)
            self._capture.open()
        except DeviceFault:
            self.close()
            raise
        except (OSError, V4L2Error, ValueError) as e:
            self.close()
            raise self._fault(e) from e
        self._poll = select.poll()
        self._poll.register(self._device.fileno(), select.POLLIN)
        self._last_number = None

    def take(self, wait_ns: int) -> Still | None:
        if self._capture is None:
            raise DeviceFault("the camera is not open", where=self.name)
        try:
            newest = self._newest(self._clock.real_s(wait_ns) * 1000)
        except OSError as e:
            raise self._fault(e) from e
        return None if newest is None else self._still(newest)

    def close(self) -> None:
        device, capture = self._device, self._capture
        self._device = self._capture = None
        for part in (capture, device):
            if part is not None:
                with suppress(OSError, ValueError):  # it may have gone already
                    part.close()

    def _newest(self, wait_ms: float) -> Any:
        """What lies in the buffers; if all were full the driver has dropped what came after, so wait for the next."""
        newest = None
        for _ in range(_BUFFERS):
            if not self._poll.poll(0):
                break
            newest = self._capture.buffer.raw_read()
        else:
            return self._capture.buffer.raw_read() if self._poll.poll(wait_ms) else newest
        if newest is None and self._poll.poll(wait_ms):
            newest = self._capture.buffer.raw_read()
        return newest

    def _still(self, frame: Any) -> Still:
        """The kernel numbers every frame, fetched or not, and stamps it by CLOCK_MONOTONIC."""
        last, self._last_number = self._last_number, int(frame.frame_nb)
        skipped = 0 if last is None else max(self._last_number - last - 1, 0)
        data = bytes(frame)
        if self._yuyv is not None:
            data = jpeg_of_yuyv(data, self._yuyv.width, self._yuyv.height, self._yuyv.bytes_per_line)
        return Still(data, round(frame.timestamp * NS_PER_S), self._clock.now_ns(), skipped)

    def _agree(self, capture: Any) -> Any:
        """The format, if it is YUYV; None if it is Motion JPEG, which is asked for first. Raises DeviceFault."""
        for wanted in ("MJPG", "YUYV"):  # a driver gives what it has, not what it is asked for
            capture.set_format(*self._size, wanted)
            found = capture.get_format()
            if found.pixel_format.name in ("MJPEG", "JPEG"):
                return None
            if found.pixel_format.name == "YUYV":
                return found
        raise DeviceFault(
            f"gives {found.pixel_format.name} pictures",
            where=self.name,
            expected="Motion JPEG or YUYV, as USB webcams do",
            hint="A camera on the Pi's ribbon: serve it by libcamera, and use the address of its snapshots.",
        )

    def _fault(self, error: Exception) -> DeviceFault:
        number = error.errno if isinstance(error, OSError) else None
        if number in _GONE:
            return DeviceGone("is not there", where=self.name, hint="Check cable, hub and power.")
        if number in (errno.EACCES, errno.EPERM):
            hint = (
                "Run `sudo usermod -aG video USER` and log in again (a service: SupplementaryGroups=video)."
            )
            return DeviceDenied("this user may not open it", where=self.name, hint=hint)
        if number == errno.EBUSY:
            who = ", ".join(holders(self.name)) or "another process"
            return DeviceFault(f"in use by {who}", where=self.name, hint="Stop it first.")
        return DeviceFault(
            f"not a camera ({error})", where=self.name, hint="`edgeagent scan` shows those that there are."
        )

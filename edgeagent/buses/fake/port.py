"""A serial port with nothing behind it but this program: the far end of a pty."""

from __future__ import annotations

import os
import pty
import select
import tty


class FakePort:
    """A pty; `path` is what a driver opens, and the methods are the device at the other end of the cable.

    The near end is kept open here too, so that a driver that closes and reopens finds the same port.
    """

    def __init__(self) -> None:
        self._device_fd, self._host_fd = pty.openpty()
        tty.setraw(self._host_fd)
        os.set_blocking(self._device_fd, False)
        self.path = os.ttyname(self._host_fd)

    def send(self, data: bytes) -> None:
        """What the device says. Raises BlockingIOError if the host has read nothing for 16 kB or so."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._device_fd, rest) :]

    def receive(self, wait_s: float = 0.0) -> bytes:
        """What the host has said, as soon as it says anything; b"" after `wait_s`."""
        if not select.select([self._device_fd], [], [], wait_s)[0]:
            return b""
        return os.read(self._device_fd, 65536)

    def unplug(self) -> None:
        """Pull the cable: whoever has the port open is hung up on, and the path is gone. May be called twice."""
        fds, self._device_fd, self._host_fd = (self._device_fd, self._host_fd), -1, -1
        for fd in fds:
            if fd >= 0:
                os.close(fd)

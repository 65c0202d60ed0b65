"""A serial port: found, opened and configured by pyserial, read by `poll` and `os.read` on its descriptor.

pyserial's own `readline` costs 324 µs a line, which is half a core at 921600 baud; this costs 4 µs.
"""

from __future__ import annotations

import errno
import grp
import os
import select
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import serial

from edgeagent.buses.ports import Ports
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

MAX_READ_BYTES = 4096  # no tty gives more at once
WRITE_PATIENCE_NS = NS_PER_S

_GONE = (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.EIO)
_BUSY = (errno.EBUSY, errno.EAGAIN)
_NO_TTY = (errno.ENOTTY, errno.EISDIR)


class SerialPort:
    """One port, 8 bits, held for this process alone (pyserial's flock).

    TIOCEXCL is left alone: on a pty it outlives a killed process. One thread calls everything but `wake`.
    """

    def __init__(
        self,
        path: str,
        baud: int,
        clock: Clock,
        ports: Ports | None = None,
        *,
        parity: Literal["none", "even", "odd"] = "none",
        stop_bits: int = 1,
    ) -> None:
        self.path, self.baud = path, baud
        self._clock, self._ports = clock, ports or Ports()
        self._framing: dict[str, Any] = {"parity": parity[0].upper(), "stopbits": stop_bits}
        self._lock = Lock()  # between `wake` and a `close` that gives the eventfd's number back
        self._wake_fd: int | None = None
        self._port: serial.Serial | None = None
        self._fd: int | None = None
        self._poll = select.poll()

    def open(self) -> None:
        """Open and configure; a handle that is still open is closed first.

        What was opened as /dev/ttyUSB0 is opened again by the name that stays with the device: whatever else has
        become ttyUSB0 since is not it.

        Raises:
            DeviceGone: There is no such port.
            DeviceDenied: This user may not open it.
            DeviceFault: Another process holds it, it is no serial port, or it does not do this baud rate.
        """
        self.close()
        try:
            self._port = serial.Serial(self.path, self.baud, exclusive=True, **self._framing)
        except (OSError, ValueError, termios.error) as e:
            raise open_fault(self.path, self.baud, _errno(e), str(e)) from e
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._fd = self._port.fileno()
        self._poll.register(self._fd, select.POLLIN)
        self._poll.register(self._wake_fd, select.POLLIN)
        self.path = self._ports.lasting_name(self.path)

    def read(self, wait_ns: int) -> bytes:
        """What has arrived, up to 4 kB, as soon as there is any; b"" at the time-out or after `wake`.

        Raises DeviceGone when the device was unplugged, DeviceFault if the port is not open.
        """
        fd = self._fileno()
        if data := self._there(fd):  # as mostly, where the reader has let bytes gather
            return data
        events = dict(self._poll.poll(self._clock.real_s(wait_ns) * 1000))
        if self._wake_fd in events:
            os.eventfd_read(self._wake_fd)
        if fd not in events:
            return b""
        if data := self._there(fd):
            return data
        raise self._gone("the port hung up")  # it says that it can be read, and then gives nothing

    def write(self, data: bytes) -> None:
        """Send all of it.

        Raises DeviceGone when the device was unplugged, DeviceFault if it has taken nothing for a second.
        """
        fd = self._fileno()
        rest = memoryview(data)
        ready = select.poll()
        ready.register(fd, select.POLLOUT)
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:
                if not ready.poll(self._clock.real_s(WRITE_PATIENCE_NS) * 1000):
                    raise DeviceFault(
                        "the device takes no more data",
                        where=self.path,
                        hint="Is its program running, and is flow control off?",
                    ) from None
            except OSError as e:
                raise self._gone(str(e)) from e

    def wake(self) -> None:
        """End a `read` that waits, from any thread; if none waits, the next one returns at once."""
        with self._lock:
            if self._wake_fd is not None:
                os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """Let go of the port. Never raises."""
        with self._lock:
            wake_fd, self._wake_fd = self._wake_fd, None
        port, self._port, self._fd = self._port, None, None
        if wake_fd is not None:
            os.close(wake_fd)
        if port is not None:
            with suppress(OSError):  # the device behind it is gone; the descriptor is free all the same
                port.close()

    def _there(self, fd: int) -> bytes:
        """What has arrived, without waiting. A tty with nothing in it gives no bytes, or says that it would block."""
        try:
            return os.read(fd, MAX_READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as e:
            raise self._gone(str(e)) from e

    def _fileno(self) -> int:
        if self._fd is None:
            raise DeviceFault("the port is not open", where=self.path)
        return self._fd

    def _gone(self, what: str) -> DeviceGone:
        return DeviceGone(f"unplugged ({what})", where=self.path, hint="Check cable, hub and power.")


def _errno(error: BaseException) -> int:
    """The number behind an error; pyserial and termios both hide it, each in another place."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    inner = error if isinstance(error, termios.error) else error.__context__
    return int(inner.args[0]) if isinstance(inner, termios.error) else 0


def open_fault(path: str, baud: int, number: int, text: str) -> DeviceFault:
    """The fault for an errno met while opening, in the words of someone who stands before the device."""
    if number in _GONE:
        return DeviceGone(_absence(path), where=path, expected="a serial port", hint=_what_is_there())
    if number in (errno.EACCES, errno.EPERM):
        group = _group(path)
        return DeviceDenied(
            f"this user may not open it; it belongs to the group {group}",
            where=path,
            hint=f"Run `sudo usermod -aG {group} USER` and log in again (a service: SupplementaryGroups=).",
        )
    if number in _BUSY:
        return DeviceFault(
            f"in use by {', '.join(holders(path)) or 'another process'}",
            where=path,
            hint="Stop it: a terminal program, ModemManager, a serial console (serial-getty), another agent.",
        )
    if number in _NO_TTY:
        return DeviceFault("not a serial port", where=path, hint=_what_is_there())
    return DeviceFault(f"cannot be set to {baud} baud ({text})", where=path, hint="Try 9600 or 115200.")


def _absence(path: str) -> str:
    if os.path.islink(path) and not os.path.exists(path):
        return f"a link to {os.readlink(path)}, which does not exist"
    return "the device behind it does not answer" if os.path.exists(path) else "does not exist"


def _what_is_there() -> str:
    found = sorted(str(p) for p in Path("/dev/serial/by-id").glob("*"))
    found = found or sorted(
        str(p) for kind in ("USB", "ACM", "AMA") for p in Path("/dev").glob(f"tty{kind}*")
    )
    return (
        f"There are: {', '.join(found)}." if found else "No serial port is plugged in: check cable and power."
    )


def _group(path: str) -> str:
    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "dialout"


def holders(path: str) -> Iterator[str]:
    """The processes that have the port open, as far as /proc lets this user see: `minicom (pid 812)`."""
    target = os.path.realpath(path)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) == target for fd in (process / "fd").iterdir()):
                yield f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue  # another user's process, or one that has just ended

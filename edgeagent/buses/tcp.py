"""A TCP connection with the manners of a serial port: read by `poll`, woken by an eventfd, gone when it breaks."""

from __future__ import annotations

import os
import select
import socket
from threading import Lock

from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

MAX_READ_BYTES = 4096
CONNECT_PATIENCE_NS = NS_PER_S


class TcpPort:
    """One connection to `host:port`. One thread calls everything but `wake`."""

    def __init__(self, path: str, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._lock = Lock()
        self._wake_fd: int | None = None
        self._socket: socket.socket | None = None
        self._poll = select.poll()

    def open(self) -> None:
        """Connect; what is still open is closed first. Raises DeviceGone."""
        self.close()
        host, _, port = self.path.rpartition(":")
        try:
            patience_s = max(self._clock.real_s(CONNECT_PATIENCE_NS), 0.01)
            self._socket = socket.create_connection((host.strip("[]"), int(port)), patience_s)
        except socket.gaierror as e:
            raise self._gone(
                f"no machine is called {host} ({e.strerror})", "Check the name, or write its address."
            ) from e
        except ConnectionRefusedError as e:
            raise self._gone(
                "it refuses the connection", "Is its Modbus server switched on, and the port 502?"
            ) from e
        except OSError as e:
            raise self._gone(f"does not connect ({e})", "Check its power, address and network.") from e
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._poll.register(self._wake_fd, select.POLLIN)

    def read(self, wait_ns: int) -> bytes:
        """What has arrived, as soon as there is any; b"" at the time-out or after `wake`. Raises DeviceGone."""
        connection = self._connection()
        events = dict(self._poll.poll(self._clock.real_s(wait_ns) * 1000))
        if self._wake_fd in events:
            os.eventfd_read(self._wake_fd)
        if connection.fileno() not in events:
            return b""
        try:
            data = connection.recv(MAX_READ_BYTES)
        except OSError as e:
            raise self._gone(f"the connection broke ({e})") from e
        if not data:
            raise self._gone("it closed the connection")
        return data

    def write(self, data: bytes) -> None:
        """Send all of it: a request is far smaller than any socket's buffer. Raises DeviceGone."""
        try:
            self._connection().sendall(data)
        except BlockingIOError as e:
            raise self._gone("it takes no more data") from e
        except OSError as e:
            if isinstance(e, DeviceFault):
                raise
            raise self._gone(f"the connection broke ({e})") from e

    def wake(self) -> None:
        """End a `read` that waits, from any thread."""
        with self._lock:
            if self._wake_fd is not None:
                os.eventfd_write(self._wake_fd, 1)

    def close(self) -> None:
        """Let go. Never raises."""
        with self._lock:
            wake_fd, self._wake_fd = self._wake_fd, None
        connection, self._socket = self._socket, None
        if wake_fd is not None:
            os.close(wake_fd)
        if connection is not None:
            connection.close()

    def _connection(self) -> socket.socket:
        if self._socket is None:
            raise DeviceFault("the connection is not open", where=self.path)
        return self._socket

    def _gone(self, what: str, hint: str = "Check its power and the network.") -> DeviceGone:
        return DeviceGone(what, where=self.path, hint=hint)

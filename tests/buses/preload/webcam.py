"""The far end of webcam.c: a camera that takes a picture when it is told to."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress

HEAD = struct.Struct("=QII")  # time in us, number, length


class Webcam:
    """As the kernel's drivers do, it numbers every picture, and drops the one for which no buffer is queued."""

    def __init__(self, path: str) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(path)
        self._server.listen()
        self._connection: socket.socket | None = None
        self._queued = self._number = 0

    def click(self, picture: bytes, times: int = 1) -> None:
        for _ in range(times):
            self._number += 1
            if self._buffers():
                self._queued -= 1
                head = HEAD.pack(time.monotonic_ns() // 1000, self._number, len(picture))
                self._connected().sendall(head + picture)

    def unplug(self) -> None:
        self._connected().close()
        self._connection = None
        self._queued = 0

    def _connected(self) -> socket.socket:
        if self._connection is None:
            self._connection, _ = self._server.accept()
            self._connection.setblocking(False)
        return self._connection

    def _buffers(self) -> int:
        """How many are queued."""
        with suppress(BlockingIOError):
            self._queued += len(self._connected().recv(1024))
        return self._queued

"""The far end of shim.c: fake chips behind a Unix socket, for other processes."""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from threading import Thread

from edgeagent.buses.i2c import Adapter

HEAD = struct.Struct("=HHH")  # address, bytes to write, bytes to read
ERROR = struct.Struct("=I")


class Simulator:
    """Carries out the transactions of whoever connects, one at a time, on the adapter."""

    def __init__(self, path: Path, adapter: Adapter) -> None:
        self._adapter = adapter
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                while head := stream.read(HEAD.size):
                    address, n_out, n_in = HEAD.unpack(head)
                    connection.sendall(self._answer(address, stream.read(n_out), n_in))

    def _answer(self, address: int, out: bytes, n_in: int) -> bytes:
        try:
            return ERROR.pack(0) + self._adapter.transfer(address, out, n_in)
        except OSError as e:
            return ERROR.pack(e.errno or 0)

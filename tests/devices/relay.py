"""Stands between a client and a server on this machine, and does what networks do."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Event, Thread


class Relay:
    """Passes bytes on. `asks` and `answers` are its gates: while one is shut, what comes waits there, whatever
    becomes of its sender, and `holds` is set."""

    def __init__(self, target_port: int) -> None:
        self.asks, self.answers, self.holds = Event(), Event(), Event()
        self.asks.set()
        self.answers.set()
        self.port, self._target_port = 0, target_port
        self.admit()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def admit(self) -> None:
        """Be there, at the same address as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = int(self._listener.getsockname()[1])
        self._lines: list[socket.socket] = []
        Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Cut all connections, and take no new one."""
        for line in (self._listener, *self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target_port))
                self._lines += [near, far]
                Thread(target=_pass_on, args=(near, far, self.asks, self.holds), daemon=True).start()
                Thread(target=_pass_on, args=(far, near, self.answers, self.holds), daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket, gate: Event, holds: Event) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if not gate.is_set():
                holds.set()
            gate.wait()
            sink.sendall(data)
        gate.wait()
        sink.shutdown(socket.SHUT_WR)

"""A receiver on a real socket that answers byte for byte what a test wants."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

CERTIFICATE = Path(__file__).parent / "loopback.pem"
"""Of 127.0.0.1, signed by itself, with its key: for tests alone."""

CERTIFICATES = Path(__file__).parent / "certificates"
"""Signed by `authority.pem`, with their keys: one that holds for 127.0.0.1, and some that do not."""

Act = Callable[[socket.socket, bytes], None]
"""Is handed the connection and the whole request, after it was read."""


class Scripted:
    """Serves one act a request, in order; the last one again and again. `tls` is its certificate."""

    def __init__(self, *acts: Act, tls: Path | None = None) -> None:
        self._acts = list(acts)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._tls and tls:
            self._tls.load_cert_chain(tls)
        self.requests: list[bytes] = []
        self._peer: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"
        self.done = Event()
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self.done.is_set():
            try:
                self._peer, _ = self._listener.accept()
                with self._tls.wrap_socket(self._peer, server_side=True) if self._tls else self._peer as peer:
                    self._converse(peer)
            except OSError:  # the other side has hung up, or the test is over
                continue

    def _converse(self, connection: socket.socket) -> None:
        while connection.fileno() >= 0 and (request := read_request(connection)):
            self.requests.append(request)
            act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
            act(connection, request)

    def close(self) -> None:
        self.done.set()
        for one in filter(None, (self._listener, self._peer)):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(60)


@contextmanager
def scripted(*acts: Act, tls: Path | None = None) -> Iterator[Scripted]:
    server = Scripted(*acts, tls=tls)
    try:
        yield server
    finally:
        server.close()


def read_request(connection: socket.socket) -> bytes:
    """Head and body; b"" when the other side has hung up."""
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        request += chunk
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> Act:
    """Answer with a status; `length` lies about the body's."""

    def act(connection: socket.socket, request: bytes) -> None:
        size = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {size}", *headers]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if length is not None:
            connection.close()

    return act


def cut(connection: socket.socket, request: bytes) -> None:
    """Reset the connection instead of answering."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hang(until: Event) -> Act:
    """Never answer, until the test is over."""

    def act(connection: socket.socket, request: bytes) -> None:
        until.wait(30)
        connection.close()

    return act

"""The HTTP side of the reference receiver: upstream/PROTOCOL.md, on the standard library's server."""

from __future__ import annotations

import hmac
import json
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from edgeagent.collector.store import Store
from edgeagent.errors import StorageFault
from edgeagent.upstream.codec import decode_batch, encode_answer

PATH = "/v1/records"
MAX_BODY_BYTES = 16_000_000
IDLE_S = 60.0
_MAX_LENGTH_DIGITS = 18
_DISCARD_BYTES = 64_000_000


class Server(ThreadingTCPServer):
    """Receives batches into a store, a thread a connection.

    Args:
        store: Where they go.
        host, port: What to listen on; port 0 takes a free one.
        token: What devices must present; "" lets any in.
        max_body_bytes: The largest batch.

    Raises StorageFault if the address cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, store: Store, host: str, port: int, token: str = "", max_body_bytes: int = MAX_BODY_BYTES
    ) -> None:
        self.store, self.token, self.max_body_bytes = store, token, max_body_bytes
        self._connections: set[Any] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as e:
            raise StorageFault(
                f"cannot listen: {e.strerror or e}",
                where=f"{host}:{port}",
                hint="Is the port taken? Try another.",
            ) from e

    @property
    def url(self) -> str:
        """What goes into a device's `http: {url: ...}`."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{shown}:{port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and hang up on those who are connected still."""
        super().server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A device that hangs up is no news: it sends again."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True  # or the kernel holds an answer's body back for 40 ms
    server: Server

    def do_POST(self) -> None:
        if self.path != PATH:
            self._refuse(HTTPStatus.NOT_FOUND, f"records go to {PATH}")
        elif not self._is_allowed():
            self._refuse(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
        else:
            self._receive()

    def _is_allowed(self) -> bool:
        wanted = f"Bearer {self.server.token}".encode()
        return not self.server.token or hmac.compare_digest(
            self.headers.get("Authorization", "").encode(), wanted
        )

    def _receive(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS):
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "a batch needs a Content-Length")
        if int(length) > self.server.max_body_bytes:
            return self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a batch has {self.server.max_body_bytes} bytes at most"
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        try:
            refusals = self.server.store.add(decode_batch(body))
        except ValueError as e:
            return self._answer(HTTPStatus.BAD_REQUEST, _error(f"not a batch of records: {e}"))
        except StorageFault as e:
            return self._answer(HTTPStatus.INSUFFICIENT_STORAGE, _error(str(e)))
        return self._answer(HTTPStatus.OK, encode_answer(refusals))

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        """Answer without having read the body: hang up afterwards."""
        self.close_connection = True
        self._answer(status, _error(why))
        self._discard()

    def _discard(self) -> None:
        """Read on a while: a client that is cut off while it still writes never sees the answer."""
        left = _DISCARD_BYTES
        self.connection.shutdown(socket.SHUT_WR)
        while left > 0 and (chunk := self.rfile.read1(1 << 16)):
            left -= len(chunk)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing: the answer tells the device, and the dataset tells everyone else."""

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _error(why: str) -> bytes:
    return json.dumps({"error": why}).encode()

"""The HTTP side of the reference receiver: upstream/PROTOCOL.md, on the standard library's server."""

from __future__ import annotations

import json
import re
import socket
import ssl
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import unquote

from edgeagent.collector.store import Refusal, Store
from edgeagent.collector.tokens import Devices, Tokens, both, named_on_certificate, speaks_for
from edgeagent.collector.uploads import MAX_BYTES, Refused, Uploads
from edgeagent.errors import StorageFault
from edgeagent.packing import TooLong, decompress
from edgeagent.upstream.codec import decode_batch, decode_reference, encode_answer, may_refer

PATH, BLOB_PATH = "/v1/records", "/v1/blobs/"
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
MAX_BODY_BYTES = 16_000_000
IDLE_S = 60.0
_MAX_LENGTH_DIGITS = 18
_DISCARD_BYTES = 64_000_000
_OPEN = Tokens()


class Server(ThreadingTCPServer):
    """Receives batches into a store, a thread a connection.

    Args:
        store: Where they go.
        host, port: What to listen on; port 0 takes a free one.
        tokens: What devices must present.
        tls: The certificate, and whose certificates devices must show, if they must.
        max_body_bytes: The largest batch.

    Raises StorageFault if the address cannot be listened on.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1024  # a fleet that was cut off comes back at once

    def __init__(
        self,
        store: Store,
        host: str,
        port: int,
        tokens: Tokens = _OPEN,
        tls: ssl.SSLContext | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.store, self.tokens, self.max_body_bytes = store, tokens, max_body_bytes
        self._tls = tls
        self.uploads = Uploads(store.folder / "uploads")
        self._connections: set[Any] = set()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as e:
            raise StorageFault(
                f"cannot listen: {e.strerror or e}",
                where=f"{host}:{port}",
                hint="Is the port taken, or the address another machine's?",
            ) from e

    @property
    def url(self) -> str:
        """What goes into a device's `http: {url: ...}`."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"{'https' if self._tls else 'http'}://{shown}:{port}"

    def get_request(self) -> tuple[Any, Any]:
        """A connection. Its thread shakes hands: who is slow at that holds up nobody."""
        connection, address = super().get_request()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, hang up on those who are connected still, and let go of the dataset."""
        super().server_close()
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.store.close()

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
        elif status := self._barred():
            self._refuse(status, _BARRED[status])
        else:
            self._receive()

    def do_HEAD(self) -> None:
        """How much of an upload is here."""
        try:
            offset = self.server.uploads.offset(self._blob())
        except ValueError:
            return self._answer(HTTPStatus.NOT_FOUND, b"")
        if status := self._barred():
            return self._answer(status, b"")
        return self._answer(HTTPStatus.OK, b"", offset)

    def do_PUT(self) -> None:
        """The next piece of one."""
        if status := self._barred():
            return self._refuse(status, _BARRED[status])
        place = _RANGE.fullmatch(self.headers.get("Content-Range", ""))
        if not place:
            return self._refuse(
                HTTPStatus.BAD_REQUEST, "a piece needs a Content-Range: bytes FIRST-LAST/TOTAL"
            )
        first, last, total = map(int, place.groups())
        if total > MAX_BYTES:
            return self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a record has {MAX_BYTES} bytes at most"
            )
        if (piece := self._body()) is None:
            return None
        if len(piece) != last - first + 1:
            return self._answer(HTTPStatus.BAD_REQUEST, _error("Content-Range and Content-Length disagree"))
        try:
            offset = self.server.uploads.add(self._blob(), first, total, piece)
        except Refused as e:
            return self._answer(HTTPStatus.CONFLICT, _error(str(e)), e.offset)
        except ValueError as e:
            return self._answer(HTTPStatus.NOT_FOUND, _error(str(e)))
        except StorageFault as e:
            return self._answer(HTTPStatus.INSUFFICIENT_STORAGE, _error(str(e)))
        return self._answer(HTTPStatus.OK, b"", offset)

    def _blob(self) -> str:
        """The name that the path gives; "" if it gives none."""
        return self.path.removeprefix(BLOB_PATH) if self.path.startswith(BLOB_PATH) else ""

    def _barred(self) -> HTTPStatus | None:
        """Why this sender is not let in. One whose token is right may say that it is another device."""
        if not self.server.tokens.devices(self._token()):
            return HTTPStatus.UNAUTHORIZED
        devices, device = self._devices(), unquote(self.headers.get("Edgeagent-Device", ""))
        known = speaks_for(devices, device) if device else bool(devices)
        return None if known else HTTPStatus.FORBIDDEN

    def _devices(self) -> Devices:
        """For whom the sender may speak, by its token and its certificate."""
        return both(self.server.tokens.devices(self._token()), named_on_certificate(self.connection))

    def _token(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")

    def _body(self) -> bytes | None:
        """The whole of what was sent; None if that was answered already, or is not to be answered."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a batch needs a Content-Length")
            return None
        if int(length) > self.server.max_body_bytes:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a batch has {self.server.max_body_bytes} bytes at most"
            )
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    def _receive(self) -> None:
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in ("identity", "zstd"):
            return self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a batch comes plain or as zstd")
        if (body := self._body()) is None:
            return None
        most_bytes = self.server.max_body_bytes
        try:
            plain = decompress(body, most_bytes) if coding == "zstd" else body
            refusals = self._store(plain)
        except TooLong:
            return self._answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _error(f"a batch has {most_bytes} bytes at most")
            )
        except LookupError as e:
            return self._answer(HTTPStatus.CONFLICT, _error(str(e.args[0])))
        except ValueError as e:
            return self._answer(HTTPStatus.BAD_REQUEST, _error(f"not a batch of records: {e}"))
        except StorageFault as e:
            return self._answer(HTTPStatus.INSUFFICIENT_STORAGE, _error(str(e)))
        return self._answer(HTTPStatus.OK, encode_answer(refusals))

    def _store(self, body: bytes) -> list[Refusal]:
        """Each record, or what was uploaded before and is referred to.

        Raises LookupError if that is not here, ValueError if the body is no batch.
        """
        payloads = decode_batch(body)
        if not may_refer(body):
            return self.server.store.add(payloads, self._devices())
        references = {
            at: found for at, payload in enumerate(payloads) if (found := decode_reference(payload))
        }
        for at, reference in references.items():
            whole = self.server.uploads.whole(reference.blob)
            if whole is None:
                raise LookupError(f"blob {reference.blob} is not here whole")
            payloads[at] = whole
        # Each by itself: bytes that were uploaded need not be one record.
        refusals = [self.server.store.add([payload], self._devices())[0] for payload in payloads]
        for reference in references.values():
            self.server.uploads.forget(reference.blob)
        return refusals

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

    def _answer(self, status: HTTPStatus, body: bytes, offset: int | None = None) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Accept-Encoding", "zstd")
        self.send_header("Content-Length", str(len(body)))
        if offset is not None:
            self.send_header("Edgeagent-Offset", str(offset))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


_BARRED = {
    HTTPStatus.UNAUTHORIZED: "the token is missing or wrong",
    HTTPStatus.FORBIDDEN: "the token or certificate is another device's",
}


def _error(why: str) -> bytes:
    return json.dumps({"error": why}).encode()

"""The HTTP side of the reference receiver: upstream/PROTOCOL.md, on the standard library's server."""

from __future__ import annotations

import hmac
import json
import re
import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

from edgeagent.collector.store import Refusal, Store
from edgeagent.collector.uploads import MAX_BYTES, Refused, Uploads
from edgeagent.errors import StorageFault
from edgeagent.packing import TooLong, decompress
from edgeagent.upstream.codec import decode_batch, decode_reference, encode_answer

PATH, BLOB_PATH = "/v1/records", "/v1/blobs/"
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})", re.ASCII)
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
        self.uploads = Uploads(store.folder / "uploads")
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

    def do_HEAD(self) -> None:
        """How much of an upload is here."""
        try:
            offset = self.server.uploads.offset(self._blob())
        except ValueError:
            return self._answer(HTTPStatus.NOT_FOUND, b"")
        if not self._is_allowed():
            return self._answer(HTTPStatus.UNAUTHORIZED, b"")
        return self._answer(HTTPStatus.OK, b"", offset)

    def do_PUT(self) -> None:
        """The next piece of one."""
        if not self._is_allowed():
            return self._refuse(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
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

    def _is_allowed(self) -> bool:
        wanted = f"Bearer {self.server.token}".encode()
        return not self.server.token or hmac.compare_digest(
            self.headers.get("Authorization", "").encode(), wanted
        )

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
            refusals = self._store(decode_batch(plain))
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

    def _store(self, payloads: list[bytes]) -> list[Refusal]:
        """Each record, or what was uploaded before and is referred to. Raises LookupError if that is not here."""
        references = {
            at: found for at, payload in enumerate(payloads) if (found := decode_reference(payload))
        }
        for at, reference in references.items():
            whole = self.server.uploads.whole(reference.blob)
            if whole is None:
                raise LookupError(f"blob {reference.blob} is not here whole")
            payloads[at] = whole
        refusals = self.server.store.add(payloads)
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


def _error(why: str) -> bytes:
    return json.dumps({"error": why}).encode()

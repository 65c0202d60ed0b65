"""Records by HTTP to a receiver that speaks PROTOCOL.md: `fleet: {http: {url: "https://..."}}`."""

from __future__ import annotations

import hashlib
import ssl
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from email.utils import parsedate_to_datetime
from io import BytesIO
from itertools import accumulate, islice
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from edgeagent.config.quantities import FilePath, Seconds
from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.packing import compress
from edgeagent.upstream import SLOWEST_BYTES_PER_S, Advice, Name, Result
from edgeagent.upstream.codec import decode_answer, encode_batch, encode_reference, id_of
from edgeagent.upstream.tls import OUR_CLOCK, address, check_identity, is_loopback, trust

PATH = "/v1/records"
BLOB_PATH = "/v1/blobs/"
PIECE_BYTES = 100_000  # of a record that is larger: five seconds at 20 kB/s
MOST_PIECES = 50
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_IN_ZSTD: Mapping[str, str] = MappingProxyType({"Content-Encoding": "zstd"})
_MAX_ANSWER_BYTES = 4_000_000
_MAX_DIGITS = 16
_OK, _NO_BATCH, _TOO_LARGE, _UNKNOWN_CODING = 200, 400, 413, 415
_FAILS_AT_IT = (400, 422, 500)
_LONGEST_RETRY_S = 6 * 3600.0  # whatever a receiver asks for


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`url` is the receiver's base; `ca` a file of certificates to trust instead of the system's; `certificate` and
    `key` are this device's own, for receivers that tell devices apart by them.
    """

    url: str
    token: Secret | None = None
    timeout: Seconds = 10.0
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None

    def __post_init__(self) -> None:
        check_identity(self.certificate, self.key)
        if (parts := address(self.url, ("http", "https"))) is None:
            raise ConfigFault("not a URL", where="url", expected="https://HOST or https://HOST:PORT")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigFault(
                "more than a base URL",
                where="url",
                expected="https://HOST:PORT/PATH",
                hint="A token belongs under `token:`.",
            )


def advise(options: Options) -> Iterator[Advice]:
    """Warns of what anybody on the network could read."""
    parts = urlsplit(options.url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        what = "the token and all records" if options.token else "all records"
        yield Advice("url", f"http:// sends {what} in clear; use https://")


def build(name: str, options: Options, device: str) -> Http:
    """A sink for one receiver. Raises ConfigFault if the token or the certificates cannot be read."""
    del name
    return Http(options, device)


class _Upload(NamedTuple):
    """What is under way in pieces, and how much of it is there."""

    sha256: str
    offset: int


class Http:
    """POSTs batches to one receiver over a connection that is kept."""

    def __init__(self, options: Options, device: str) -> None:
        self.bytes_sent = 0
        self._base_url = options.url.rstrip("/")
        self._url = self._base_url + PATH
        self._takes_pieces = True  # until the receiver shows that it does not
        self._takes_zstd = False  # until it says that it does
        self._refused_zstd = False
        self._upload: _Upload | None = None
        self._timeout_s = options.timeout
        self._max_body_bytes: int | None = None  # learnt from a receiver that found a batch too large
        self._headers = {"Content-Type": "application/msgpack", "Edgeagent-Device": quote(device, safe="")}
        self._token = options.token.reveal_token() if options.token else ""
        if self._token:
            self._headers["Authorization"] = f"Bearer {self._token}"
        tls = (
            trust(options.ca, options.certificate, options.key) if options.url.startswith("https:") else None
        )
        self._pool = urllib3.PoolManager(retries=False, maxsize=1, ssl_context=tls)

    def send(self, batch: Mapping[Name, bytes]) -> Result:
        """As the contract says. A batch that is too large for the receiver is sent by halves, and of a large record
        a piece at a time, if the receiver can put pieces together.
        """
        if not batch:
            return self._probe()
        if len(batch) == 1 and self._takes_pieces:
            ((name, payload),) = batch.items()
            if len(payload) > PIECE_BYTES and (result := self._send_large(name, payload)):
                return result
        return self._send_batch(batch)

    def _probe(self) -> Result:
        body = encode_batch(())
        self.bytes_sent += len(body)
        status, answer, headers = self._request("POST", self._url, body)
        if status == _NO_BATCH:  # it finds nothing in it, and has said so: it is there
            return Result()
        return self._understood(status, answer, headers, ())

    def _send_large(self, name: Name, payload: bytes) -> Result | None:
        """The next piece, or, if all are there, the word that they are a record. None if it must go whole."""
        upload, self._upload = self._upload, None  # after a fault the receiver is asked how far it has come
        sha256 = hashlib.sha256(payload).hexdigest()
        if upload is None or upload.sha256 != sha256:
            status, _, headers = self._request("HEAD", self._blob_url(sha256))
            self._takes_pieces = status == _OK and "Edgeagent-Offset" in headers
            if not self._takes_pieces:
                return None
            upload = _Upload(sha256, self._offset(headers))
        if upload.offset < len(payload):
            return self._send_piece(name, payload, upload)
        self._upload = upload
        result = self._send_batch({name: encode_reference(id_of(payload), sha256)})
        self._upload = None
        return result

    def _send_piece(self, name: Name, payload: bytes, upload: _Upload) -> Result:
        start, total = upload.offset, len(payload)
        piece = payload[start : start + max(PIECE_BYTES, total // MOST_PIECES)]
        self.bytes_sent += len(piece)
        end = start + len(piece)
        headers = {"Content-Range": f"bytes {start}-{end - 1}/{total}"}
        status, answer, said = self._request("PUT", self._blob_url(upload.sha256), piece, headers)
        if status == _TOO_LARGE:
            return Result(rejected={name: f"too large for the receiver ({total} bytes)"})
        if status != _OK:
            raise self._refusal(status, answer, said)
        if self._offset(said) != end:
            raise self._fault(f"of {end} bytes it says that {self._offset(said)} are there")
        self._upload = upload._replace(offset=end)
        return Result(unfinished=True)

    def _blob_url(self, sha256: str) -> str:
        return f"{self._base_url}{BLOB_PATH}{sha256}"

    def _offset(self, headers: Mapping[str, str]) -> int:
        said = headers.get("Edgeagent-Offset", "")
        return int(said) if said.isdecimal() and len(said) < _MAX_DIGITS else 0

    def _send_batch(self, batch: Mapping[Name, bytes]) -> Result:
        body, names = self._body(batch)
        coded, coding = self._coded(body)
        self.bytes_sent += len(coded)
        status, answer, headers = self._request("POST", self._url, coded, coding)
        if status == _UNKNOWN_CODING and coding:
            self._takes_zstd, self._refused_zstd = False, True
            return self._send_batch(batch)
        if status == _TOO_LARGE:
            if len(names) == 1:
                return Result(rejected={names[0]: f"too large for the receiver ({len(body)} bytes)"})
            self._max_body_bytes = len(body) // 2
            return self._send_batch(dict(islice(batch.items(), len(names) // 2)))
        return self._understood(status, answer, headers, names)

    def _understood(
        self, status: int, answer: bytes, headers: Mapping[str, str], names: Sequence[Name]
    ) -> Result:
        """What an answer says of a batch. Raises UpstreamFault if it is no result."""
        if status != _OK:
            raise self._refusal(status, answer, headers)
        self._takes_zstd = not self._refused_zstd and "zstd" in headers.get("Accept-Encoding", "")
        try:
            result = decode_answer(answer, names)
        except ValueError as e:
            raise self._fault(
                f"the answer is not one of an edgeagent receiver ({e})",
                hint="Check `url`; PROTOCOL.md says what it must answer.",
            ) from e
        return result._replace(rejected={i: self._hushed(why) for i, why in result.rejected.items()})

    def idle(self) -> None:
        """A connection that has gone meanwhile is opened again with the next batch."""

    def close(self) -> None:
        self._pool.clear()

    def _body(self, batch: Mapping[Name, bytes]) -> tuple[bytes, list[Name]]:
        """As many records as the receiver takes in one batch, and their names."""
        records = list(batch.values())
        if self._max_body_bytes is not None:
            fitting = bisect_right(list(accumulate(map(len, records))), self._max_body_bytes)
            records = records[: max(fitting, 1)]
        return encode_batch(records), list(batch)[: len(records)]

    def _coded(self, body: bytes) -> tuple[bytes, Mapping[str, str]]:
        """A body as it goes over the line, and the headers that say how."""
        if self._takes_zstd and len(frame := compress(body)) < len(body):
            return frame, _IN_ZSTD
        return body, NO_HEADERS

    def _request(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of the answer. Raises UpstreamFault."""
        patience_s = (
            self._timeout_s + len(body) / SLOWEST_BYTES_PER_S
        )  # the kernel takes more than it has sent
        try:
            answer = self._pool.request(
                method,
                url,
                body=BytesIO(body),  # goes by pieces: the time-out is for each
                headers=self._headers | {"Content-Length": str(len(body)), **headers},
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=self._timeout_s, read=patience_s),
            )
            try:
                text = answer.read(_MAX_ANSWER_BYTES)
            finally:
                answer.close()  # the connection too, but only if there is more to read: it is released otherwise
        except (HTTPError, OSError) as e:
            raise self._broken(e, patience_s) from e
        return answer.status, text, answer.headers

    def _broken(self, error: Exception, patience_s: float) -> UpstreamFault:
        """No answer came: why."""
        if isinstance(error, NameResolutionError):
            return self._fault(
                "the name is not known", hint="Check the network and its DNS server, then `url`."
            )
        if isinstance(error, NewConnectionError):  # in urllib3 this is a ConnectTimeoutError too
            cause = error.__cause__
            said = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error)
            return self._fault(
                f"no connection ({said})", hint="Check the network, and whether the receiver runs."
            )
        if isinstance(error, ConnectTimeoutError):
            return self._fault(
                f"nothing answers within {self._timeout_s:g} s", hint="Check the network and `url`."
            )
        if isinstance(error, ReadTimeoutError):
            return self._fault(f"no answer within {patience_s:.1f} s", hint="The receiver is slow, or hangs.")
        if isinstance(error, SSLError):
            return self._insecure(error.args[0] if error.args else error)
        if isinstance(error, ProtocolError):
            return self._fault(
                f"the connection was cut ({error})", hint="It is tried again; nothing is lost."
            )
        return self._fault(str(error))

    def _insecure(self, cause: object) -> UpstreamFault:
        if isinstance(cause, ssl.SSLCertVerificationError):
            hint = "Check `url`, `ca` and the receiver's certificate."
            if cause.verify_code in OUR_CLOCK:
                hint = "Check the device's clock first, then the receiver's certificate."
            said = cause.verify_message.rstrip(".")
            return self._fault(f"TLS fails ({said})", hint)
        return self._fault(f"TLS fails ({cause})", hint="Check `url` and its port.")

    def _refusal(self, status: int, answer: bytes, headers: Mapping[str, str]) -> UpstreamFault:
        """An answer came that is no result: what it says."""
        if 300 <= status < 400:
            return self._fault(
                f"it redirects to {headers.get('Location', 'nowhere')} ({status})",
                hint="Put the final address into `url`.",
            )
        what, hint = _REFUSALS.get(
            status, ("it fails", "It is tried again.") if status >= 500 else ("it refuses", "")
        )
        said = answer[:200].decode("utf-8", "replace").strip()
        fault = self._fault(f"{what} ({status}{': ' + said if said else ''})", hint=hint)
        fault.retry_after_s = _retry_after_s(headers)
        fault.may_be_a_record = status in _FAILS_AT_IT
        return fault

    def _fault(self, what: str, hint: str = "") -> UpstreamFault:
        return UpstreamFault(self._hushed(what), where=self._url, hint=hint)

    def _hushed(self, said: str) -> str:
        """What the far end says may quote the token, and comes into logs."""
        return said.replace(self._token, "(the token)") if self._token else said


_REFUSALS = {
    400: ("it cannot read our batch", "Is `url` an edgeagent receiver, and as new as this agent?"),
    401: ("it does not accept the token", "Check `token`."),
    403: ("it does not let this device in", "Check `token`, and the device's rights there."),
    404: ("there is no receiver at this address", "Check `url`: /v1/records is added to it."),
    429: ("it is overloaded", "It is tried again later."),
}


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """In seconds, or as a date: then by the receiver's own clock, and not by ours. 0 if it does not say."""
    text = headers.get("Retry-After", "")
    if text.isdecimal():
        return min(float(text), _LONGEST_RETRY_S)
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError):  # not a date, or one with a time zone and one without
        return 0.0
    return min(max(wait.total_seconds(), 0.0), _LONGEST_RETRY_S)

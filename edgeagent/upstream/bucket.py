"""One bucket of an S3-compatible store. Speaks obstore, whose connections are driven by threads of its own."""

from __future__ import annotations

import math
import re
from base64 import b64decode, b64encode
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from edgeagent.errors import ConfigFault, UpstreamFault
from edgeagent.upstream import SLOWEST_BYTES_PER_S

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config

_HELD = "held"
_PEM = "a file of certificates in PEM"
_TOO_LARGE = 413
_OVERLOADED = (429, 503)
_OVERLOADED_S = 15.0  # for a Retry-After that obstore does not show; Amazon's "SlowDown" comes without one


class TooLarge(UpstreamFault):
    """The store, or what stands before it, takes no object of this size."""


class Bucket:
    """Opens nothing before it is used. All its methods raise UpstreamFault when the store does not do as it must.

    Args:
        url: The store's address; "" for Amazon's of the region.
        keys: The access key and the secret key; None sends unsigned requests.
        ca: A file of certificates to trust beside the system's.
        timeout_s: How long the store may take; for an object what 20 kB/s need is added.

    Raises ConfigFault if the certificates cannot be read.
    """

    def __init__(
        self,
        name: str,
        url: str,
        region: str,
        *,
        keys: tuple[str, str] | None = None,
        ca: Path | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        self._name, self._url, self._region, self._keys, self._timeout_s = name, url, region, keys, timeout_s
        self._where = f"{url or f's3 in {region}'}, bucket {name}"
        self._ca = _pem(ca)
        self._stores: dict[int, S3Store] = {}
        try:
            self._store(0)
        except ValueError as e:
            raise ConfigFault(str(e), where=str(ca or self._where), expected=_PEM) from e

    def put(self, path: str, body: bytes, held: int) -> bool:
        """Make an object of that name, with a number beside it; False if there is one already. Raises TooLarge too."""
        try:
            attributes = {_HELD: _text(held)}
            obstore.put(self._store(len(body)), path, body, mode="create", attributes=attributes)
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as e:
            raise self._trouble(e) from e
        return True

    def last(self, folder: str) -> tuple[int, int] | None:
        """Of the objects of a folder, numbered by their names, the last: its number, and the one beside it."""
        try:
            paths = [one["path"] for some in obstore.list(self._store(0), folder) for one in some]
            if not paths:
                return None
            path = max(paths)
            attributes = obstore.get(self._store(0), path, options={"head": True}).attributes
        except (BaseError, OSError) as e:
            raise self._trouble(e) from e
        try:
            return _number(path), int.from_bytes(b64decode(attributes[_HELD], validate=True), "little")
        except (KeyError, ValueError) as e:
            what = f"{path} does not say which records are there: it was not put by an agent"
            hint = f"Move what is in {folder} elsewhere; a copy needs its metadata."
            raise self.fault(what, hint) from e

    def close(self) -> None:
        """Let go of the connections."""
        self._stores.clear()

    def fault(self, what: str, hint: str = "It is tried again; nothing is lost.") -> UpstreamFault:
        return UpstreamFault(what, where=self._where, hint=hint)

    def _store(self, size_bytes: int) -> S3Store:
        """A client whose patience is enough for a size: obstore has one time-out for all of a request."""
        doublings = math.ceil(math.log2(1 + size_bytes / SLOWEST_BYTES_PER_S / self._timeout_s))
        if doublings not in self._stores:
            self._stores[doublings] = self._open(self._timeout_s * 2**doublings)
        return self._stores[doublings]

    def _open(self, timeout_s: float) -> S3Store:
        client: ClientConfig = {
            "allow_http": self._url.startswith("http:"),
            "timeout": timedelta(seconds=timeout_s),
            "connect_timeout": timedelta(seconds=self._timeout_s),
        }
        if self._ca:
            client["root_certificate"] = self._ca
        config: S3Config = {"region": self._region, "skip_signature": self._keys is None}
        if self._keys:
            config["access_key_id"], config["secret_access_key"] = self._keys
        if self._url:
            config["endpoint"] = self._url
        return S3Store(self._name, config=config, client_options=client, retry_config=_NO_RETRIES)

    def _trouble(self, error: Exception) -> UpstreamFault:
        """What went wrong, in words: obstore tells kinds apart in its texts alone, and these may hold an access key."""
        text = str(error)
        status, code = _found(r"status code: (\d+)", text), _found(r"<Code>(\w+)</Code>", text)
        if status:
            what, hint = _said(int(status), code)
            kind = TooLarge if int(status) == _TOO_LARGE else UpstreamFault
            fault = kind(f"{what} ({status}{code and ' ' + code})", where=self._where, hint=hint)
            fault.retry_after_s = _OVERLOADED_S if int(status) in _OVERLOADED else 0.0
            return fault
        if certificate := _found(r"InvalidCertificate\(\s*(\w+?)(?:Context)?\b", text):
            return self.fault(f"TLS fails ({certificate})", _CERTIFICATES.get(certificate, "Check `ca`."))
        if "dns error" in text:
            return self.fault(
                "the name is not known", "Check the network and its DNS server, then `endpoint`."
            )
        if re.search(r"kind: (Timeout|TimedOut)", text):
            return self.fault("no answer in time", "The store is slow, hangs, or is not at `endpoint`.")
        if "kind: Connect," in text:
            said = _found(r'message: "([^"]+)"', text) or "it is cut at once"
            return self.fault(f"no connection ({said})", "Check the network, and whether the store runs.")
        if "redirect" in text:
            return self.fault("it sends us elsewhere", "Check `region` and `endpoint`.")
        if "kind: Interrupted" in text or "IncompleteMessage" in text:
            return self.fault("the connection was cut")
        return self.fault(
            f"the answer is not one of an S3 store ({text.partition(chr(10))[0][:200]})", "Check `endpoint`."
        )


def _said(status: int, code: str) -> tuple[str, str]:
    """What a refusal means, and what to do next."""
    for named, words in _REFUSALS.items():
        if named in (status, code):
            return words
    if 300 <= status < 400:
        return "it sends us elsewhere", "Check `region` and `endpoint`."
    return ("it fails", "It is tried again.") if status >= 500 else ("it refuses", "")


_REFUSALS: dict[int | str, tuple[str, str]] = {
    "RequestTimeTooSkewed": ("it finds our time wrong", "Check the device's clock."),
    "NoSuchBucket": ("there is no such bucket", "Make it there, or check `bucket` and `endpoint`."),
    400: ("it cannot read our request", "Check `region` and `endpoint`."),
    401: ("it does not let us in", "Check `access_key` and `secret_key`."),
    403: ("it does not let us in", "Check the keys, and that they may put, get and list in this bucket."),
    404: ("there is no such bucket", "Make it there, or check `bucket` and `endpoint`."),
    413: ("it takes no object so large", "Check what stands before the store."),
    429: ("it is overloaded", "It is tried again later."),
    501: (
        "it cannot put an object only if its name is free",
        "Such a store cannot be used: take a newer one.",
    ),
    503: ("it is overloaded", "It is tried again later."),
}

_CERTIFICATES = {
    "Expired": "Check the device's clock first, then the store's certificate.",
    "NotValidYet": "Check the device's clock first, then the store's certificate.",
    "NotValidForName": "The certificate is another host's: check `endpoint`.",
    "UnknownIssuer": "Nobody whom we trust has signed it: check `ca`.",
}

_NO_RETRIES: RetryConfig = {"max_retries": 0}  # the sender's back-off decides


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    return match[1] if match else ""


def _text(number: int) -> str:
    """Bits as letters; a header holds them, and is not empty."""
    return b64encode(number.to_bytes(max((number.bit_length() + 7) // 8, 1), "little")).decode()


def _number(path: str) -> int:
    """Which object of its folder: `.../0007.jsonl.zst` is 7. Raises ValueError."""
    return int(PurePosixPath(path).name.partition(".")[0])


def _pem(ca: Path | None) -> bytes:
    if ca is None:
        return b""
    try:
        return ca.read_bytes()
    except OSError as e:
        raise ConfigFault(str(e), where=str(ca), expected=_PEM) from e

"""An outbox that is carried by hand, and the receipt that goes back: the bytes of PROTOCOL.md. No port, no file."""

from __future__ import annotations

import hashlib
import hmac
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from edgeagent.errors import UpstreamFault

MANIFEST, SIGNATURE, RECEIPT = "manifest.json", "manifest.hmac", "receipt.json"


class File(msgspec.Struct, frozen=True):
    """A batch of records in a file of its own."""

    records: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a device has handed over: its id, and each file by name."""

    device: str
    files: dict[str, File]


class Span(NamedTuple):
    """The records of a run from one sequence number to another."""

    run: str
    first: int
    last: int


class Receipt(msgspec.Struct, frozen=True, tag="receipt", tag_field="edgeagent", forbid_unknown_fields=True):
    """What became of it: `manifest` is the manifest's SHA-256, `refused` has reasons by record id."""

    device: str
    manifest: str
    received: str
    accepted: list[Span]
    refused: dict[str, str]


def sign(content: bytes, token: str) -> str:
    return hmac.new(token.encode(), content, "sha256").hexdigest()


def is_signed(content: bytes, signature: str, token: str) -> bool:
    return hmac.compare_digest(sign(content, token).encode(), signature.strip().encode("utf-8", "replace"))


def encode_manifest(device: str, files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """Files by name: how many records each has, and its content's SHA-256."""
    listed = {name: File(records, sha256.hex()) for name, (records, sha256) in files.items()}
    return msgspec.json.format(msgspec.json.encode(Manifest(device, listed)), indent=1)


def decode_manifest(content: bytes) -> Manifest:
    """Raises ValueError if it is none. Whether it is genuine, `is_signed` tells."""
    return msgspec.json.decode(content, type=Manifest)


def encode_receipt(receipt: Receipt, token: str) -> bytes:
    """Two lines: the receipt, and the HMAC of that line."""
    line = msgspec.json.encode(receipt)
    return b"%s\n%s\n" % (line, sign(line, token).encode())


def decode_receipt(content: bytes, device: str, token: str) -> Receipt:
    """A device's own receipt. Raises UpstreamFault if it is another's, altered, or none at all."""
    line, _, signature = content.partition(b"\n")
    try:
        receipt = msgspec.json.decode(line, type=Receipt)
    except (ValueError, RecursionError) as e:
        raise UpstreamFault(
            "not a receipt", expected=f"the {RECEIPT} that `edgeagent collector import` wrote"
        ) from e
    if receipt.device != device:
        raise UpstreamFault(f"the receipt is for {receipt.device}, and this is {device}")
    if not is_signed(line, signature.decode("utf-8", "replace"), token):
        hint = "Was it altered? Has the collector the token that this device has?"
        raise UpstreamFault("the receipt is not signed with this device's token", hint=hint)
    return receipt


def spans(ids: Iterable[str]) -> list[Span]:
    """The ids of one device, in any order, as few spans."""
    numbers = sorted((run, int(seq)) for _, run, seq in (one.split("/") for one in ids))
    found: list[Span] = []
    for run, seq in numbers:
        if found and found[-1].run == run and seq <= found[-1].last + 1:
            found[-1] = found[-1]._replace(last=seq)
        else:
            found.append(Span(run, seq, seq))
    return found


def covers(found: Iterable[Span]) -> Callable[[str], bool]:
    """Whether a record is in one of the spans, by its id."""
    by_start = sorted(found)

    def is_covered(record_id: str) -> bool:
        try:
            _, run, seq = record_id.split("/")
            one = Span(run, int(seq), 0)
        except ValueError:
            return False
        at = bisect_right(by_start, one._replace(last=sys.maxsize)) - 1
        return at >= 0 and by_start[at].run == run and one.first <= by_start[at].last

    return is_covered


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()

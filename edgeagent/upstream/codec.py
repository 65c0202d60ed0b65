"""Batches and answers: the bytes of PROTOCOL.md. No port, no file, no clock."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import quote

import msgspec

from edgeagent.records import Record
from edgeagent.timebase import Wall, correct
from edgeagent.upstream import Name, Result

ACCEPTED = "accepted"
REJECTED = "rejected: "
MAX_ID_LENGTH = 200
_MAX_FILE_NAME = 200

_ID = re.compile(r"[^/\x00-\x1f\x7f]+/[0-9a-f]{12}/[1-9][0-9]{0,17}")
_BLOB = b"\xa4blob"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record that is not in the batch, but was uploaded before under the SHA-256 of its MessagePack."""

    id: str
    blob: str


class _Head(msgspec.Struct, frozen=True):
    id: str


class _Answer(msgspec.Struct, frozen=True):
    results: list[str]


_encode = msgspec.msgpack.Encoder().encode
_UNSYNCED = _encode({"clock": "unsynced"})[1:]
_decode_reference = msgspec.msgpack.Decoder(Reference).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
_decode_record = msgspec.msgpack.Decoder(Record).decode
_decode_batch = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def stamp(payload: bytes, boot_id: str, wall: Wall) -> bytes:
    """A record as it is sent: one made before the time was known gets its time, if it is known by now.

    Raises ValueError if there is none, or one to be stamped cannot be read.
    """
    if not payload:
        raise ValueError("no record")
    if not wall.synced or _UNSYNCED not in payload:  # nearly all: not worth decoding them
        return payload
    record = _decode_record(payload)
    stamped = correct(record, boot_id, wall)
    return payload if stamped is record else _encode(stamped)


def stamp_all(records: Mapping[int, bytes], boot_id: str, wall: Wall) -> Mapping[int, bytes]:
    """Each as it is sent; those at which `stamp` raises are left out."""
    if all(records.values()) and not (wall.synced and _UNSYNCED in b"".join(records.values())):
        return records  # nearly always: one look at all of them
    stamped: dict[int, bytes] = {}
    for row, payload in records.items():
        with suppress(ValueError):
            stamped[row] = stamp(payload, boot_id, wall)
    return stamped


def encode_batch(payloads: Sequence[bytes]) -> bytes:
    """A MessagePack array of records that are MessagePack already."""
    n = len(payloads)
    head = (
        bytes([0x90 | n])
        if n < 16
        else struct.pack(">BH", 0xDC, n)
        if n < 2**16
        else struct.pack(">BI", 0xDD, n)
    )
    return b"".join((head, *payloads))


def decode_batch(body: bytes) -> list[bytes]:
    """The records of a batch, each as it came. Raises ValueError if this is no MessagePack array."""
    try:
        return [bytes(raw) for raw in _decode_batch(body)]
    except RecursionError as e:
        raise ValueError("nested too deeply") from e


def encode_reference(record_id: str, sha256: str) -> bytes:
    """What stands in a batch for a record that has been uploaded in pieces."""
    return _encode({"id": record_id, "blob": sha256})


def may_refer(body: bytes) -> bool:
    """Whether a batch is to be looked through for references: nearly all have none."""
    return _BLOB in body


def decode_reference(payload: bytes) -> Reference | None:
    """The same; None if it is something else."""
    if _BLOB not in payload[: 2 * MAX_ID_LENGTH]:
        return None
    try:
        return _decode_reference(payload)
    except (ValueError, RecursionError):
        return None


def id_of(payload: bytes) -> str:
    """A record's id; "" if it has none."""
    try:
        return _decode_head(payload).id
    except (ValueError, RecursionError):
        return ""


def decode_record(payload: bytes) -> Record:
    """One record. Raises ValueError saying what is wrong with it."""
    try:
        record = _decode_record(payload)
    except RecursionError as e:
        raise ValueError("nested too deeply") from e
    if len(record.id) > MAX_ID_LENGTH or not _ID.fullmatch(record.id):
        raise ValueError(f"the id is not device/run/seq: {record.id[:MAX_ID_LENGTH]!r}")
    if record.time is not None and not _TIME.fullmatch(record.time):
        raise ValueError(f"the time is not RFC 3339 in UTC: {record.time[:40]!r}")
    return record


def as_json(record: object) -> bytes:
    """A record for readers without MessagePack: bytes become base64, what is no number null.

    Raises ValueError if it holds what JSON cannot say.
    """
    try:
        return msgspec.json.encode(record)
    except (TypeError, RecursionError, OverflowError) as e:
        raise ValueError(f"it cannot be written as JSON: {e}") from e


def encode_answer(results: Iterable[str | None]) -> bytes:
    """The answer to a batch, in its order: for each record None (it is stored), or why it is refused."""
    return msgspec.json.encode(_Answer([ACCEPTED if r is None else REJECTED + r for r in results]))


def decode_answer(body: bytes, names: Sequence[Name]) -> Result:
    """What an answer says of the records sent. Raises ValueError if it is not an answer to them."""
    results = _decode_answer(body).results
    if len(results) != len(names):
        raise ValueError(f"{len(results)} results for {len(names)} records")
    said = list(zip(names, results, strict=True))
    return Result(
        frozenset([name for name, result in said if result == ACCEPTED]),
        {name: result.removeprefix(REJECTED) for name, result in said if result.startswith(REJECTED)},
    )


def file_name(record_id: str) -> str:
    """A record's id as a file name, without suffix: always the same, of no other id, and no way out of the folder."""
    name = ",".join(quote(part, safe="") for part in record_id.split("/"))
    return name if len(name) <= _MAX_FILE_NAME else hashlib.sha256(record_id.encode()).hexdigest()

"""Archives of `edgeagent outbox export`: into the dataset, and a receipt for the way back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgeagent.collector.dataset import write_whole
from edgeagent.collector.store import Store, utc
from edgeagent.collector.tokens import Tokens
from edgeagent.errors import ConfigFault, StorageFault, UpstreamFault
from edgeagent.upstream.archive import (
    MANIFEST,
    RECEIPT,
    SIGNATURE,
    File,
    Manifest,
    Receipt,
    decode_manifest,
    encode_receipt,
    is_signed,
    sha256,
    spans,
)
from edgeagent.upstream.codec import decode_batch

_NAME = re.compile(r"[0-9]{6,12}\.msgpack", re.ASCII)
_REASON_CHARACTERS = 200


class Imported(NamedTuple):
    """What an archive held: the receipt for it, and why each file was left out that was."""

    receipt: Receipt
    stored: int
    left_out: dict[str, str]


class _Id(msgspec.Struct, frozen=True):
    id: str


def import_archive(folder: Path, store: Store, tokens: Tokens) -> Imported:
    """Store what is intact, and lay the receipt for that beside it. A second time nothing is stored twice.

    Raises UpstreamFault if the manifest is not the device's own, ConfigFault if its token is not known, StorageFault.
    """
    try:
        content, signature = (
            (folder / MANIFEST).read_bytes(),
            (folder / SIGNATURE).read_text(errors="replace"),
        )
    except OSError as e:
        what = f"no archive that a device has signed ({e.strerror}: {Path(e.filename).name})"
        hint = "Only a device whose upstream has a token signs what it exports."
        raise StorageFault(what, where=str(folder), hint=hint) from e
    manifest, token = _genuine(content, signature, tokens, folder)
    accepted: list[str] = []
    refused: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, file in manifest.files.items():
        try:
            payloads = _batch(folder, name, file)
        except ValueError as e:
            left_out[name] = str(e)
            continue
        refusals = store.add(payloads, frozenset({manifest.device}))
        for record_id, refusal in zip(map(_id, payloads), refusals, strict=True):
            if refusal is None:
                accepted.append(record_id)
            elif record_id:
                refused[record_id] = refusal[:_REASON_CHARACTERS]
    received = f"{utc():%Y-%m-%dT%H:%M:%SZ}"
    receipt = Receipt(manifest.device, sha256(content).hex(), received, spans(accepted), refused)
    _write(folder / RECEIPT, encode_receipt(receipt, token))
    return Imported(receipt, len(accepted), left_out)


def _genuine(content: bytes, signature: str, tokens: Tokens, folder: Path) -> tuple[Manifest, str]:
    """The manifest, and the token with which its device has signed it."""
    where = str(folder / MANIFEST)
    try:
        manifest = decode_manifest(content)
    except (ValueError, RecursionError) as e:
        raise UpstreamFault(f"not a manifest: {e}", where=where) from e
    token = tokens.of(manifest.device)
    if token is None:
        raise ConfigFault(
            f"no token is known for {manifest.device!r}", where=where, hint="Add it to the --token-file."
        )
    if not is_signed(content, signature, token):
        hint = "Was it altered on its way? Is the token the one that the device has?"
        raise UpstreamFault(f"not signed with the token of {manifest.device!r}", where=where, hint=hint)
    return manifest, token


def _batch(folder: Path, name: str, file: File) -> list[bytes]:
    """The records of one file. Raises ValueError if it is not as the device wrote it."""
    if not _NAME.fullmatch(name):
        raise ValueError("not the name of a file that an export writes")
    try:
        content = (folder / name).read_bytes()
    except OSError as e:
        raise ValueError(f"it cannot be read: {e.strerror}") from e
    if sha256(content).hex() != file.sha256:
        raise ValueError("it has been altered or cut: its SHA-256 is another")
    return decode_batch(content)


def _id(payload: bytes) -> str:
    """What a record calls itself, so that its device can set it apart if it is refused; "" if that cannot be read."""
    try:
        return msgspec.msgpack.decode(payload, type=_Id).id
    except (ValueError, RecursionError):
        return ""


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as e:
        hint = "What was in the archive is stored. Import it again where the folder can be written."
        raise StorageFault(f"the receipt cannot be written: {e.strerror}", where=str(path), hint=hint) from e

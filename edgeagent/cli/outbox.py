"""What waits to be sent: `status`, `list`, `show ID`, `retry`, `purge`, `export DIR`, `receipt FILE`."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from edgeagent.agent.clock import RealClock
from edgeagent.agent.control import ask
from edgeagent.agent.desk import MOST_BYTES, MOST_LISTED, request, serve
from edgeagent.agent.outgoing import open_outbox
from edgeagent.agent.state import Lock, run_folder, state_folder
from edgeagent.cli import FAULTS, OK, config_option
from edgeagent.config.load import load, require
from edgeagent.config.schema import Config
from edgeagent.errors import ConfigFault, StorageFault
from edgeagent.outbox.pace import PerDay
from edgeagent.records import Kind
from edgeagent.timebase import boot_id, new_run
from edgeagent.upstream.archive import (
    MANIFEST,
    RECEIPT,
    SIGNATURE,
    Receipt,
    decode_receipt,
    encode_manifest,
    sha256,
    sign,
)
from edgeagent.upstream.codec import encode_batch, stamp

Ask = Callable[..., Any]
"""`ask("list", limit=20)`: the running agent, or else the outbox itself."""

_SPANS, _REASONS = 500, 50  # of a receipt in one request: a line of the control socket has 64 kB
_CONFIG = config_option("path")
_KIND = click.option("--kind", type=click.Choice(get_args(Kind)), help="Only records of this kind.")
_JSON = click.option("--json", "as_json", is_flag=True, help="The same as JSON.")


@click.group(name="outbox", help=__doc__)
def command() -> None:
    """The group."""


@contextmanager
def _desk(config: Config) -> Iterator[Ask]:
    """Ask the running agent, which has the outbox to itself; if there is none, the outbox. Raises StorageFault."""
    state = state_folder(config.state)
    place = run_folder(state)
    try:
        ask(place, "outbox", do="list", limit=0)
    except StorageFault:
        yield from _alone(config, state)
    else:
        yield lambda do, **arguments: ask(place, "outbox", do=do, **arguments)


def _alone(config: Config, state: Path) -> Iterator[Ask]:
    if not (state / "outbox").is_dir():
        raise StorageFault(
            "there is no outbox", where=str(state), hint="Has the agent ever run on this config?"
        )
    clock, lock = RealClock(), Lock(state)
    outbox = open_outbox(config, new_run(), 1)
    try:
        if aside := outbox.set_aside:
            print(f"edgeagent: {aside} when the agent runs", file=sys.stderr)
            outbox.append([aside.gap(clock.now_ns())], clock.wall())
        yield lambda do, **arguments: _plain(
            outbox.counters()
            if do == "status"
            else serve(outbox, request(do, arguments), clock.now_ns(), clock.wall())
        )
    finally:
        outbox.close()
        lock.release()


def _plain(value: Any) -> Any:
    """As it would have come over the socket."""
    return msgspec.json.decode(msgspec.json.encode(value))


# --- looking ------------------------------------------------------------------------------------------


@command.command()
@_CONFIG
@_JSON
def status(path: Path, *, as_json: bool) -> int:
    """How much waits, how full it is and when it would be full, and what is written to the card."""
    config = require(load(path))
    with _desk(config) as desk:
        found = desk("status")
    if as_json:
        print(json.dumps(found))
        return OK
    for line in _told(found, config):
        print(line)
    return OK


def _told(found: dict[str, Any], config: Config) -> Iterator[str]:
    limit_bytes, flush_s = found["limit_bytes"], config.outbox.flush
    kinds = ", ".join(f"{row['waiting']} {kind}" for kind, row in found["by_kind"].items() if row["waiting"])
    yield f"waiting   {found['waiting']}" + (f" ({kinds})" if kinds else "")
    yield f"since its beginning {found['made']} made, {found['delivered']} delivered, {found['evicted']} given up"
    if found["rejected"]:
        yield f"refused   {found['rejected']}: edgeagent outbox list --refused"
    yield f"size      {_size(found['used_bytes'])} of {_size(limit_bytes)}"
    if found["limited_by"] == "keep_free":
        kept, most = _size(config.outbox.keep_free), _size(config.outbox.max_size)
        yield f"          outbox.max_size is {most}, but the disk is short: {kept} are kept free (outbox.keep_free)"
    if (known := found.get("per_day")) is None:
        yield "          how quickly it fills is known when the agent has run for a minute"
    else:
        pace = PerDay(**known)
        days = pace.days_to_full(limit_bytes - found["used_bytes"])
        yield f"          {_size(pace.queued_bytes)} a day are made" + (
            f": full in {days:.1f} days if nothing can be sent" if days is not None else ""
        )
        if pace.written_bytes is not None:
            yield f"card      {_size(pace.written_bytes)} a day are written to it by the agent, at this rate"
    if found.get("sparing"):
        yield "          more than outbox.card_per_day: what is no event may wait 30 s, and is at risk so long"
    yield f"flush     {flush_s:g} s: a power cut can cost so much of what came last, but no event."
    yield f"          {_trade(flush_s)}"


def _trade(flush_s: float) -> str:
    """What the other choice would be, by `make bench ARGS=wear`: 8.9, 2.9 and 1.6 bytes written for a byte."""
    if flush_s >= 5:
        return "The card is written to least so."
    return "With `outbox: {flush: 5 s}` about half as much is written to the card."


def _size(size_bytes: float) -> str:
    for unit, worth in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= worth:
            return f"{size_bytes / worth:.1f} {unit}"
    return f"{size_bytes:.0f} B"


@command.command(name="list")
@_CONFIG
@click.option(
    "--limit", type=click.IntRange(1, MOST_LISTED), default=20, show_default=True, help="So many at most."
)
@_KIND
@click.option("--refused", is_flag=True, help="What upstreams refused, and why.")
@_JSON
def list_(path: Path, limit: int, kind: str | None, *, refused: bool, as_json: bool) -> int:
    """What waits, in the order in which it will be sent."""
    with _desk(require(load(path))) as desk:
        found = desk("list", limit=limit, kind=kind, refused=refused)
    if not found and not as_json:
        what = f"of kind {kind} " if kind else ""
        print(f"nothing {what}{'was refused' if refused else 'waits'}", file=sys.stderr)
    for one in found:
        if as_json:
            print(json.dumps(one))
        elif refused:
            print(f"{one['id']}  {one['kind']:<10}  {one['upstream']}: {one['reason']}")
        else:
            names = ", ".join(one["upstreams"]) or "nobody yet"
            print(
                f"{one['id']}  {one['kind']:<10}  {one['priority']:<10}  {_size(one['bytes']):>8}  for {names}"
            )
    return OK


@command.command()
@click.argument("record_id", metavar="ID")
@_CONFIG
def show(record_id: str, path: Path) -> int:
    """One record as JSON; raw data by its size."""
    with _desk(require(load(path))) as desk:
        found = desk("show", id=record_id)
    if found is None:
        print(
            f"edgeagent: no record {record_id} waits or was refused: edgeagent outbox list shows those that do",
            file=sys.stderr,
        )
        return FAULTS
    record = msgspec.msgpack.decode(base64.b64decode(found))
    print(json.dumps(record, indent=2, default=lambda data: f"<{len(data)} bytes>"))
    return OK


# --- changing -----------------------------------------------------------------------------------------


@command.command()
@_CONFIG
def retry(path: Path) -> int:
    """Let what upstreams refused wait again."""
    with _desk(require(load(path))) as desk:
        print(f"{desk('retry')} records wait again")
    return OK


@command.command()
@_CONFIG
@_KIND
@click.option("--refused", is_flag=True, help="What upstreams refused, instead of what waits.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(path: Path, kind: str | None, *, refused: bool, yes: bool) -> int:
    """Delete what waits, for good; a gap record tells upstream."""
    what = "refused" if refused else f"waiting {kind or ''}".strip()
    if not yes and not click.confirm(f"Delete all {what} records?"):
        print("nothing was deleted", file=sys.stderr)
        return FAULTS
    with _desk(require(load(path))) as desk:
        arguments = {"refused": True} if refused else {"kind": kind}
        print(f"{desk('purge', **arguments)} records deleted")
    return OK


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_CONFIG
def export(folder: Path, path: Path) -> int:
    """Copy what waits into a folder, with a manifest; it goes on waiting until its receipt comes back."""
    config = require(load(path))
    _make_empty(folder)
    files: dict[str, tuple[int, bytes]] = {}
    with _desk(config) as desk:
        for number, payloads in enumerate(_pages(desk), 1):
            body, name = encode_batch(payloads), f"{number:06}.msgpack"
            _write(folder / name, body)
            files[name] = len(payloads), sha256(body)
    manifest = encode_manifest(config.device.id, files)
    _write(folder / MANIFEST, manifest)
    _, token = _signer(config)
    if token:
        _write(folder / SIGNATURE, sign(manifest, token).encode() + b"\n")
    records = sum(count for count, _ in files.values())
    unsigned = "" if token else ", not signed: no upstream has a token"
    print(f"{records} records in {len(files)} files in {folder}{unsigned}")
    return OK


def _make_empty(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as e:
        hint = "Is the stick in, mounted and writable?"
        raise StorageFault(f"the folder cannot be made: {e.strerror}", where=str(folder), hint=hint) from e
    if taken:
        raise StorageFault("the folder is not empty", where=str(folder), hint="Name a new one.")


def _write(path: Path, content: bytes) -> None:
    """Down to the stick: it will be pulled out."""
    try:
        with path.open("wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
    except OSError as e:
        hint = "Is the folder on a stick that has room? Nothing has left the outbox."
        raise StorageFault(f"cannot be written: {e.strerror}", where=str(path), hint=hint) from e


def _pages(desk: Ask) -> Iterator[list[bytes]]:
    """What waits, as it would be sent now; what the disk has damaged stays where it is."""
    this_boot, wall, after = boot_id(), RealClock().wall(), -1
    while rows := desk("page", after=after, max_bytes=MOST_BYTES):
        after = rows[-1][0]
        payloads: list[bytes] = []
        for _, payload in rows:
            with suppress(ValueError):
                payloads.append(stamp(base64.b64decode(payload), this_boot, wall))
        yield payloads


def _signer(config: Config) -> tuple[str, str]:
    """The first upstream that has a token, and that: it is the device's. Empty if there is none."""
    for name, entry in config.upstream.items():
        if (token := getattr(entry.part.options, "token", None)) is not None:
            return name, str(token.reveal())
    return "", ""


@command.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_CONFIG
def receipt(file: Path, path: Path) -> int:
    """Clear what an export's receipt says has arrived; the rest goes on waiting."""
    config = require(load(path))
    upstream, token = _signer(config)
    if not token:
        hint = f"Give the upstream that gets the exports a `token:`; it signs them, and their {RECEIPT}."
        raise ConfigFault("no upstream has a token", where=str(path), hint=hint)
    found = decode_receipt(file.read_bytes(), config.device.id, token)
    with _desk(config) as desk:
        cleared = [_settle(desk, upstream, part) for part in _parts(found)]
        waiting = desk("status")["waiting"]
    accepted, refused = (sum(counts) for counts in zip(*cleared, strict=True))
    print(f"{accepted} records delivered, {refused} refused; {waiting} wait")
    return OK


def _parts(found: Receipt) -> Iterator[dict[str, Any]]:
    """A receipt as requests that fit on a line of the control socket; at least one."""
    refused = iter(found.refused.items())
    yield {"accepted": found.accepted[:_SPANS], "refused": {}}
    for start in range(_SPANS, len(found.accepted), _SPANS):
        yield {"accepted": found.accepted[start : start + _SPANS], "refused": {}}
    while some := dict(islice(refused, _REASONS)):
        yield {"accepted": [], "refused": some}


def _settle(desk: Ask, upstream: str, part: dict[str, Any]) -> tuple[int, int]:
    """A part of a receipt, page by page: no one of them holds up the agent for long."""
    after, accepted, refused = -1, 0, 0
    while page := desk("arrived", upstream=upstream, after=after, **part):
        after, n, m = page
        accepted, refused = accepted + n, refused + m
    return accepted, refused

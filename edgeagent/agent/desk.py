"""Requests about the outbox, from the control socket or from a command line that has it to itself."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from edgeagent.errors import Fault
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Kind, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream.archive import Span, covers

MOST_LISTED = 10_000
"""Records in one answer: the agent has it in memory."""

MOST_BYTES = 1_000_000
_Row = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]  # as SQLite has numbers


class List(msgspec.Struct, frozen=True, tag="list", tag_field="do", forbid_unknown_fields=True):
    """The first that waits, in the order of sending; or what upstreams refused."""

    limit: Annotated[int, msgspec.Meta(ge=0, le=MOST_LISTED)] = 20
    kind: Kind | None = None
    refused: bool = False


class Show(msgspec.Struct, frozen=True, tag="show", tag_field="do", forbid_unknown_fields=True):
    id: str


class Retry(msgspec.Struct, frozen=True, tag="retry", tag_field="do", forbid_unknown_fields=True):
    """Let what was refused wait again."""


class Purge(msgspec.Struct, frozen=True, tag="purge", tag_field="do", forbid_unknown_fields=True):
    """Delete what waits, of one kind or all; or what was refused."""

    kind: Kind | None = None
    refused: bool = False


class Page(msgspec.Struct, frozen=True, tag="page", tag_field="do", forbid_unknown_fields=True):
    """Rows after one, whole."""

    after: _Row = -1
    max_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)] = 500_000


class Arrived(msgspec.Struct, frozen=True, tag="arrived", tag_field="do", forbid_unknown_fields=True):
    """Settle, of the rows after one, what a receipt says has reached an upstream."""

    upstream: str
    accepted: list[Span]
    refused: dict[str, str]
    after: _Row = -1


Request = List | Show | Retry | Purge | Page | Arrived


def request(do: str, arguments: dict[str, Any]) -> Request:
    """A request as it comes over the socket. Raises Fault if it is none."""
    try:
        asked: Request = msgspec.convert({"do": do} | arguments, Request)
    except msgspec.ValidationError as e:
        raise Fault(f"not a request about the outbox: {e}") from e
    return asked


def serve(outbox: Outbox, asked: Request, mono_ns: int, wall: Wall) -> Any:
    """Do it; plain values come back. Raises StorageFault."""
    match asked:
        case List(refused=True):
            return [msgspec.structs.asdict(one) for one in outbox.quarantined()]
        case List(limit, kind):
            return [
                msgspec.structs.asdict(one) for one in outbox.read(lambda desk: desk.waiting(limit, kind))
            ]
        case Show(record_id):
            return outbox.read(lambda desk: desk.find(record_id))
        case Retry():
            return outbox.change(lambda desk: desk.retry())
        case Purge(refused=True):
            return outbox.change(lambda desk: desk.forget())
        case Purge(kind):
            return _purge(outbox, kind, mono_ns, wall)
        case Page(after, max_bytes):
            return outbox.read(lambda desk: desk.page(after, max_bytes))
        case Arrived(upstream, accepted, refused, after):
            return outbox.arrived(upstream, after, covers(accepted), refused)


def _purge(outbox: Outbox, kind: str | None, mono_ns: int, wall: Wall) -> int:
    """A gap record tells of it, as of everything that is given up."""
    kinds = outbox.change(lambda desk: desk.purge(kind))
    if kinds:
        body = {"type": "purged", "records": kinds.total(), "kinds": dict(kinds)}
        outbox.append([Draft("gap", mono_ns, Priority.EVENT, body)], wall)
    return kinds.total()

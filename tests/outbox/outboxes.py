"""Drafts and outboxes for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.parcels import THESE, Queued, listed
from edgeagent.records import Draft, Kind, Priority, Record
from edgeagent.timebase import Wall

UNSYNCED = Wall(0, synced=False)
RUN = "0123456789ab"
ALL: dict[str, Sequence[Kind]] = {"fleet": []}


def open_outbox(folder: Path, **changes: Any) -> Outbox:
    options: dict[str, Any] = {
        "device": "press-07",
        "run": RUN,
        "boot_id": "boot",
        "upstreams": ALL,
        "max_bytes": 100_000_000,
    }
    return Outbox(folder, **options | changes)


def drafts(
    count: int, priority: Priority = Priority.PREDICTION, kind: Kind = "prediction", start: int = 0
) -> list[Draft]:
    return [Draft(kind, n, priority, {"n": n}) for n in range(start, start + count)]


def bulky(count: int, priority: Priority, kind: Kind = "sample", size: int = 800) -> list[Draft]:
    return [Draft(kind, n, priority, {"n": n, "data": bytes(size)}) for n in range(count)]


def record(queued: Queued) -> Record:
    return msgspec.msgpack.decode(queued.payload, type=Record)


def seqs(taken: Sequence[Queued]) -> list[int]:
    return [int(queued.id.rpartition("/")[2]) for queued in taken]


def take(
    outbox: Outbox, upstream: str, max_records: int, max_bytes: int, least: Priority = Priority.BULK
) -> list[Queued]:
    """What `Outbox.take` gives, each with the id that its row tells."""
    taken = outbox.take(upstream, max_records, max_bytes, least)
    parcels = outbox._parcels
    numbers = [parcel.row for parcel in parcels.holding(taken.keys())]
    ids = {one.row: one.id for parcel in parcels.read(THESE, listed(numbers)) for one in parcel.unpack()}
    return [Queued(row, ids[row], payload) for row, payload in taken.items()]


def drain(outbox: Outbox, upstream: str = "fleet") -> list[Record]:
    """Everything that waits for an upstream, accepted."""
    records = []
    while taken := take(outbox, upstream, 1000, 10_000_000):
        records += [record(queued) for queued in taken]
        outbox.settle(upstream, [queued.row for queued in taken], {})
    return records

"""A record made ready for the folder: what needs neither the folder nor a lock."""

from __future__ import annotations

import msgspec

from edgeagent.collector import dataset
from edgeagent.collector.tokens import Devices, speaks_for
from edgeagent.upstream.codec import decode_record, file_name


class File(msgspec.Struct, frozen=True):
    """One of a sample's, beside its line."""

    name: str
    content: bytes


class Ready(msgspec.Struct, frozen=True, gc=False):
    """A record as it is written: which one of its run, the day that it goes to, its line, and a sample's files."""

    run: str
    number: int
    day: str
    line: bytes
    files: tuple[File, ...] = ()


def ready(payload: bytes, received: bytes, devices: Devices) -> Ready | str:
    """A record ready to be written, or why it is refused. `devices`: for whom its sender may speak."""
    try:
        record = decode_record(payload)
        run, _, number = record.id.rpartition("/")
        if not speaks_for(devices, device := run.partition("/")[0]):
            return f"{device!r} is not the device that sends it"
        day = dataset.day(record, received)
        if record.kind != "sample":
            return Ready(run, int(number), day, dataset.line(record, received))
        name = file_name(record.id)
        suffix, raw = dataset.raw_file(record)
        line = dataset.line(record, received, name)
        return Ready(run, int(number), day, line, (File(f"{name}.{suffix}", raw), File(f"{name}.json", line)))
    except ValueError as e:
        return str(e)

"""A full and a read-only disk: real ones where we may mount, else what SQLite itself offers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from outboxes import UNSYNCED, bulky, drafts, drain, open_outbox, seqs, take

from edgeagent.errors import StorageFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Priority

MAY_MOUNT = os.geteuid() == 0


class Mount(NamedTuple):
    folder: Path
    real: bool

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", self.folder], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Mount]:
    """A disk of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        MAY_MOUNT
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
        ).returncode
    )
    yield Mount(folder, mounted)
    if mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def open_on(small: Mount, first_seq: int = 1) -> Outbox:
    outbox = open_outbox(small.folder, first_seq=first_seq)
    if not small.real:
        outbox._db.execute("PRAGMA max_page_count = 200")
    return outbox


def fill(outbox: Outbox) -> StorageFault:
    while True:
        try:
            outbox.append(bulky(20, Priority.BULK), UNSYNCED)
        except StorageFault as fault:
            return fault


def test_a_full_disk_is_a_fault_with_its_cure_and_takes_nothing_back(small: Mount) -> None:
    outbox = open_on(small)
    fault = fill(outbox)
    assert "the disk is full" in str(fault)
    assert "lower outbox.max_size" in str(fault)
    outbox.close()
    again = open_outbox(small.folder)
    assert again.set_aside is None
    held = take(again, "fleet", 10_000, 10_000_000)
    assert seqs(held) == list(range(1, outbox.next_seq))
    assert again.counters().made == again.counters().waiting == len(held) > 0


def test_the_writer_holds_on_while_the_disk_is_full_and_goes_on_when_there_is_room(small: Mount) -> None:
    ballast = small.folder / "ballast"
    if small.real:
        ballast.write_bytes(bytes(600_000))
    said: list[StorageFault | None] = []
    writer = Writer(lambda first_seq: open_on(small, first_seq), flush_s=1.0, say=said.append)
    put = 0
    now_ns = 0
    while not said:
        writer.put(bulky(10, Priority.BULK), now_ns)
        put += 10
        writer.flush(now_ns, UNSYNCED)
    for _ in range(50):
        now_ns += NS_PER_S
        writer.put(drafts(1), now_ns)
        writer.step(now_ns, UNSYNCED)
        put += 1
    assert writer.waiting > 0
    if small.real:
        ballast.unlink()
    else:
        writer.close()
        writer = _with_room(small, writer)
    assert writer.flush(now_ns + 100 * NS_PER_S, UNSYNCED)
    assert writer.outbox
    records = drain(writer.outbox)
    assert len(records) == put
    assert len({r.id for r in records}) == put
    assert writer.outbox.counters().made == put


def _with_room(small: Mount, writer: Writer) -> Writer:
    writer._open_outbox = lambda first_seq: open_outbox(small.folder, first_seq=first_seq)
    return writer


def test_a_folder_that_may_not_be_written_is_a_fault_and_recovers(small: Mount) -> None:
    outbox = open_outbox(small.folder)
    outbox.append(drafts(3), UNSYNCED)
    outbox.close()
    if small.real:
        small.remount("ro")
    else:
        small.folder.chmod(0o500)
        (small.folder / "outbox.db").chmod(0o400)
    with pytest.raises(StorageFault, match="the outbox is read-only") as caught:
        open_outbox(small.folder).append(drafts(1), UNSYNCED)
    assert str(small.folder) in str(caught.value)
    if small.real:
        small.remount("rw")
    else:
        small.folder.chmod(0o700)
        (small.folder / "outbox.db").chmod(0o600)
    assert len(drain(open_outbox(small.folder))) == 3

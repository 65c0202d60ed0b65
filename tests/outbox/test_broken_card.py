"""A card whose file system gives up while the outbox is open: Linux refuses all writing to it from then on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from outboxes import UNSYNCED, drafts, drain, open_outbox

from edgeagent.errors import StorageFault
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S

WITH_SBIN = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}


class Card:
    """8 MB of ext4 in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._image = folder / "card", folder / "image"
        self.folder.mkdir()
        self._image.write_bytes(bytes(8_000_000))
        run("mkfs.ext4", "-q", "-F", self._image)
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop", self._image, self.folder)

    def give_up(self) -> None:
        """As ext4 does after an error of the disk: what has not been synced is gone."""
        run("mount", "-o", "remount,abort", self.folder)

    def unmount(self) -> None:
        """Fails while a file is open."""
        run("umount", self.folder)


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, env=WITH_SBIN)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Card]:
    if os.geteuid() != 0:
        pytest.skip("not run: needs root, to mount a file system")
    card = Card(tmp_path)
    yield card
    run("umount", "--lazy", card.folder)


def test_records_wait_in_memory_until_a_card_that_became_read_only_can_be_written_again(card: Card) -> None:
    said: list[StorageFault | None] = []
    folder = card.folder / "outbox"
    writer = Writer(lambda seq: open_outbox(folder, first_seq=seq), flush_s=1.0, say=said.append)
    writer.put(drafts(10), 0)
    assert writer.flush(0, UNSYNCED)
    card.give_up()
    for second in range(1, 4):
        writer.put(drafts(5, start=5 + 5 * second), second * NS_PER_S)
        assert not writer.flush(second * NS_PER_S, UNSYNCED)
    assert writer.waiting == 15
    card.unmount()
    card.mount()
    assert writer.flush(100 * NS_PER_S, UNSYNCED)
    assert writer.outbox
    assert [r.body["n"] for r in drain(writer.outbox)] == list(range(25))
    writer.close()
    fault, back = said
    assert "dmesg" in str(fault)
    assert back is None

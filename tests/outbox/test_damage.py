"""A file that cannot be used is set aside and reported; a disk that cannot be used is a fault with its cure."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from outboxes import UNSYNCED, bulky, drafts, drain, open_outbox, take

from edgeagent.errors import StorageFault
from edgeagent.outbox.files import NAME
from edgeagent.records import Priority


def filled(folder: Path, count: int = 300) -> Path:
    outbox = open_outbox(folder)
    outbox.append(bulky(count, Priority.BULK, size=500), UNSYNCED)
    outbox.close()
    return folder / NAME


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def garbage(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(50_000))


def newer(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def strangers(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 1")
    db.close()


@pytest.mark.parametrize("damage", [zero, truncate, empty, garbage, newer, strangers])
def test_a_damaged_file_is_set_aside_and_the_outbox_begins_anew(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(filled(tmp_path))
    content = (tmp_path / NAME).read_bytes()
    outbox = open_outbox(tmp_path)
    assert outbox.set_aside is not None
    assert outbox.set_aside.reason
    assert outbox.set_aside.path.read_bytes() == content
    outbox.append(drafts(2), UNSYNCED)
    assert len(drain(outbox)) == 2
    outbox.close()
    assert open_outbox(tmp_path).set_aside is None


def test_two_damaged_files_do_not_overwrite_each_other(tmp_path: Path) -> None:
    asides = set()
    for _ in range(2):
        zero(filled(tmp_path))
        outbox = open_outbox(tmp_path)
        assert outbox.set_aside
        asides.add(outbox.set_aside.path)
        outbox.close()
    assert all(path.exists() for path in asides)
    assert len(asides) == 2


def test_a_log_whose_database_is_gone_is_not_replayed_into_the_next(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "a")
    outbox.append(drafts(5), UNSYNCED)
    shutil.copytree(tmp_path / "a", tmp_path / "b")  # as a power cut leaves it: the log not folded in yet
    outbox.close()
    (tmp_path / "b" / NAME).unlink()
    again = open_outbox(tmp_path / "b")
    assert again.set_aside is not None
    assert again.counters().made == 0


def test_a_log_that_a_power_cut_left_is_folded_in(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "a")
    outbox.append(drafts(5), UNSYNCED)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    outbox.close()
    again = open_outbox(tmp_path / "b")
    assert again.set_aside is None
    assert len(drain(again)) == 5


def test_a_file_that_was_never_finished_is_made_again(tmp_path: Path) -> None:
    (tmp_path / (NAME + ".new")).write_bytes(b"SQLite fo")
    outbox = open_outbox(tmp_path)
    assert outbox.set_aside is None
    assert outbox.append(drafts(1), UNSYNCED) == 1


def test_damage_found_while_running_is_a_fault_and_the_next_start_is_clean(tmp_path: Path) -> None:
    file = filled(tmp_path, count=3000)
    outbox = open_outbox(tmp_path)
    with file.open("r+b") as f:
        f.seek(4096)
        f.write(bytes(file.stat().st_size - 4096))
    with pytest.raises(StorageFault, match="damaged"):
        drain(outbox)
    assert outbox.set_aside is not None
    outbox.close()
    again = open_outbox(tmp_path)
    assert again.append(drafts(1), UNSYNCED) == 1


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_never_prevent_the_start(tmp_path: Path, seed: int) -> None:
    file = filled(tmp_path, count=30)
    dice = random.Random(seed)
    content = bytearray(file.read_bytes())
    for _ in range(dice.choice([1, 10, 100])):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)
    outbox = open_outbox(tmp_path)
    try:
        outbox.append(drafts(1), UNSYNCED)
        while taken := take(outbox, "fleet", 100, 100_000):
            outbox.settle("fleet", [q.row for q in taken], {})
    except StorageFault:
        outbox.close()
        assert open_outbox(tmp_path).append(drafts(1), UNSYNCED) == 1


def test_a_folder_that_cannot_be_made_is_a_fault_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(StorageFault) as caught:
        open_outbox(tmp_path / "state" / "outbox")
    assert str(tmp_path / "state" / "outbox") in str(caught.value)
    assert "may write" in str(caught.value)

"""What can be read of a damaged outbox is queued again, in its old place, and the rest is known to be lost."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import pytest
from outboxes import RUN, UNSYNCED, bulky, drafts, drain, open_outbox, record, take

from edgeagent.outbox.files import DAMAGED, NAME
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.salvage import KEPT_FILES
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Priority, Record

NEXT_RUN = "ba9876543210"
START_S = 5.0


class Full(NamedTuple):
    """An outbox as a power cut leaves it, its log not folded in, and the records that wait in it."""

    folder: Path
    records: dict[str, Record]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Full:
    folder = tmp_path_factory.mktemp("full")
    outbox = open_outbox(folder / "live", large_bytes=12_000)
    for priority in (*Priority, *Priority):
        outbox.append(
            [*drafts(300, priority), *bulky(20, priority), *bulky(3, priority, size=9000)], UNSYNCED
        )
    outbox.append(bulky(4, Priority.BULK, size=15_000), UNSYNCED)
    delivered = take(outbox, "fleet", 400, 10**7)  # their pages are free, and hold them still
    outbox.settle("fleet", [q.row for q in delivered], {})
    shutil.copytree(folder / "live", folder / "cut")
    waiting = {r.id: r for r in map(record, take(outbox, "fleet", 10**6, 10**9))}
    outbox.close()
    assert (folder / "cut" / f"{NAME}-wal").stat().st_size > 100_000
    return Full(folder / "cut", waiting)


@pytest.fixture
def cut(full: Full, tmp_path: Path) -> Full:
    shutil.copytree(full.folder, tmp_path / "outbox")
    return full._replace(folder=tmp_path / "outbox")


@pytest.fixture
def closed(full: Full, tmp_path: Path) -> Full:
    """The same, closed in order: it has no log."""
    shutil.copytree(full.folder.with_name("live"), tmp_path / "outbox")
    return full._replace(folder=tmp_path / "outbox")


class Recovered(NamedTuple):
    writer: Writer
    start_s: float
    records: list[Record]

    @property
    def gaps(self) -> list[str]:
        return [r.body["type"] for r in self.records if r.kind == "gap"]

    @property
    def old(self) -> list[Record]:
        return [r for r in self.records if r.run != NEXT_RUN]


def recover(folder: Path) -> Recovered:
    """Start on what is there, let it salvage, and receive everything."""
    writer = Writer(lambda seq: open_outbox(folder, run=NEXT_RUN, first_seq=seq), flush_s=1.0)
    start = perf_counter()
    writer.put(drafts(1, Priority.EVENT, "event"), 0)
    assert writer.flush(0, UNSYNCED)
    start_s = perf_counter() - start
    now_ns = 0
    while writer.due_ns() is not None:
        now_ns += NS_PER_S
        writer.step(now_ns, UNSYNCED)
    return Recovered(writer, start_s, writer.use(receive, now_ns))


def receive(outbox: Outbox) -> list[Record]:
    """Everything that waits; what is no record any more is refused, as `sync_once` does."""
    records = []
    while taken := take(outbox, "fleet", 1000, 10_000_000):
        refused: dict[int, str] = {}
        for queued in taken:
            try:
                records.append(record(queued))
            except ValueError:
                refused[queued.row] = "damaged"
        outbox.settle("fleet", [q.row for q in taken if q.row not in refused], refused)
    return records


def overwrite(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as f:
        f.seek(at)
        f.write(content)


def zero_the_head(file: Path) -> None:
    overwrite(file, 0, bytes(min(4096, file.stat().st_size)))


def zero_the_root(file: Path) -> None:
    overwrite(file, 4096, bytes(4096))


def zero_a_stretch(file: Path) -> None:
    overwrite(file, file.stat().st_size // 3, bytes(65536))


def zero_all(file: Path) -> None:
    overwrite(file, 0, bytes(file.stat().st_size))


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def flip_bits(file: Path) -> None:
    dice = random.Random(file.stat().st_size)
    for _ in range(50):
        at = dice.randrange(file.stat().st_size)
        overwrite(file, at, bytes([file.read_bytes()[at] ^ 1 << dice.randrange(8)]))


DAMAGE = (zero_the_head, zero_the_root, zero_a_stretch, zero_all, halve, empty, flip_bits)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", [NAME, f"{NAME}-wal", "*.record"])
def test_whatever_is_damaged_it_starts_and_doubles_nothing(
    cut: Full, which: str, damage: Callable[[Path], None]
) -> None:
    damage(next(cut.folder.glob(which)))
    recovered = recover(cut.folder)
    assert recovered.start_s < START_S
    ids = [r.id for r in recovered.old]
    assert len(ids) == len(set(ids))
    if damage is not flip_bits:
        if which != f"{NAME}-wal":  # without its log an outbox is an older one
            assert set(ids) <= cut.records.keys()
        assert all(r == cut.records.get(r.id, r) for r in recovered.old)
    counters = recovered.writer.use(Outbox.counters, 0)
    assert counters.waiting == 0
    assert counters.made == counters.delivered + counters.rejected


@pytest.mark.parametrize(
    ("damage", "least"),
    [(zero_the_head, 1.0), (zero_the_root, 1.0), (zero_a_stretch, 0.8), (halve, 0.45), (flip_bits, 0.9)],
)
def test_most_of_a_damaged_database_is_queued_again_and_reported(
    closed: Full, damage: Callable[[Path], None], least: float
) -> None:
    damage(closed.folder / NAME)
    recovered = recover(closed.folder)
    back = {r.id for r in recovered.old} & closed.records.keys()
    assert len(back) >= least * len(closed.records)
    assert sorted(recovered.gaps) == ["salvaged", "set_aside"]
    (told,) = [r.body for r in recovered.records if r.body.get("type") == "salvaged"]
    assert told["records"] == sum(told["kinds"].values()) == len(recovered.old)
    assert (closed.folder / told["file"]).exists()


def test_an_outbox_of_a_newer_version_is_set_aside_and_what_waits_in_it_is_queued_again(closed: Full) -> None:
    with sqlite3.connect(closed.folder / NAME) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("CREATE TABLE later (more TEXT)")
    db.close()
    opened = open_outbox(closed.folder, run=NEXT_RUN)
    assert opened.set_aside
    assert opened.set_aside.reason == "it has schema 99, this edgeagent reads 2"
    opened.close()
    assert closed.records.keys() <= {r.id for r in recover(closed.folder).old}


def test_nothing_that_was_set_aside_is_changed_by_reading_it(closed: Full) -> None:
    zero_the_root(closed.folder / NAME)
    before = {file.stat().st_size: file.read_bytes() for file in closed.folder.glob(f"{NAME}*")}
    recover(closed.folder)
    asides = list(closed.folder.glob("outbox.damaged-*.db*"))
    assert {file.stat().st_size: file.read_bytes() for file in asides} == before


def test_what_comes_back_has_its_old_place_before_what_is_new(closed: Full) -> None:
    zero_the_head(closed.folder / NAME)
    outbox = open_outbox(closed.folder, run=NEXT_RUN)
    outbox.append(drafts(5, Priority.PREDICTION), UNSYNCED)
    while outbox.salvaging:
        outbox.salvage(0, UNSYNCED)
    predictions = [r for r in drain(outbox) if r.priority == Priority.PREDICTION]
    assert [r.run for r in predictions[-5:]] == [NEXT_RUN] * 5
    assert {r.run for r in predictions[:-5]} == {RUN}


def test_a_salvage_that_is_interrupted_goes_on_where_it_was(
    closed: Full, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.outbox.salvage._PAGES_A_STEP", 40)
    zero_the_root(closed.folder / NAME)
    received: list[Record] = []
    starts, salvaging = 0, True
    while salvaging:
        starts += 1
        outbox = open_outbox(closed.folder, run=NEXT_RUN)
        outbox.salvage(0, UNSYNCED)
        salvaging = outbox.salvaging
        received += drain(outbox)
        outbox.close()
    assert starts > 5
    assert sorted(r.id for r in received) == sorted(closed.records)


def test_once_it_is_read_through_it_is_not_read_again(closed: Full) -> None:
    zero_the_root(closed.folder / NAME)
    recover(closed.folder).writer.close()
    outbox = open_outbox(closed.folder, run="c" * 12)
    assert not outbox.salvaging
    assert outbox.set_aside is None


def test_a_salvage_makes_room_by_worth(closed: Full) -> None:
    zero_the_root(closed.folder / NAME)
    outbox = open_outbox(closed.folder, run=NEXT_RUN, max_bytes=300_000)
    while outbox.salvaging:
        outbox.salvage(0, UNSYNCED)
    assert outbox.counters().used_bytes <= 300_000
    records = drain(outbox)
    events = sum(r.priority == Priority.EVENT for r in closed.records.values())
    assert sum(r.priority == Priority.EVENT and r.run == RUN for r in records) == events
    assert any(r.body.get("type") == "evicted" for r in records)


def test_of_many_files_that_were_set_aside_the_newest_are_kept_and_the_gap_says_so(tmp_path: Path) -> None:
    """A card that goes on failing must not be filled by what it has spoilt."""
    deleted: list[list[str]] = []
    for _ in range(KEPT_FILES + 2):
        outbox = open_outbox(tmp_path, run=NEXT_RUN)
        outbox.append(drafts(5), UNSYNCED)
        outbox.close()
        zero_the_root(tmp_path / NAME)
        recovered = recover(tmp_path)
        recovered.writer.close()
        deleted.append(recovered.records[-1].body.get("deleted", []))
    kept = sorted(file.name for file in tmp_path.glob(DAMAGED))
    assert [len(names) for names in deleted] == [0] * KEPT_FILES + [1, 1]
    assert len(kept) == KEPT_FILES
    assert not {name for names in deleted for name in names} & set(kept)
    assert len(list(tmp_path.glob("*.salvaged"))) == KEPT_FILES

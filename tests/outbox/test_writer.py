from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from outboxes import UNSYNCED, bulky, drafts, drain, open_outbox, seqs, take

from edgeagent.errors import StorageFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Draft, Priority
from edgeagent.timebase import Wall


class Disk:
    """Opens real outboxes in a folder that is there, or is not."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.away, self.opened = folder, folder.with_name("away"), 0
        folder.mkdir()

    def open(self, first_seq: int) -> Outbox:
        self.opened += 1
        return open_outbox(self.folder, first_seq=first_seq)

    def fail(self) -> None:
        """From now on the folder cannot be made: a file is in its way."""
        self.folder.rename(self.away)
        self.folder.write_text("")

    def heal(self) -> None:
        self.folder.unlink()
        self.away.rename(self.folder)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "outbox")


def made(writer: Writer) -> int:
    assert writer.outbox is not None
    return writer.outbox.counters().made


def test_records_are_committed_when_the_flush_time_has_passed(disk: Disk) -> None:
    writer = Writer(disk.open, flush_s=1.0)
    writer.step(0, UNSYNCED)
    writer.put(drafts(3), 5 * NS_PER_S)
    assert writer.due_ns() == 6 * NS_PER_S
    writer.step(6 * NS_PER_S - 1, UNSYNCED)
    assert made(writer) == 0
    writer.step(6 * NS_PER_S, UNSYNCED)
    assert made(writer) == 3
    assert writer.due_ns() is None


@pytest.mark.parametrize(
    "batch", [drafts(100), bulky(3, Priority.BULK, size=90_000), drafts(1, Priority.EVENT, "event")]
)
def test_a_hundred_records_or_256_kb_or_one_event_are_committed_at_once(
    disk: Disk, batch: list[Draft]
) -> None:
    writer = Writer(disk.open, flush_s=3600.0)
    writer.step(0, UNSYNCED)
    writer.put(batch, 0)
    writer.step(1, UNSYNCED)
    assert made(writer) == len(batch)


def test_just_less_waits(disk: Disk) -> None:
    writer = Writer(disk.open, flush_s=3600.0)
    writer.step(0, UNSYNCED)
    writer.put([*drafts(97), *bulky(2, Priority.BULK, size=90_000)], 0)
    writer.step(1, UNSYNCED)
    assert made(writer) == 0
    assert writer.waiting == 99


def test_while_the_disk_is_away_records_wait_in_memory_and_lose_nothing(disk: Disk) -> None:
    said: list[StorageFault | None] = []
    writer = Writer(disk.open, flush_s=1.0, say=said.append)
    disk.fail()
    for second in range(20):
        writer.put(drafts(5, start=5 * second), second * NS_PER_S)
        writer.step(second * NS_PER_S, UNSYNCED)
    assert writer.waiting == 100
    assert disk.opened == 5  # at 0, 1, 3, 7 and 15 s
    disk.heal()
    writer.step(31 * NS_PER_S, UNSYNCED)
    assert writer.outbox
    assert [r.body["n"] for r in drain(writer.outbox)] == list(range(100))
    assert len(said) == 2
    assert "cannot be opened" in str(said[0])
    assert said[1] is None
    assert writer.trouble is None


def test_a_full_memory_drops_what_is_worth_least_and_says_so(disk: Disk) -> None:
    writer = Writer(disk.open, flush_s=1.0, memory_bytes=100_000)
    disk.fail()
    writer.step(0, UNSYNCED)
    writer.put(drafts(100, Priority.EVENT, "event"), 1)
    for _ in range(5):
        writer.put(drafts(100, Priority.PREDICTION, "prediction"), 1)
        writer.put(drafts(10, Priority.BULK, "sample"), 1)
    disk.heal()
    assert writer.flush(2 * NS_PER_S, UNSYNCED)
    assert writer.outbox
    records = drain(writer.outbox)
    kinds = [r.kind for r in records]
    assert kinds.count("event") == 100
    assert kinds.count("sample") + writer.dropped["sample"] == 50
    assert kinds.count("prediction") + writer.dropped["prediction"] == 500
    assert writer.dropped["prediction"] > 0
    (gap,) = [r.body for r in records if r.kind == "gap"]
    assert gap == {
        "type": "dropped",
        "cause": "memory",
        "records": writer.dropped.total(),
        "kinds": dict(writer.dropped),
    }


class AnswerLost(Outbox):
    """An outbox whose disk commits, and then reports an error."""

    lost = False

    def append(self, drafts: Sequence[Draft], wall: Wall) -> int:
        super().append(drafts, wall)
        self.next_seq -= 0 if type(self).lost else len(drafts)
        if not type(self).lost:
            type(self).lost = True
            raise StorageFault("the disk reports an error")
        return len(drafts)


def test_a_commit_that_failed_and_was_durable_after_all_is_not_made_twice(tmp_path: Path) -> None:
    def open_losing(first_seq: int) -> Outbox:
        return AnswerLost(
            tmp_path, "press-07", "0123456789ab", "boot", {"fleet": []}, max_bytes=10**9, first_seq=first_seq
        )

    writer = Writer(open_losing, flush_s=1.0)
    writer.put(drafts(3), 0)
    assert not writer.flush(0, UNSYNCED)
    writer.put(drafts(2, start=3), 0)
    assert writer.flush(2 * NS_PER_S, UNSYNCED)
    assert writer.outbox
    taken = take(writer.outbox, "fleet", 100, 100_000)
    assert seqs(taken) == [1, 2, 3, 4, 5]
    assert writer.outbox.counters().made == 5


def test_ids_go_on_after_a_damaged_outbox_was_set_aside_and_a_gap_record_tells(disk: Disk) -> None:
    writer = Writer(disk.open, flush_s=1.0)
    writer.put(drafts(7), 0)
    assert writer.flush(0, UNSYNCED)
    writer.close()
    (disk.folder / "outbox.db").write_bytes(bytes(8192))
    writer.put(drafts(1), 0)
    assert writer.flush(0, UNSYNCED)
    assert len(writer.set_aside) == 1
    assert writer.outbox
    records = drain(writer.outbox)
    assert sorted(r.id.rpartition("/")[2] for r in records) == ["8", "9"]
    (gap,) = [r.body for r in records if r.kind == "gap"]
    assert gap["type"] == "set_aside"


def test_a_sender_is_told_at_once_that_the_outbox_cannot_be_used(disk: Disk) -> None:
    writer = Writer(disk.open, flush_s=1.0)
    disk.fail()
    writer.step(0, UNSYNCED)
    with pytest.raises(StorageFault, match="cannot be opened"):
        writer.use(lambda outbox: take(outbox, "fleet", 1, 1), 0)
    disk.heal()
    writer.step(1 * NS_PER_S, UNSYNCED)
    assert writer.use(lambda outbox: take(outbox, "fleet", 1, 1), 0) == []


def test_an_idle_writer_opens_the_outbox_and_is_then_never_due(disk: Disk) -> None:
    writer = Writer(disk.open, flush_s=1.0)
    assert writer.due_ns() == 0
    writer.step(0, UNSYNCED)
    assert writer.due_ns() is None


def test_to_spare_the_card_commits_become_seldom_and_events_go_at_once_all_the_same(tmp_path: Path) -> None:
    writer = Writer(lambda seq: open_outbox(tmp_path, first_seq=seq), flush_s=1.0)
    writer.flush(0, UNSYNCED)
    writer.sparing = True
    writer.put(drafts(300), 0)
    writer.step(29 * NS_PER_S, UNSYNCED)
    assert writer.waiting == 300
    writer.step(30 * NS_PER_S, UNSYNCED)
    assert writer.waiting == 0
    writer.put(drafts(1), 30 * NS_PER_S)
    writer.put(drafts(1, Priority.EVENT, kind="event"), 30 * NS_PER_S)
    writer.step(30 * NS_PER_S, UNSYNCED)
    assert writer.waiting == 0
    writer.sparing = False
    writer.put(drafts(100), 31 * NS_PER_S)
    writer.step(31 * NS_PER_S, UNSYNCED)
    assert writer.waiting == 0
    writer.close()

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from outboxes import UNSYNCED, bulky, drafts, drain, open_outbox, take

from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.room import FLOOR_BYTES
from edgeagent.records import Priority, Record


def fill(outbox: Outbox) -> None:
    """A megabyte: 200 records of 1 kB in each stratum, the most worth first."""
    for priority in sorted(Priority, reverse=True):
        outbox.append(bulky(200, priority), UNSYNCED)


def strata(records: list[Record]) -> Counter[Priority]:
    return Counter(r.priority for r in records if r.kind != "gap")


def test_what_is_worth_least_goes_first_even_if_it_has_just_come(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=600_000)
    fill(outbox)
    held = strata(drain(outbox))
    assert (held[Priority.EVENT], held[Priority.UNCERTAIN]) == (200, 200)
    assert 50 < held[Priority.PREDICTION] < 200
    assert held[Priority.HEALTH] == held[Priority.BULK] == 0


def test_an_event_finds_room_however_much_bulk_there_is(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=300_000)
    outbox.append(bulky(300, Priority.BULK), UNSYNCED)
    outbox.append(drafts(5, Priority.EVENT, "event"), UNSYNCED)
    assert [r.kind for r in drain(outbox) if r.kind == "event"] == ["event"] * 5


def test_within_a_stratum_the_oldest_go_first(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=300_000)
    for _ in range(10):
        outbox.append(bulky(40, Priority.BULK), UNSYNCED)
    seqs = [int(r.id.rpartition("/")[2]) for r in drain(outbox) if r.kind == "sample"]
    assert seqs == sorted(seqs)
    assert seqs[0] > 100
    assert len(seqs) > 200


def test_an_eviction_leaves_a_gap_record_that_says_what_how_many_and_which_stratum(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=600_000)
    fill(outbox)
    counters = outbox.counters()
    gaps = [r.body for r in drain(outbox) if r.kind == "gap"]
    assert sum(gap["records"] for gap in gaps) == counters.evicted > 0
    told = Counter[str]()
    for gap in gaps:
        assert (gap["type"], gap["cause"]) == ("evicted", "max_size")
        told.update({stratum: kinds["sample"] for stratum, kinds in gap["strata"].items()})
    assert set(told) == {"prediction", "health", "bulk"}
    assert told["health"] == told["bulk"] == 200
    assert counters.made == counters.waiting + counters.evicted


def test_the_file_stays_below_its_limit(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=500_000)
    for _ in range(100):
        outbox.append(bulky(20, Priority.BULK), UNSYNCED)
    outbox.close()
    assert (tmp_path / "outbox.db").stat().st_size <= 550_000


def test_what_is_in_flight_is_not_evicted(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=300_000)
    outbox.append(bulky(10, Priority.BULK), UNSYNCED)
    taken = take(outbox, "fleet", 10, 1_000_000)
    for _ in range(10):
        outbox.append(bulky(40, Priority.PREDICTION), UNSYNCED)
    outbox.settle("fleet", [q.row for q in taken], {})
    assert outbox.counters().delivered == 10


def test_refused_records_make_room_before_any_that_waits(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=280_000)
    outbox.append(bulky(200, Priority.EVENT), UNSYNCED)
    outbox.settle("fleet", [], {q.row: "no" for q in take(outbox, "fleet", 200, 1_000_000)})
    outbox.append(bulky(100, Priority.BULK), UNSYNCED)
    assert outbox.quarantined() == []
    assert outbox.counters().evicted == 0


def test_the_file_grows_no_further_once_the_disk_has_less_free_than_keep_free(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    outbox = open_outbox(tmp_path, max_bytes=10**15, keep_free_bytes=disk.f_blocks * disk.f_frsize)
    for _ in range(60):
        outbox.append(bulky(100, Priority.BULK), UNSYNCED)
    outbox.append(drafts(1, Priority.EVENT, "event"), UNSYNCED)
    assert (tmp_path / "outbox.db").stat().st_size <= FLOOR_BYTES * 1.15
    records = drain(outbox)
    assert records[-1].kind == "sample"
    assert {r.body["cause"] for r in records if r.kind == "gap"} == {"keep_free"}

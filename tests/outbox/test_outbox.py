from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from outboxes import ALL, RUN, UNSYNCED, drafts, drain, open_outbox, record, seqs, take

from edgeagent.errors import Bug, StorageFault
from edgeagent.records import NS_PER_S, Draft, Priority
from edgeagent.timebase import Wall

YEAR_NS = 366 * 86400 * NS_PER_S


def test_a_record_has_the_id_device_run_seq_counting_from_one(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    assert outbox.append(drafts(3), UNSYNCED) == 3
    assert [q.id for q in take(outbox, "fleet", 10, 10_000)] == [f"press-07/{RUN}/{n}" for n in (1, 2, 3)]


def test_seq_goes_on_when_the_outbox_is_opened_again_in_the_same_run(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(3), UNSYNCED)
    drain(outbox)
    outbox.close()
    again = open_outbox(tmp_path)
    assert again.next_seq == 4
    again.close()
    assert open_outbox(tmp_path, run="ba9876543210").next_seq == 1


def test_the_time_stands_in_the_record_only_if_it_was_known(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(1, start=5 * NS_PER_S), UNSYNCED)
    outbox.append(drafts(1, start=5 * NS_PER_S), Wall(0, synced=True))
    unsynced, synced = drain(outbox)
    assert (unsynced.time, unsynced.clock) == (None, "unsynced")
    assert (synced.time, synced.clock) == ("1970-01-01T00:00:05.000000Z", "synced")


def test_records_leave_by_priority_then_age(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for priority in (Priority.BULK, Priority.EVENT, Priority.HEALTH, Priority.EVENT, Priority.BULK):
        outbox.append(drafts(1, priority), UNSYNCED)
    assert seqs(take(outbox, "fleet", 10, 10_000)) == [2, 4, 3, 1, 5]


def test_a_wall_clock_that_steps_by_a_year_both_ways_changes_no_order(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for offset_ns in (2 * YEAR_NS, 3 * YEAR_NS, YEAR_NS, 2 * YEAR_NS):
        outbox.append(drafts(1), Wall(offset_ns, synced=True))
    records = drain(outbox)
    assert [r.id.rpartition("/")[2] for r in records] == ["1", "2", "3", "4"]
    assert [r.time[:4] for r in records if r.time] == ["1972", "1973", "1971", "1972"]


def test_what_is_in_flight_is_not_taken_again_and_comes_back_if_kept(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(4), UNSYNCED)
    first = take(outbox, "fleet", 2, 10_000)
    assert seqs(first) == [1, 2]
    assert seqs(take(outbox, "fleet", 10, 10_000)) == [3, 4]
    assert take(outbox, "fleet", 10, 10_000) == []
    outbox.settle("fleet", [first[0].row], {}, [first[1].row])
    assert seqs(take(outbox, "fleet", 10, 10_000)) == [2]


def test_a_take_is_bounded_by_bytes_but_has_one_record_at_least(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(8), UNSYNCED)
    assert seqs(take(outbox, "fleet", 10, 1)) == [1]
    size = len(take(outbox, "fleet", 1, 10_000)[0].payload)
    assert len(take(outbox, "fleet", 10, 2 * size)) == 2


def test_two_upstreams_each_get_all_and_then_the_record_is_gone(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    outbox.append(drafts(3), UNSYNCED)
    assert len(drain(outbox, "fleet")) == 3
    assert outbox.counters().waiting == 3
    assert len(drain(outbox, "plant")) == 3
    counters = outbox.counters()
    assert (counters.made, counters.delivered, counters.waiting) == (3, 3, 0)
    assert {name: row["delivered"] for name, row in counters.by_upstream.items()} == {"fleet": 3, "plant": 3}


def test_an_upstream_that_is_away_holds_no_other(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    outbox.append(drafts(500), UNSYNCED)
    stuck = take(outbox, "plant", 100, 100_000)
    drain(outbox, "fleet")
    outbox.append(drafts(1), UNSYNCED)
    assert len(drain(outbox, "fleet")) == 1
    assert outbox.counters().by_upstream["plant"]["waiting"] == 501
    outbox.settle("plant", [], {}, [queued.row for queued in stuck])
    assert len(drain(outbox, "plant")) == 501


def test_an_upstream_gets_the_kinds_that_it_wants_and_what_nobody_wants_is_not_made(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": ["event"], "plant": ["event", "sample"]})
    mixed = [*drafts(2, kind="event"), *drafts(3, kind="sample"), *drafts(4, kind="prediction")]
    assert outbox.append(mixed, UNSYNCED) == 5
    assert [r.kind for r in drain(outbox, "fleet")] == ["event"] * 2
    assert [r.kind for r in drain(outbox, "plant")] == ["event"] * 2 + ["sample"] * 3
    assert (outbox.counters().made, outbox.counters().unwanted) == (5, 4)


def test_without_an_upstream_records_wait_for_the_first_that_comes(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={})
    outbox.append([*drafts(2), *drafts(1, kind="event")], UNSYNCED)
    outbox.close()
    outbox = open_outbox(tmp_path, upstreams={"fleet": ["prediction"]})
    assert [r.kind for r in drain(outbox)] == ["prediction"] * 2
    assert outbox.counters().waiting == 1
    outbox.route({"fleet": ["prediction"], "plant": []})
    assert [r.kind for r in drain(outbox, "plant")] == ["event"]


def test_what_waited_for_an_upstream_that_is_gone_waits_for_the_next(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"old": [], "other": []})
    outbox.append(drafts(4), UNSYNCED)
    first = take(outbox, "other", 2, 10_000)
    outbox.settle("other", [queued.row for queued in first], {})
    outbox.route({"other": []})
    assert outbox.counters().waiting == 2  # the other two are delivered, and nobody else waits for them
    outbox.route({"new": []})
    assert len(drain(outbox, "new")) == 2
    counters = outbox.counters()
    assert (counters.made, counters.delivered, counters.waiting) == (4, 4, 0)


def test_a_refused_record_is_kept_aside_with_the_reason_and_blocks_nothing(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(3), UNSYNCED)
    taken = take(outbox, "fleet", 3, 10_000)
    outbox.settle("fleet", [taken[0].row, taken[2].row], {taken[1].row: "too odd"})
    assert take(outbox, "fleet", 3, 10_000) == []
    (refused,) = outbox.quarantined()
    assert (refused.id, refused.reason, refused.upstream) == (f"press-07/{RUN}/2", "too odd", "fleet")
    counters = outbox.counters()
    assert (counters.made, counters.delivered, counters.rejected, counters.waiting) == (3, 2, 1, 0)


def test_the_quarantine_keeps_the_newest(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(250), UNSYNCED)
    outbox.settle("fleet", [], {q.row: "no" for q in take(outbox, "fleet", 250, 1_000_000)})
    kept = outbox.quarantined()
    assert len(kept) == 200
    assert kept[-1].id.endswith("/250")
    assert outbox.counters().rejected == 250


def test_counters_survive_a_restart(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([*drafts(3), *drafts(2, kind="event")], UNSYNCED)
    taken = take(outbox, "fleet", 2, 10_000)
    outbox.settle("fleet", [taken[0].row], {taken[1].row: "no"})
    before = outbox.counters()
    outbox.close()
    assert open_outbox(tmp_path, run="ba9876543210").counters() == before


def test_what_went_over_a_link_is_counted_by_month_and_written_with_the_next_change(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.note_sent("fleet", "2026-10", 7)
    outbox.note_sent("fleet", "2026-11", 5)
    outbox.append(drafts(1), UNSYNCED)
    outbox.note_sent("fleet", "2026-11", 30)
    assert outbox.sent_bytes("fleet") == {"2026-10": 7, "2026-11": 35}
    outbox.close()
    again = open_outbox(tmp_path)
    assert again.sent_bytes("fleet") == {"2026-10": 7, "2026-11": 5}
    assert again.sent_bytes("plant") == {}
    assert again.counters().by_upstream.keys() == {"fleet"}


def test_bytes_of_a_record_that_is_not_all_there_yet_are_counted_on_the_disk_too(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(1), UNSYNCED)
    for _ in range(3):
        rows = [queued.row for queued in take(outbox, "fleet", 1, 1000)]
        outbox.note_sent("fleet", "2026-11", 60_000)
        outbox.settle("fleet", [], {}, rows)
    outbox.close()
    assert open_outbox(tmp_path).sent_bytes("fleet") == {"2026-11": 120_000}


def test_rows_of_an_outbox_that_was_opened_anew_since_are_not_settled(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(2), UNSYNCED)
    taken = take(outbox, "fleet", 2, 10_000)
    outbox.close()
    again = open_outbox(tmp_path)
    again.settle("fleet", [q.row for q in taken], {})
    assert len(drain(again)) == 2


def test_nothing_is_written_when_nothing_happens(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    outbox.append(drafts(20), UNSYNCED)
    drain(outbox, "fleet")

    def state() -> list[tuple[str, int, int]]:
        return sorted((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in tmp_path.iterdir())

    before = state()
    for _ in range(100):
        taken = take(outbox, "plant", 5, 10_000)
        outbox.settle("plant", [], {}, [q.row for q in taken])
        assert take(outbox, "fleet", 5, 10_000) == []
        outbox.append([], UNSYNCED)
        outbox.route({"fleet": [], "plant": []})
        outbox.counters()
    assert state() == before


def test_a_second_process_is_told_that_the_outbox_is_in_use(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(1), UNSYNCED)
    script = f"from outboxes import *; open_outbox(Path({str(tmp_path)!r}))"
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert "another process has the outbox open" in other.stderr
    assert len(drain(outbox)) == 1


def test_a_body_that_cannot_be_encoded_is_our_bug_and_leaves_the_outbox_usable(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with pytest.raises(Bug, match="a event record cannot be encoded"):
        outbox.append([Draft("event", 0, Priority.EVENT, {"what": object()})], UNSYNCED)
    assert outbox.append(drafts(1), UNSYNCED) == 1


def test_sixty_three_upstreams_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="63 upstreams; expected 62 at most"):
        open_outbox(tmp_path, upstreams={str(n): [] for n in range(63)})
    outbox = open_outbox(tmp_path, upstreams={str(n): [] for n in range(62)})
    outbox.append(drafts(1), UNSYNCED)
    assert [len(drain(outbox, str(n))) for n in range(62)] == [1] * 62
    assert outbox.counters().waiting == 0


def test_a_record_is_one_messagepack_map_that_is_stored_as_it_is_sent(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams=ALL)
    outbox.append(drafts(1, kind="event"), UNSYNCED)
    (queued,) = take(outbox, "fleet", 1, 10_000)
    assert record(queued).body == {"n": 0}
    assert record(queued).boot_id == "boot"

"""Large records are files beside the database: there before their rows, gone after them, and checked when read."""

from __future__ import annotations

from pathlib import Path

from outboxes import UNSYNCED, bulky, drafts, drain, open_outbox, record, take

from edgeagent.outbox.blobs import LARGE_BYTES
from edgeagent.records import Priority


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.record"))


def test_a_large_record_is_a_file_until_it_is_delivered(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([*drafts(3), *bulky(2, Priority.BULK, size=LARGE_BYTES)], UNSYNCED)
    assert len(files(tmp_path)) == 2
    records = drain(outbox)
    assert [len(r.body.get("data", b"")) for r in records] == [0, 0, 0, LARGE_BYTES, LARGE_BYTES]
    assert [r.id.rpartition("/")[2] for r in records] == ["1", "2", "3", "4", "5"]
    assert files(tmp_path) == []
    assert outbox.counters().used_bytes < 100_000


def test_a_file_stays_until_the_last_upstream_has_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    outbox.append(bulky(1, Priority.BULK, size=50_000), UNSYNCED)
    drain(outbox, "fleet")
    assert len(files(tmp_path)) == 1
    assert len(drain(outbox, "plant")[0].body["data"]) == 50_000
    assert files(tmp_path) == []


def test_a_refused_file_stays_while_it_is_in_quarantine(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    outbox.append(bulky(1, Priority.BULK, size=50_000), UNSYNCED)
    (queued,) = take(outbox, "fleet", 1, 10)
    outbox.settle("fleet", [], {queued.row: "too odd"})
    drain(outbox, "plant")
    assert len(files(tmp_path)) == 1
    outbox.append(drafts(250), UNSYNCED)  # and the quarantine keeps the newest
    outbox.settle("fleet", [], {q.row: "no" for q in take(outbox, "fleet", 250, 1_000_000)})
    assert files(tmp_path) == []


def test_eviction_takes_the_files_too_and_counts_them_as_room(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=500_000)
    outbox.append(bulky(30, Priority.BULK, size=20_000), UNSYNCED)
    outbox.append(bulky(10, Priority.UNCERTAIN, size=20_000), UNSYNCED)
    assert sum(file.stat().st_size for file in files(tmp_path)) < 500_000
    assert outbox.counters().used_bytes <= 500_000
    kept = [r for r in drain(outbox) if r.kind == "sample"]
    assert [r.priority for r in kept].count(Priority.UNCERTAIN) == 10
    assert outbox.counters().evicted == 40 - len(kept)


def test_files_that_no_row_names_are_removed_when_the_outbox_is_opened(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(bulky(1, Priority.BULK, size=50_000), UNSYNCED)
    outbox.close()
    for name in ("0" * 64 + ".record", "0" * 64 + ".new"):
        (tmp_path / name).write_bytes(b"left by a power cut")
    again = open_outbox(tmp_path)
    assert [file.stat().st_size > 50_000 for file in files(tmp_path)] == [True]
    assert list(tmp_path.glob("*.new")) == []
    assert again.counters().used_bytes > 50_000


def test_a_file_that_is_gone_or_altered_is_handed_out_as_what_cannot_be_read(tmp_path: Path) -> None:
    """Whoever sends it finds no record in it, and refuses it by its id."""
    outbox = open_outbox(tmp_path)
    outbox.append(bulky(2, Priority.BULK, size=50_000), UNSYNCED)
    gone, altered = files(tmp_path)
    gone.unlink()
    altered.write_bytes(altered.read_bytes().replace(b"\0\0", b"\0\1", 1))
    taken = take(outbox, "fleet", 10, 1_000_000)
    assert [q.id.rpartition("/")[2] for q in taken] == ["1", "2"]
    assert all(len(q.payload) < 100 for q in taken)
    outbox.settle("fleet", [], {q.row: "damaged" for q in taken})
    assert outbox.counters().waiting == 0


def test_a_row_whose_upstream_is_gone_takes_its_file_with_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"old": [], "other": []})
    outbox.append(bulky(1, Priority.BULK, size=50_000), UNSYNCED)
    drain(outbox, "other")
    outbox.route({"other": []})
    assert files(tmp_path) == []


def test_a_take_counts_what_a_file_holds(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(bulky(3, Priority.BULK, size=50_000), UNSYNCED)
    taken = take(outbox, "fleet", 10, 60_000)
    assert [len(record(q).body["data"]) for q in taken] == [50_000]


def test_a_record_of_100_megabytes_waits_beside_the_others_and_holds_up_none(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=10**9)
    outbox.append([*bulky(1, Priority.UNCERTAIN, size=100_000_000), *drafts(3, Priority.EVENT)], UNSYNCED)
    assert (tmp_path / "outbox.db").stat().st_size < 100_000
    assert len(take(outbox, "fleet", 500, 1_000_000)) == 3
    (large,) = take(outbox, "fleet", 500, 1_000_000)
    assert len(record(large).body["data"]) == 100_000_000
    outbox.settle("fleet", [large.row], {})
    assert list(tmp_path.glob("*.record")) == []


def test_a_record_for_which_there_is_no_room_is_given_up_itself_and_a_gap_record_tells(
    tmp_path: Path,
) -> None:
    outbox = open_outbox(tmp_path, max_bytes=1_000_000)
    outbox.append([*bulky(1, Priority.BULK, size=100_000_000), *drafts(3, Priority.BULK)], UNSYNCED)
    kinds = [one.kind for one in drain(outbox)]
    assert sorted(kinds) == ["gap", "prediction", "prediction", "prediction"]
    assert list(tmp_path.glob("*.record")) == []

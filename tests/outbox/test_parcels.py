"""Records lie in parcels, and whatever is done to one of them is done to that one alone."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest
from outboxes import RUN, UNSYNCED, bulky, drafts, drain, open_outbox, record, seqs, take
from schema_1 import encoded_records, old_outbox

from edgeagent.outbox.desk import Desk
from edgeagent.outbox.files import NAME, PAGE_BYTES
from edgeagent.outbox.outbox import Outbox
from edgeagent.outbox.parcels import PARCEL_BYTES, PARCEL_RECORDS, find_records, pack
from edgeagent.records import Priority, Record

ROOM = 10**6


def parcels(outbox: Outbox) -> list[tuple[int, int]]:
    """Number within its priority, and size, of each."""
    rows = outbox._db.execute("SELECT row & 0xffffffff, n FROM record ORDER BY row")
    return [(row, n) for row, n in rows]


def numbers(outbox: Outbox) -> list[int]:
    """Of all records that wait, in order; each is in one parcel only."""
    return [row + at for row, n in parcels(outbox) for at in range(n)]


def test_the_records_of_a_commit_that_are_alike_lie_in_one_parcel(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([*drafts(5), *drafts(2, kind="health"), *drafts(3)], UNSYNCED)
    outbox.append(drafts(4), UNSYNCED)
    assert parcels(outbox) == [(0, 5), (5, 2), (7, 3), (10, 4)]


def test_of_two_priorities_in_turns_there_are_two_parcels(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([*drafts(1), *drafts(1, Priority.EVENT), *drafts(1), *drafts(1, Priority.EVENT)], UNSYNCED)
    assert parcels(outbox) == [(0, 2), (0, 2)]
    assert [int(r.id.rpartition("/")[2]) for r in drain(outbox)] == [2, 4, 1, 3]


def test_a_parcel_lies_on_one_page_of_the_database(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for size in (1, 10, 100, 1000):
        outbox.append(bulky(2 * PARCEL_RECORDS, Priority.BULK, size=size), UNSYNCED)
    query = "SELECT n, length(payload) FROM record"
    for n, payload_bytes in outbox._db.execute(query):
        assert payload_bytes <= PARCEL_BYTES + 3 * n + 3
    query = "SELECT count(*) FROM dbstat WHERE name = 'record' AND pagetype = 'overflow'"
    assert outbox._db.execute(query).fetchone() == (0,)
    assert PARCEL_BYTES > 0.9 * PAGE_BYTES


def test_a_record_larger_than_a_parcel_is_alone(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    sizes = (10, 5000, 10, 20_000, 10, 10)
    outbox.append([draft for size in sizes for draft in bulky(1, Priority.BULK, size=size)], UNSYNCED)
    assert parcels(outbox) == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2)]
    assert [len(r.body["data"]) for r in drain(outbox)] == list(sizes)


def test_a_batch_ends_with_a_parcel_and_not_within_one(tmp_path: Path) -> None:
    """Or each batch would leave one to be taken apart."""
    outbox = open_outbox(tmp_path)
    for _ in range(3):
        outbox.append(drafts(4), UNSYNCED)
    assert [seqs(take(outbox, "fleet", 10, ROOM)) for _ in range(2)] == [[*range(1, 9)], [9, 10, 11, 12]]


def test_the_first_parcel_of_a_batch_is_cut_if_it_is_too_large_for_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(5), UNSYNCED)
    assert [seqs(take(outbox, "fleet", 2, ROOM)) for _ in range(3)] == [[1, 2], [3, 4], [5]]


def test_what_becomes_of_one_record_takes_its_parcel_apart_and_changes_no_number(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    outbox.append(drafts(10), UNSYNCED)
    rows = [queued.row for queued in take(outbox, "fleet", 10, ROOM)]
    outbox.settle("fleet", rows[2:4], {rows[7]: "no"}, [*rows[:2], *rows[4:7], *rows[8:]])
    assert parcels(outbox) == [(0, 2), (2, 2), (4, 3), (7, 1), (8, 2)]
    assert seqs(take(outbox, "fleet", 10, ROOM)) == [1, 2, 5, 6, 7, 9, 10]
    taken = take(outbox, "plant", 10, ROOM)
    assert (seqs(taken), [queued.row for queued in taken]) == ([*range(1, 11)], rows)
    assert [one.id for one in outbox.quarantined()] == [f"press-07/{RUN}/8"]


def test_whole_parcels_are_settled_without_being_taken_apart(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    for _ in range(3):
        outbox.append(drafts(4), UNSYNCED)
    drain(outbox, "fleet")
    assert parcels(outbox) == [(0, 4), (4, 4), (8, 4)]


def test_a_record_that_is_kept_is_found_again_though_its_parcel_begins_before_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(6), UNSYNCED)
    first, second = take(outbox, "fleet", 3, ROOM), take(outbox, "fleet", 3, ROOM)
    outbox.settle("fleet", [], {}, [second[1].row])
    assert seqs(take(outbox, "fleet", 9, ROOM)) == [5]
    outbox.settle("fleet", [queued.row for queued in first], {})
    assert numbers(outbox) == [3, 4, 5]


def test_what_two_upstreams_take_apart_in_two_ways_leaves_once_by_each(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []})
    outbox.append(drafts(12), UNSYNCED)
    fleet, plant = take(outbox, "fleet", 7, ROOM), take(outbox, "plant", 5, ROOM)
    outbox.settle("plant", [queued.row for queued in plant[::2]], {}, [queued.row for queued in plant[1::2]])
    outbox.settle("fleet", [queued.row for queued in fleet[1:]], {}, [fleet[0].row])
    assert numbers(outbox) == [0, 1, 3, *range(5, 12)]
    assert [int(r.id.rpartition("/")[2]) for r in drain(outbox, "plant")] == [2, 4, *range(6, 13)]
    assert [int(r.id.rpartition("/")[2]) for r in drain(outbox, "fleet")] == [1, *range(8, 13)]
    assert numbers(outbox) == []


def test_what_is_in_flight_of_a_parcel_is_not_purged_with_the_rest(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(6), UNSYNCED)
    taken = take(outbox, "fleet", 2, ROOM)
    assert outbox.change(lambda desk: desk.purge(None)) == {"prediction": 4}
    outbox.settle("fleet", [queued.row for queued in taken], {})
    counters = outbox.counters()
    assert (counters.delivered, counters.evicted, counters.waiting) == (2, 4, 0)


def test_a_listing_and_an_export_know_records_and_no_parcels(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([*drafts(4), *drafts(2, Priority.EVENT)], UNSYNCED)
    assert [one.id[-1] for one in outbox.read(lambda desk: desk.waiting(5))] == ["5", "6", "1", "2", "3"]
    after, exported = -1, ""
    for _ in range(6):
        ((after, payload),) = outbox.read(partial(Desk.page, after=after, max_bytes=150))
        exported += msgspec.msgpack.decode(payload, type=Record).id[-1]
    assert exported == "123456"
    found = outbox.read(lambda desk: desk.find(f"press-07/{RUN}/3"))
    assert msgspec.msgpack.decode(found or b"", type=Record).body == {"n": 2}


def test_an_eviction_counts_records(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, max_bytes=200_000)
    for _ in range(20):
        outbox.append(drafts(100, Priority.BULK), UNSYNCED)
    counters = outbox.counters()
    gaps = [r.body["records"] for r in drain(outbox) if r.kind == "gap"]
    assert sum(gaps) == counters.evicted > PARCEL_RECORDS
    assert counters.made == 2000 + len(gaps) == counters.evicted + counters.waiting


@pytest.mark.parametrize(("at", "lost"), [(0, 0), (1, 0), (2, 0), (3, 1), (700, 0), (-1, 0)])
def test_a_frame_that_the_disk_has_altered_costs_one_record_at_most(at: int, lost: int) -> None:
    records = encoded_records(9)
    payload = bytearray(pack(records))
    payload[at] ^= 0x40
    found = find_records(bytes(payload))
    assert len(set(records) & set(found)) >= 9 - lost - 1
    assert len(found) <= 9


def test_what_the_disk_has_left_of_a_parcel_is_handed_out_and_the_rest_can_be_refused(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(6), UNSYNCED)
    cut = "UPDATE record SET payload = substr(payload, 1, length(payload) - 200)"
    outbox._db.execute(cut)
    taken = take(outbox, "fleet", 9, ROOM)
    assert [record(queued).body["n"] for queued in taken if queued.payload] == [0, 1, 2, 3]
    unread = [queued for queued in taken if not queued.payload]
    assert [queued.id for queued in unread] == [f"unreadable/{queued.row}" for queued in unread]
    assert len(taken) == 6
    outbox.settle("fleet", [], {queued.row: "no" for queued in taken})
    assert outbox.counters().waiting == 0


def test_a_parcel_that_cannot_be_so_large_is_damage(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(6), UNSYNCED)
    outbox._db.execute("UPDATE record SET n = 1000000000000")
    with pytest.raises(Exception, match="damaged"):
        take(outbox, "fleet", 9, ROOM)
    assert outbox.set_aside
    again = open_outbox(tmp_path, run="c" * 12)
    again.salvage(0, UNSYNCED)
    assert [r.body["n"] for r in drain(again)] == list(range(6))


def test_an_outbox_of_schema_1_goes_on_with_all_that_waits_in_it(tmp_path: Path) -> None:
    rows = old_outbox(tmp_path / "outbox")
    outbox = open_outbox(tmp_path / "outbox", upstreams={"fleet": [], "plant": []})
    assert outbox.set_aside is None
    assert list(outbox._parcels.read("TRUE ORDER BY row")) == rows
    assert outbox.append(drafts(5, Priority.EVENT), UNSYNCED) == 5
    outbox.close()
    outbox = open_outbox(tmp_path / "outbox", upstreams={"fleet": [], "plant": []})
    assert [r.id[-1] for r in drain(outbox, "fleet")] == [*"123", *"45678"]
    assert [r.id[-1] for r in drain(outbox, "plant")] == [*"13", *"45678"]
    counters = outbox.counters()
    assert (counters.made, counters.delivered, counters.waiting) == (8, 8, 0)


def test_an_outbox_of_schema_1_that_is_damaged_is_salvaged(tmp_path: Path) -> None:
    old_outbox(tmp_path / "outbox")
    with (tmp_path / "outbox" / NAME).open("r+b") as f:
        f.write(bytes(PAGE_BYTES))
    outbox = open_outbox(tmp_path / "outbox", run="c" * 12)
    assert outbox.set_aside
    outbox.salvage(0, UNSYNCED)
    assert [r.id[-1] for r in drain(outbox)] == [*"123"]

"""What a collector knows after its start: exact after any end, and read from known.json where that is still true."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from received import ids, record

from edgeagent.collector.store import Store
from edgeagent.errors import StorageFault

DAY = "2026-11-22.jsonl"
MANY = range(1, 201)  # more bytes than the last ones of a file that are looked at


def filled(folder: Path) -> None:
    store = Store(folder)
    store.add([record(n) for n in MANY])
    store.close()


def spoil_the_first_line(folder: Path) -> None:
    """Not a record any more, and as long as it was: seen by whoever reads it."""
    file = folder / "records" / DAY
    text = file.read_bytes()
    file.write_bytes(b"x" * text.index(b"\n") + text[text.index(b"\n") :])


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_in_whatever_order_through_ends_and_crashes_is_stored_once(
    tmp_path: Path, seed: int
) -> None:
    chance, sent = random.Random(seed), set[str]()
    for _ in range(6):
        store = Store(tmp_path, note_bytes=chance.choice([1, 3000, 10**9]))
        for _ in range(chance.randrange(4)):
            numbers = [chance.randrange(1, 60) for _ in range(chance.randrange(1, 20))]
            device = chance.choice(["press-07", "press-08"])
            assert store.add([record(n, device) for n in numbers]) == [None] * len(numbers)
            sent |= {f"{device}/0123456789ab/{n}" for n in numbers}
        if chance.random() < 0.5:
            store.close()
        else:
            store._let_go()  # as the kernel does after kill -9: nothing is noted
    assert sorted(ids(tmp_path)) == sorted(sent)


def test_after_an_orderly_end_no_line_is_read_again(tmp_path: Path) -> None:
    filled(tmp_path)
    spoil_the_first_line(tmp_path)
    store = Store(tmp_path)
    store.add([record(n) for n in (1, 200, 201)])
    store.close()
    assert (tmp_path / "records" / DAY).read_bytes().count(b"\n") == 201


def test_after_a_crash_only_what_came_since_the_last_note_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path, note_bytes=1)
    store.add([record(n) for n in MANY])
    store._note_bytes = 10**9
    store.add([record(201)])
    store._let_go()
    spoil_the_first_line(tmp_path)
    store = Store(tmp_path)
    store.add([record(n) for n in (1, 201, 202)])
    assert (tmp_path / "records" / DAY).read_bytes().count(b"\n") == 202


def gone(folder: Path) -> None:
    (folder / "known.json").unlink()


def torn(folder: Path) -> None:
    (folder / "known.json").write_bytes((folder / "known.json").read_bytes()[:-9])


def strange(folder: Path) -> None:
    (folder / "known.json").write_text('{"files": [], "runs": 5}\n0\n')


def one_digit_altered(folder: Path) -> None:
    file = folder / "known.json"
    file.write_text(file.read_text().replace("[[1,200]]", "[[1,900]]"))


@pytest.mark.parametrize("damage", [gone, torn, strange, one_digit_altered])
def test_without_a_sound_note_all_lines_are_read(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    filled(tmp_path)
    damage(tmp_path)
    store = Store(tmp_path)
    store.add([record(n) for n in (1, 100, 200, 201)])
    assert len(ids(tmp_path)) == len(set(ids(tmp_path))) == 201


def test_a_line_that_was_taken_out_can_come_again(tmp_path: Path) -> None:
    filled(tmp_path)
    file = tmp_path / "records" / DAY
    file.write_text(file.read_text().partition("\n")[2])
    Store(tmp_path).add([record(1), record(2)])
    assert len(ids(tmp_path)) == 200
    assert ids(tmp_path)[-1].endswith("/1")


def test_a_day_that_was_taken_away_can_come_again(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "records" / DAY).unlink()
    Store(tmp_path).add([record(n) for n in MANY])
    assert len(ids(tmp_path)) == 200


def test_what_is_no_record_is_named_with_its_place_behind_what_was_noted(tmp_path: Path) -> None:
    filled(tmp_path)
    file = tmp_path / "records" / DAY
    size = file.stat().st_size
    with file.open("ab") as f:
        f.write(b"hello\n")
    with pytest.raises(StorageFault, match=rf"line 1 after byte {size} of .*{DAY}: not a record"):
        Store(tmp_path)

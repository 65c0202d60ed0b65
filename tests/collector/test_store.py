from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import msgspec
import numpy as np
import pytest
from received import CHANNELS, VALUES, entries, ids, record, sample

from edgeagent.collector.dataset import count_ids, summary
from edgeagent.collector.store import Store
from edgeagent.errors import StorageFault
from edgeagent.records import picture_raw


def test_a_record_is_one_line_of_json_by_the_date_of_its_own_time(tmp_path: Path) -> None:
    assert Store(tmp_path).add([record(1)]) == [None]
    (line,) = (tmp_path / "records" / "2026-11-22.jsonl").read_text().splitlines()
    assert json.loads(line)["body"] == {"type": "alert", "message": "it is hot\nvery"}


def test_a_record_without_a_time_lies_where_it_arrived_and_every_line_says_when_that_was(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path, now=lambda: datetime(2026, 12, 1, 23, 59, 58, tzinfo=UTC))
    assert store.add([record(1), record(2, time=None, clock="unsynced")]) == [None, None]
    assert sorted(f.name for f in (tmp_path / "records").iterdir()) == [
        "2026-11-22.jsonl",
        "2026-12-01.jsonl",
    ]
    dated, undated = entries(tmp_path)
    assert (undated["time"], undated["clock"]) == (None, "unsynced")
    assert undated["received"] == dated["received"] == "2026-12-01T23:59:58Z"


def test_two_collectors_cannot_write_to_one_dataset(tmp_path: Path) -> None:
    first = Store(tmp_path)
    with pytest.raises(StorageFault, match="another process writes to the dataset"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()


def test_a_batch_sent_twice_is_stored_once_and_accepted_both_times(tmp_path: Path) -> None:
    store = Store(tmp_path)
    batch = [record(n) for n in range(1, 6)]
    assert store.add(batch) == store.add(batch) == [None] * 5
    assert store.add([batch[0], batch[0], record(6)]) == [None] * 3
    assert len(ids(tmp_path)) == len(set(ids(tmp_path))) == 6


def test_those_who_wait_while_one_is_stored_are_synced_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, answers, syncs = Store(tmp_path), dict[int, list[str | None]](), list[int]()
    really_sync = os.fsync

    def sync(descriptor: int) -> None:
        syncs.append(descriptor)
        really_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)

    def add(n: int) -> None:
        answers[n] = store.add([record(n), record(n, kind="poem"), record(100)])

    threads = [Thread(target=add, args=(n,)) for n in range(1, 9)]
    with store._lock:
        for thread in threads:
            thread.start()
        while len(store._waiting) < len(threads):
            time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert all(answer[0] is answer[2] is None and answer[1] for answer in answers.values())
    assert sorted(int(found.rpartition("/")[2]) for found in ids(tmp_path)) == [*range(1, 9), 100]
    assert len(syncs) == 2  # the file, and the folder that it is new in


def test_it_knows_what_it_has_after_a_restart(tmp_path: Path) -> None:
    Store(tmp_path).add([record(1), sample(2)])
    assert Store(tmp_path).add([record(1), sample(2), record(3)]) == [None] * 3
    assert sorted(ids(tmp_path)) == sorted(set(ids(tmp_path)))
    assert count_ids(tmp_path) == {"event": 2, "sample": 1}


@pytest.mark.parametrize("torn", [b'{"id":"press-07/0123456789ab/9","ki', b"\0" * 100, b"x" * 200_000])
def test_a_last_line_that_was_torn_is_cut_at_the_start_and_its_record_can_come_again(
    tmp_path: Path, torn: bytes
) -> None:
    Store(tmp_path).add([record(1)])
    with (tmp_path / "records" / "2026-11-22.jsonl").open("ab") as f:
        f.write(torn)
    assert count_ids(tmp_path) == {"event": 1}
    store = Store(tmp_path)
    store.add([record(9)])
    assert [entry["id"][-2:] for entry in entries(tmp_path)] == ["/1", "/9"]


def test_a_file_that_is_nothing_but_a_torn_line_becomes_empty(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "2026-11-22.jsonl").write_bytes(b"torn")
    Store(tmp_path).add([record(1)])
    assert len(entries(tmp_path)) == 1


def test_a_samples_arrays_are_what_the_sensor_gave(tmp_path: Path) -> None:
    Store(tmp_path).add([sample(7)])
    (entry,) = entries(tmp_path)
    assert "data" not in entry["body"]
    name = entry["sample"]
    assert name == "press-07,0123456789ab,7"
    with np.load(tmp_path / "samples" / f"{name}.npz") as arrays:
        assert np.array_equal(arrays["values"], VALUES)
        assert arrays["values"].dtype == np.float32
        assert arrays["t_mono_ns"].tolist() == [2_000, 10_002_000, 20_002_000]
        assert arrays["names"].tolist() == [c.name for c in CHANNELS]
        assert arrays["units"].tolist() == ["A", "degC"]
    assert json.loads((tmp_path / "samples" / f"{name}.json").read_text()) == entry


@pytest.mark.parametrize(
    ("head", "file"),
    [(b"\xff\xd8\xff", "jpg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"BM", "bmp")],
)
def test_a_sample_that_is_a_picture_is_a_file_as_the_camera_made_it(
    tmp_path: Path, head: bytes, file: str
) -> None:
    picture = head + b"and so on"
    body = {"sensor": "front", "picture": 2, "pictures": 3, **msgspec.structs.asdict(picture_raw(picture))}
    assert Store(tmp_path).add([record(7, kind="sample", body=body)]) == [None]
    (entry,) = entries(tmp_path)
    assert (tmp_path / "samples" / f"{entry['sample']}.{file}").read_bytes() == picture
    assert json.loads((tmp_path / "samples" / f"{entry['sample']}.json").read_text()) == entry
    assert entry["body"]["picture"] == 2
    assert "data" not in entry["body"]
    assert summary(tmp_path).samples == 1


@pytest.mark.parametrize(
    "wrong", [{"data": b"<script>"}, {"data": "text"}, {"encoding": "html"}, {"encoding": ["jpeg"]}]
)
def test_what_only_says_that_it_is_a_picture_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    body = msgspec.structs.asdict(picture_raw(b"\xff\xd8\xff...")) | wrong
    (refusal,) = Store(tmp_path).add([record(7, kind="sample", body=body)])
    assert refusal
    assert list((tmp_path / "samples").iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"data": b"\x00\x00\x00"},
        {"data": "text"},
        {"samples": 4},
        {"samples": -1},
        {"samples": 2**40},
        {"encoding": "zip"},
        {"channels": []},
        {"channels": [{"name": "x", "unit": "A"}] * 2},
        {"rate_hz": 0.0},
        {"rate_hz": float("nan")},
        {"rate_hz": 1e-300},
        {"t_mono_ns": 2**63},
        {"t_start_ns": "now", "t_mono_ns": None},
    ],
)
def test_a_sample_that_does_not_fit_together_is_refused_and_leaves_no_file(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    refusals = Store(tmp_path).add([record(1), sample(2, **changes), record(3)])
    assert refusals[0] is None
    assert refusals[1]
    assert refusals[2] is None
    assert [entry["id"][-2:] for entry in entries(tmp_path)] == ["/1", "/3"]
    assert list((tmp_path / "samples").iterdir()) == []


def test_a_device_id_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    refusals = Store(folder).add(
        [sample(1), *(_from(d) for d in ("../../x", "..", ".", "a\0b", "C:\\x", "%2F"))]
    )
    assert [refusal is None for refusal in refusals] == [True, False, True, True, False, True, True]
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert all(p.parent == folder / "samples" for p in folder.rglob("*.npz"))
    assert summary(folder).samples == summary(folder).kinds["sample"] == 5


def _from(device: str) -> bytes:
    whole = msgspec.msgpack.decode(sample(1))
    return msgspec.msgpack.encode(whole | {"id": f"{device}/0123456789ab/1"})


def test_what_json_cannot_say_is_refused(tmp_path: Path) -> None:
    odd = record(1, body={"x": msgspec.msgpack.Ext(5, b"?")})
    (refusal,) = Store(tmp_path).add([odd])
    assert refusal
    assert "JSON" in refusal


def test_a_summary_counts_distinct_ids_of_all_devices(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add([record(1), record(1, device="press-08"), sample(2)])
    assert summary(tmp_path) == (3, {"event": 2, "sample": 1}, 2, 1)


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    Store(tmp_path).add([record(1)])
    with (tmp_path / "records" / "2026-11-22.jsonl").open("ab") as f:
        f.write(b"hello\n")
    with pytest.raises(StorageFault, match=r"2026-11-22\.jsonl:2: not a record"):
        summary(tmp_path)


def test_a_full_disk_acknowledges_nothing_and_leaves_no_half_line(tmp_path: Path) -> None:
    """The limit on a file's size stands in for the disk's: the same call fails, and half of it is written."""
    script = f"""
import resource, signal, sys
sys.path[:] = {sys.path!r}
from pathlib import Path
from received import record, ids
from edgeagent.collector.store import Store
from edgeagent.errors import StorageFault
folder = Path({str(tmp_path)!r})
store = Store(folder)
store.add([record(n) for n in range(1, 11)])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = (folder / "records" / "2026-11-22.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
try:
    store.add([record(n) for n in range(11, 31)])
    sys.exit("nothing failed")
except StorageFault as fault:
    assert "cannot be written" in str(fault), fault
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.add([record(n) for n in range(1, 31)])
assert len(ids(folder)) == len(set(ids(folder))) == 30, ids(folder)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

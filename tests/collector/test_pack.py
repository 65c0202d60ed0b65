"""The dataset as Parquet and WebDataset shards, read back by strangers' tools."""

from __future__ import annotations

import fcntl
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.dataset as ds
import pytest
from received import VALUES, record, sample

from edgeagent.cli import FAULTS, OK, main
from edgeagent.collector.pack import pack
from edgeagent.collector.store import Store
from edgeagent.config.parts import pip_install
from edgeagent.errors import StorageFault
from edgeagent.records import picture_raw

PREDICTION = {"pipeline": "motion", "label": "running", "score": 0.75, "margin": 0.5, "latency_ns": 7}


def fill(folder: Path, *records: bytes) -> None:
    store = Store(folder)
    assert store.add(records) == [None] * len(records)
    store.close()


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ds.dataset(folder / "packed" / "records").to_table().to_pylist()
    return found


def webdataset(folder: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Samples as WebDataset groups them: consecutive files that share what is before the first dot."""
    for shard in sorted((folder / "packed" / "samples").glob("*.tar")):
        grouped: defaultdict[str, dict[str, bytes]] = defaultdict(dict)
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                content = tar.extractfile(member)
                assert content
                assert not grouped or key not in grouped or key == list(grouped)[-1]
                grouped[key][suffix] = content.read()
        yield from grouped.items()


def test_records_are_rows_that_can_be_asked_for_by_label_and_score(tmp_path: Path) -> None:
    fill(tmp_path, record(1), record(2, kind="prediction", body=PREDICTION), record(3, time=None))
    assert pack(tmp_path).records == 3
    found = ds.dataset(tmp_path / "packed" / "records")
    sure = found.to_table(filter=(ds.field("label") == "running") & (ds.field("score") > 0.7)).to_pylist()
    assert [row["id"][-2:] for row in sure] == ["/2"]
    assert (sure[0]["device"], sure[0]["mono_ns"], sure[0]["pipeline"]) == ("press-07", 2, "motion")
    assert sure[0]["time"].isoformat() == "2026-11-22T10:00:00+00:00"
    assert json.loads(sure[0]["body"]) == PREDICTION
    (undated,) = (row for row in rows(tmp_path) if row["time"] is None)
    assert undated["received"] is not None


def test_samples_are_shards_and_each_row_names_its_own(tmp_path: Path) -> None:
    dotted = msgspec.msgpack.decode(sample(1)) | {"id": "press.07/0123456789ab/1"}
    picture = record(2, kind="sample", body=msgspec.structs.asdict(picture_raw(b"\xff\xd8\xff...")))
    fill(tmp_path, msgspec.msgpack.encode(dotted), picture, record(3))
    assert pack(tmp_path) == (1, 3, 1)
    samples = dict(webdataset(tmp_path))
    by_id = {row["id"]: row for row in rows(tmp_path)}
    arrays = samples[by_id["press.07/0123456789ab/1"]["sample"]]
    with np.load(io.BytesIO(arrays["npz"])) as loaded:
        assert np.array_equal(loaded["values"], VALUES)
    about = json.loads(arrays["json"])
    assert (about["id"], about["body"]["probability"]) == ("press.07/0123456789ab/1", 0.01)
    assert by_id["press.07/0123456789ab/1"]["probability"] == 0.01
    assert samples[by_id["press-07/0123456789ab/2"]["sample"]]["jpg"] == b"\xff\xd8\xff..."
    assert by_id["press-07/0123456789ab/3"]["sample"] is None


def test_only_what_has_changed_is_packed_again_and_full_shards_stay_as_they_are(tmp_path: Path) -> None:
    fill(tmp_path, *(sample(n) for n in range(1, 8)), record(8, time="2026-11-21T10:00:00Z"))
    size_bytes = sum(p.stat().st_size for p in (tmp_path / "samples").glob("*,1.*"))
    assert pack(tmp_path, 3 * size_bytes) == (2, 8, 3)
    assert pack(tmp_path, 3 * size_bytes) == (0, 0, 0)
    first = tmp_path / "packed" / "samples" / "2026-11-22-0000.tar"
    before = first.read_bytes()
    fill(tmp_path, sample(9))
    assert pack(tmp_path, 3 * size_bytes) == (1, 8, 3)
    assert first.read_bytes() == before
    assert len(list(webdataset(tmp_path))) == 8
    assert len({row["id"] for row in rows(tmp_path)}) == len(rows(tmp_path)) == 9


@pytest.mark.parametrize(
    "odd",
    [
        {"time": "2026-02-31T10:00:00Z"},
        {"mono_ns": 2**64 - 1},
        {"schema": -5},
        {"kind": "prediction", "body": {"label": ["a"], "score": "high", "margin": True, "type": None}},
        {"kind": "prediction", "body": {"score": 2**63, "margin": 1e300}},
    ],
)
def test_whatever_the_collector_takes_can_be_packed(tmp_path: Path, odd: dict[str, Any]) -> None:
    fill(tmp_path, record(1, **odd))
    assert pack(tmp_path).records == 1
    assert rows(tmp_path)[0]["id"] == "press-07/0123456789ab/1"


def test_a_line_that_a_collector_is_still_writing_waits_for_the_next_time(tmp_path: Path) -> None:
    fill(tmp_path, record(1))
    with (tmp_path / "records" / "2026-11-22.jsonl").open("ab") as f:
        f.write(b'{"id": "press-07/0123456789ab/2", "ki')
    assert pack(tmp_path).records == 1
    fill(tmp_path, record(2))
    assert pack(tmp_path).records == 2


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    fill(tmp_path, record(1))
    with (tmp_path / "records" / "2026-11-22.jsonl").open("ab") as f:
        f.write(b"hello\n")
    with pytest.raises(StorageFault, match=r"2026-11-22\.jsonl:2: not a record"):
        pack(tmp_path)


def test_a_parquet_file_that_was_damaged_is_made_anew(tmp_path: Path) -> None:
    fill(tmp_path, record(1))
    pack(tmp_path)
    (tmp_path / "packed" / "records" / "2026-11-22.parquet").write_bytes(b"PAR1 and then nothing")
    assert pack(tmp_path).records == 1
    assert len(rows(tmp_path)) == 1


@pytest.mark.slow
def test_packing_that_is_killed_leaves_whole_files_only_and_the_next_completes_it(tmp_path: Path) -> None:
    script = f"""
import os, random
from pathlib import Path
from edgeagent.collector.pack import pack
folder = Path({str(tmp_path)!r})
print("ready", flush=True)
while True:
    pack(folder, 20_000)
    for day in (folder / "records").glob("*.jsonl"):
        os.utime(day)  # it has changed, for all that the packer knows
"""
    dice, kills, seq = random.Random(11), 12, 0
    for _ in range(kills):
        days = [f"2026-11-{dice.randint(20, 22)}T10:00:00Z" for _ in range(30)]
        fill(tmp_path, *(_dated(seq + n, day) for n, day in enumerate(days, 1)))
        seq += len(days)
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        time.sleep(dice.uniform(0.001, 0.3))  # wherever it is by then
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        process.stdout.close()
        found = [row["id"] for row in rows(tmp_path)]  # each file can be read to its end
        assert len(found) == len(set(found))
        assert all({"json", "npz"} == files.keys() for _, files in webdataset(tmp_path))
    pack(tmp_path, 20_000)
    assert sorted(int(row["id"].rpartition("/")[2]) for row in rows(tmp_path)) == list(range(1, seq + 1))
    assert {key for key, _ in webdataset(tmp_path)} == {row["sample"] for row in rows(tmp_path)}
    assert list((tmp_path / "packed").glob("*/.*")) == []


def _dated(seq: int, time: str) -> bytes:
    return msgspec.msgpack.encode(msgspec.msgpack.decode(sample(seq)) | {"time": time})


def test_the_command_packs_and_says_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, sample(1))
    assert main(["collector", "pack", str(tmp_path)]) == OK
    assert capsys.readouterr().out == f"1 records of 1 days and 1 shards written to {tmp_path}/packed\n"
    monkeypatch.delitem(sys.modules, "edgeagent.collector.pack")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["collector", "pack", str(tmp_path)]) == FAULTS
    assert (
        f"packing needs pyarrow. Install it: {pip_install('edgeagent[dataset]')}." in capsys.readouterr().err
    )


def test_two_do_not_pack_at_once(tmp_path: Path) -> None:
    fill(tmp_path, record(1))
    pack(tmp_path)
    descriptor = os.open(tmp_path / "packed", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(StorageFault, match="it is being packed already"):
        pack(tmp_path)
    os.close(descriptor)

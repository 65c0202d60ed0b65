"""docs/scaling.md: its configs are configs, and its few lines of Python read a real shard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeagent.agent.fit import check
from edgeagent.config.load import require
from edgeagent.records import Channel, encode_raw, picture_raw
from edgeagent.upstream.shards import entry, pack

PAGE = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text()
RUN = "0123456789ab"


def fences(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", fences("yaml"))
def test_each_config_of_the_page_is_one(block: str, tmp_path: Path) -> None:
    file = tmp_path / "edgeagent.yaml"
    file.write_text(f"device: {{id: press-07}}\n{block}")
    assert require(check(file)).upstream


def test_the_rights_of_the_page_are_json() -> None:
    (rights,) = fences("json")
    assert msgspec.json.decode(rights)["Version"] == "2012-10-17"


def test_the_pages_lines_read_a_shard(tmp_path: Path) -> None:
    channels = (Channel("x", "g", 0.25), Channel("y", "g", 0.5))
    counted = np.array([[1, 2], [3, -4], [5, 6]], np.float32)
    measured = np.array([[0.1, np.nan]], np.float32)
    raws = (encode_raw(counted, channels), encode_raw(measured, channels), picture_raw(b"BM"))
    shard = tmp_path / "0000.tar.gz"
    shard.write_bytes(
        pack(
            "sample",
            [entry(n, sample(n, channels, msgspec.structs.asdict(r))) for n, r in enumerate(raws, 1)],
        )
    )
    found = {record["id"]: values for record, values in reader()(shard)}
    assert list(found) == [f"press-07/{RUN}/1", f"press-07/{RUN}/2"]
    for values, expected in zip(found.values(), (counted, measured), strict=True):
        np.testing.assert_array_equal(values, expected)


def sample(seq: int, channels: tuple[Channel, ...], raw: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(
        {
            "id": f"press-07/{RUN}/{seq}",
            "kind": "sample",
            "run": RUN,
            "boot_id": "b7",
            "mono_ns": 1,
            "time": None,
            "clock": "unsynced",
            "priority": 0,
            "body": {"channels": msgspec.to_builtins(channels)} | raw,
        }
    )


def reader() -> Callable[[Path], Iterable[tuple[dict[str, Any], Any]]]:
    (source,) = fences("python")
    names: dict[str, Any] = {}
    exec(source, names)
    read: Callable[[Path], Iterable[tuple[dict[str, Any], Any]]] = names["samples"]
    return read

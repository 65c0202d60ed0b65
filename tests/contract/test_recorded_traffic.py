"""What `edgeagent bus record` wrote, run again through the drivers of today: the same rows, without the devices."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from test_sensors import RECORDED

from edgeagent.agent.traffic import Listener, rerun


@pytest.fixture(params=RECORDED, ids=lambda p: p.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def rows(heard: Listener) -> list[list[float | None]]:
    every = (row for block in heard.blocks for row in block.values.tolist())
    return [[None if math.isnan(value) else value for value in row] for row in every]


def test_recorded_traffic_gives_the_rows_that_it_gave_then(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    heard = rerun(folder)
    assert rows(heard) == expected["rows"]
    assert sum(block.lost for block in heard.blocks) == expected["lost"]
    assert heard.layout is not None
    assert heard.layout.rate_hz == expected["rate_hz"]
    assert {c.name: c.unit for c in heard.layout.channels} == expected["channels"]


def test_recorded_traffic_gives_the_same_blocks_each_time(folder: Path) -> None:
    first, second = rerun(folder).blocks, rerun(folder).blocks
    assert [block.t_mono_ns.tolist() for block in first] == [block.t_mono_ns.tolist() for block in second]
    assert [block.values.tobytes() for block in first] == [block.values.tobytes() for block in second]
    assert [block.reasons for block in first] == [block.reasons for block in second]

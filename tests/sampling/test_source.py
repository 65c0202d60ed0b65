"""Who took the samples travels with them: into every sample record, and through a recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeagent.recording import Header, Recording, write_series
from edgeagent.records import NS_PER_S, Block, Channel, Layout, Source
from edgeagent.sampling.captures import raw_body
from edgeagent.windows import Ring

SOURCE = Source("demo", "1.4.2", "3f2a1c0", "A1")
CHANNELS = (Channel("current", "A", 0.01),)


def ring(layout: Layout) -> Ring:
    ring = Ring(layout, keep_s=2.0)
    t_ns = np.arange(10) * NS_PER_S // 10
    ring.add(Block("motor", 0, t_ns, np.ones((10, 1), np.float32), int(t_ns[-1])))
    return ring


def test_a_sample_record_names_the_firmware_its_version_and_build_and_the_board() -> None:
    body = raw_body("motor", ring(Layout(10.0, CHANNELS, SOURCE)), 0, NS_PER_S)
    assert body["source"] == {"firmware": "demo", "version": "1.4.2", "build": "3f2a1c0", "board": "A1"}


def test_a_sensor_that_says_nothing_of_itself_leaves_no_empty_source() -> None:
    assert "source" not in raw_body("motor", ring(Layout(10.0, CHANNELS)), 0, NS_PER_S)


def test_a_recording_keeps_the_source(tmp_path: Path) -> None:
    header = Header(1, {"motor": Layout(10.0, CHANNELS, SOURCE)})
    write_series(tmp_path / "r", header, "motor", np.ones((5, 1), np.float32))
    assert Recording(tmp_path / "r").header.sensors["motor"].source == SOURCE

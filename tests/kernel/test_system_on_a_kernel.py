"""The board's own figures, from a real /proc and /sys."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from emulator import until

from edgeagent.sensors import Context
from edgeagent.sensors.system import Options, build

pytestmark = pytest.mark.kernel


def test_a_computer_tells_its_uptime_load_memory_and_disk_and_why_it_has_no_temperature(
    context: Context,
) -> None:
    before_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    sensor = build("board", Options(rate=10.0, disk=Path("/run")), context)
    sensor.open()
    block = until(sensor.read)
    sensor.close()
    assert sensor.layout is not None
    found = dict(zip((c.name for c in sensor.layout.channels), block.values[0].tolist(), strict=True))
    assert before_s - 1 <= found["uptime"] <= time.clock_gettime(time.CLOCK_BOOTTIME) + 1
    assert found["load"] >= 0
    assert 0 < found["memory_used"] < 1
    assert 0 <= found["disk_used"] < 1
    assert np.isnan([found["cpu_temperature"], found["under_voltage"], found["throttled"]]).all()
    assert "cpu_temperature: this board has no thermal zone" in block.reasons[0]

"""The kernel's own virtual camera (vivid): V4L2 as its drivers keep to it, through unmodified linuxpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from emulator import load, until

from edgeagent.buses.camera.picture import decode
from edgeagent.buses.camera.v4l2 import V4l2Camera
from edgeagent.buses.scan.machine import Machine
from edgeagent.buses.scan.sysfs import scan_sysfs
from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.records import Block
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.camera import Options, build

pytestmark = pytest.mark.kernel

DRIVER = Path("/sys/bus/platform/drivers/vivid")
CAMERA = Path("/dev/v4l/by-path/platform-vivid.0-video-index0")
# Its test picture: bars of 75 % of full white, from left to right.
BARS = [
    (r, g, b) for r, g, b in ((1, 1, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0), (1, 0, 1), (1, 0, 0), (0, 0, 1))
]


@pytest.fixture(scope="module", autouse=True)
def vivid() -> None:
    load("vivid", "n_devs=1", "node_types=0x1")
    until(CAMERA.exists)


@pytest.fixture
def sensor(context: Context) -> Iterator[Sensor]:
    sensor = build("front", Options(device=str(CAMERA), rate=2.0, size="320x180"), context)
    sensor.open()
    yield sensor
    sensor.close()


def next_picture(sensor: Sensor) -> Block:
    return until(sensor.read)


def test_a_camera_that_gives_yuyv_is_read_as_jpegs_in_its_true_colours(sensor: Sensor) -> None:
    block = next_picture(sensor)
    assert block.values.tolist() == [[len(block.pictures[0])]]
    pixels = decode(block.pictures[0], 320, 180)
    found = [pixels[150, 20 + 40 * bar].astype(int) for bar in range(len(BARS))]
    assert abs(np.array(found) - np.array(BARS) * 191).max() <= 12


def test_pictures_bear_the_kernels_times_and_those_that_nobody_fetched_are_counted(sensor: Sensor) -> None:
    blocks = [next_picture(sensor) for _ in range(4)]
    times = [int(b.t_mono_ns[0]) for b in blocks]
    assert times == sorted(set(times))
    assert all(b.t_mono_ns[0] <= b.t_read_ns for b in blocks)
    assert sensor.counters()["pictures_skipped"] > 0  # it takes more than two in a second
    assert sensor.counters()["pictures_bad"] == 0


def test_a_camera_that_streams_for_another_is_in_use(sensor: Sensor, context: Context) -> None:
    next_picture(sensor)
    with pytest.raises(DeviceFault, match=r"in use by python.* \(pid \d+\)"):
        V4l2Camera(str(CAMERA), context.clock, 320, 180).open()


def test_a_camera_that_vanishes_is_gone_and_is_read_again_when_it_is_back(sensor: Sensor) -> None:
    next_picture(sensor)
    (DRIVER / "unbind").write_text("vivid.0")
    with pytest.raises(DeviceGone, match="is not there"):
        until(lambda: sensor.read() and False)
    sensor.close()
    until(lambda: not CAMERA.exists())
    with pytest.raises(DeviceGone, match="is not there"):
        sensor.open()
    (DRIVER / "bind").write_text("vivid.0")
    until(CAMERA.exists)
    sensor.open()
    assert next_picture(sensor).pictures[0]


def test_scan_finds_it_by_the_name_that_stays(context: Context) -> None:
    cameras = [d for d in scan_sysfs(Machine(context.clock)) if d.kind == "camera"]
    assert [(c.place, c.sensor) for c in cameras] == [
        (str(CAMERA), {"driver": "camera", "device": str(CAMERA)})
    ]

"""The kernel's way to a webcam: unmodified linuxpy on `/dev/video7`, a camera behind it that clicks when told.

A C library before libc answers `open`, `ioctl` and `mmap` by the kernel's own structures (preload/webcam.c). That is
as much as can be said without a camera: how well the drivers of real ones keep to V4L2 is another question.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_kernel_bus import HERE, SYSTEM_PATH, needed

CAMERA = "/dev/video7"
BEGIN = """
import json, sys, time
from threading import Timer
sys.path.insert(0, sys.argv[1])
from webcam import Webcam
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.buses.camera.v4l2 import V4l2Camera
from edgeagent.errors import DeviceFault
from edgeagent.sensors import Context
from edgeagent.sensors.camera import Options, build

SECOND = 1_000_000_000
webcam, clock = Webcam(sys.argv[2]), RealClock()
camera = V4l2Camera("/dev/video7", clock, 320, 240)

def fault(call):
    try:
        return call()
    except DeviceFault as e:
        return type(e).__name__, str(e)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("preload") / "webcam.so"
    compiler = needed("cc", "a C compiler, gcc")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, HERE / "webcam.c", "-ldl"], check=True)
    return library


def told(library: Path, folder: Path, code: str, pixels: str = "MJPG") -> Any:
    """What a program prints, as JSON, that has the camera."""
    environment = {
        "LD_PRELOAD": str(library),
        "EDGEAGENT_CAMERA": CAMERA,
        "EDGEAGENT_CAMERA_SOCKET": str(folder / "camera"),
        "EDGEAGENT_CAMERA_FORMAT": pixels,
        "PATH": SYSTEM_PATH,
    }
    command: list[str | Path] = [sys.executable, "-c", BEGIN + code, HERE, folder / "camera"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_picture_comes_whole_with_the_kernels_number_and_time(library: Path, tmp_path: Path) -> None:
    code = """
camera.open()
none = camera.take(0)
before = time.monotonic_ns() // 1000 * 1000
webcam.click(b"first")
first = camera.take(60 * SECOND)
webcam.click(b"second, longer")
second = camera.take(60 * SECOND)
camera.close()
print(json.dumps([none, first.data.decode(), first.skipped, before <= first.t_mono_ns <= first.t_read_ns,
                  second.data.decode(), second.skipped, fault(lambda: camera.take(0))]))
"""
    none, first, skipped, timed, second, skipped_later, closed = told(library, tmp_path, code)
    assert (none, first, skipped, timed) == (None, "first", 0, True)
    assert (second, skipped_later) == ("second, longer", 0)
    assert closed == ["DeviceFault", "/dev/video7: the camera is not open"]


def test_when_the_buffers_were_full_what_lay_in_them_is_old_and_the_next_picture_is_waited_for(
    library: Path, tmp_path: Path
) -> None:
    code = """
camera.open()
webcam.click(b"first")
camera.take(0)
webcam.click(b"old", 30)
Timer(0.05, webcam.click, [b"fresh"]).start()
fresh = camera.take(60 * SECOND)
webcam.click(b"old", 30)
still_old = camera.take(0)
print(json.dumps([fresh.data.decode(), fresh.skipped, still_old.data.decode()]))
"""
    assert told(library, tmp_path, code) == ["fresh", 30, "old"]


def test_a_webcam_that_is_pulled_is_gone_and_can_be_opened_again(library: Path, tmp_path: Path) -> None:
    code = """
camera.open()
webcam.click(b"first")
camera.take(0)
webcam.unplug()
gone = fault(lambda: camera.take(SECOND))
camera.close()
camera.open()
webcam.click(b"back")
print(json.dumps([gone, camera.take(60 * SECOND).data.decode()]))
"""
    (kind, says), back = told(library, tmp_path, code)
    assert (kind, back) == ("DeviceGone", "back")
    assert says.startswith("/dev/video7: is not there")


def test_raw_yuyv_becomes_a_jpeg_and_half_a_frame_of_it_is_no_picture(library: Path, tmp_path: Path) -> None:
    code = """
from io import BytesIO
from PIL import Image
camera.open()
webcam.click(bytes((145, 54, 145, 34)) * (320 * 240 // 2))  # green: 601's codes for it
picture = Image.open(BytesIO(camera.take(60 * SECOND).data))
webcam.click(bytes(1000))
print(json.dumps([picture.format, picture.size, picture.convert("RGB").getpixel((7, 9)),
                  len(camera.take(60 * SECOND).data)]))
"""
    form, size, green, short = told(library, tmp_path, code, pixels="YUYV")
    assert (form, size, short) == ("JPEG", [320, 240], 1000)
    assert max(abs(found - meant) for found, meant in zip(green, (0, 255, 0), strict=True)) <= 3


def test_a_camera_that_gives_other_raw_pictures_is_refused_with_the_way_out(
    library: Path, tmp_path: Path
) -> None:
    kind, says = told(library, tmp_path, "print(json.dumps(fault(camera.open)))", pixels="pBAA")
    assert kind == "DeviceFault"
    assert "gives SBGGR10P pictures; expected Motion JPEG or YUYV" in says
    assert "address of its snapshots" in says


def test_the_driver_reads_a_webcam_at_its_rate_and_counts_what_it_skips(
    library: Path, tmp_path: Path
) -> None:
    picture = Path(__file__).parents[1] / "testcases/camera_with_one_picture_in_its_folder/pictures/door.jpg"
    code = f"""
picture = open({str(picture)!r}, "rb").read()
sensor = build("front", Options(device="/dev/video7", rate=20.0, size="320x240"), Context(clock, Buses(clock)))
sensor.open()
blocks = []
for clicks in (1, 1, 1):
    webcam.click(picture, clicks)
    while (block := sensor.read()) is None:
        time.sleep(0.001)
    blocks.append(block)
print(json.dumps([[b.values.tolist() for b in blocks], all(b.pictures == (picture,) for b in blocks),
                  sensor.counters()["pictures_skipped"], sensor.counters()["pictures_bad"]]))
"""
    values, whole, skipped, bad = told(library, tmp_path, code)
    assert values == [[[picture.stat().st_size]]] * 3
    assert (whole, skipped, bad) == (True, 0, 0)

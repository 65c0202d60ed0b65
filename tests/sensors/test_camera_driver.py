"""The camera's driver: pictures at a rate beside their sizes, and what is no picture is missing with its reason."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from driving import next_block
from PIL import Image

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.readers import Device
from edgeagent.agent.threads import Inbox
from edgeagent.buses import Buses
from edgeagent.buses.camera import Still
from edgeagent.config.secrets import Secret
from edgeagent.errors import ConfigFault, DeviceDenied, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S, Block
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.camera import Camera, Options, advise, build, layout

START_NS = 7 * NS_PER_S


def jpeg(size: tuple[int, int] = (64, 48)) -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (size[1], size[0], 3), np.uint8)
    out = BytesIO()
    Image.fromarray(noise).save(out, "JPEG")
    return out.getvalue()


def bomb() -> bytes:
    """A BMP of 54 bytes that says it is 40,000 pixels wide and high."""
    side = (40_000).to_bytes(4, "little")
    head = (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little") + (40).to_bytes(4, "little")
    return b"BM" + head + side + side + b"\1\0\x18\0" + bytes(24)


class Shutter:
    """A camera that is told what comes, and how long it takes each."""

    name = "shutter"

    def __init__(self, clock: VirtualClock, took_s: float = 0.0) -> None:
        self.clock, self.took_s = clock, took_s
        self.next: bytes | None = jpeg()
        self.skipped = 0

    def open(self) -> None: ...

    def take(self, wait_ns: int) -> Still | None:
        self.clock.sleep_s(self.took_s if self.next is not None else wait_ns / NS_PER_S)
        if self.next is None:
            return None
        return Still(self.next, self.clock.now_ns(), self.clock.now_ns(), self.skipped)

    def close(self) -> None: ...


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START_NS)


@pytest.fixture
def shutter(clock: VirtualClock) -> Shutter:
    return Shutter(clock)


def driven(shutter: Shutter, rate_hz: float = 5.0) -> Camera:
    made = Camera("front", layout(Options(folder=Path("any"), rate=rate_hz)), shutter.clock, shutter)
    made.open()
    return made


def blocks(sensor: Sensor, clock: VirtualClock, count: int) -> list[Block]:
    return [next_block(sensor, clock) for _ in range(count)]


def test_a_sample_is_the_files_size_with_the_file_beside_it(clock: VirtualClock, shutter: Shutter) -> None:
    first, second = blocks(driven(shutter), clock, 2)
    assert (first.values.tolist(), first.pictures) == ([[len(jpeg())]], (jpeg(),))
    assert int(second.t_mono_ns[0] - first.t_mono_ns[0]) == NS_PER_S // 5


@pytest.mark.parametrize(
    ("what", "data", "says"),
    [
        ("truncated", jpeg()[:-100], "cut short"),
        ("of 0 bytes", b"", "0 bytes"),
        ("a decompression bomb", bomb(), "too large to unpack"),
        ("a web page", b"<html>please log in</html>", "no picture"),
    ],
)
def test_a_picture_that_is_none_is_missing_with_its_reason_and_the_next_one_is_there(
    what: str, data: bytes, says: str, clock: VirtualClock, shutter: Shutter
) -> None:
    del what
    sensor = driven(shutter)
    shutter.next = data
    (bad,) = blocks(sensor, clock, 1)
    assert np.isnan(bad.values).all()
    assert bad.pictures == (b"",)
    assert says in bad.reasons[0]
    shutter.next = jpeg()
    (good,) = blocks(sensor, clock, 1)
    assert (good.pictures, good.reasons, good.lost) == ((jpeg(),), (), 0)
    assert sensor.counters()["pictures_bad"] == 1


def test_ten_pictures_in_a_row_that_are_none_are_a_fault_of_the_camera(
    clock: VirtualClock, shutter: Shutter
) -> None:
    sensor = driven(shutter)
    shutter.next = b"<html>"
    blocks(sensor, clock, 9)
    with pytest.raises(DeviceFault, match=r"shutter: no picture \(6 bytes\); expected JPEG, PNG, BMP"):
        next_block(sensor, clock)


def test_a_camera_that_gives_nothing_for_ten_seconds_is_a_fault(
    clock: VirtualClock, shutter: Shutter
) -> None:
    sensor = driven(shutter)
    blocks(sensor, clock, 1)
    shutter.next = None
    with pytest.raises(DeviceFault, match="no picture for 10 s"):
        next_block(sensor, clock)
    assert clock.now_ns() < START_NS + 11 * NS_PER_S


def test_what_a_slow_camera_misses_is_lost_and_told(clock: VirtualClock, shutter: Shutter) -> None:
    sensor = driven(shutter, rate_hz=10.0)
    shutter.took_s = 0.25
    taken = blocks(sensor, clock, 5)
    assert [b.lost for b in taken[1:]] == [1, 2, 1, 2]
    assert sensor.counters()["deadlines_missed"] == 6
    assert sensor.counters()["true_rate_hz"] == pytest.approx(4.0, rel=0.01)


def test_what_a_fast_camera_drops_at_the_source_is_counted_and_not_lost(
    clock: VirtualClock, shutter: Shutter
) -> None:
    sensor = driven(shutter)
    shutter.skipped = 5
    assert [b.lost for b in blocks(sensor, clock, 3)] == [0, 0, 0]
    assert sensor.counters()["pictures_skipped"] == 15


# --- the config ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "one of device, url and folder"),
        ({"device": "/dev/video0", "url": "http://x/"}, "one of device, url and folder"),
        ({"url": "http://x/", "size": "640x480"}, "size with device only"),
        ({"device": "/dev/video0", "size": "large"}, "width x height"),
        ({"url": "ftp://x/"}, "http://HOST/PATH"),
        ({"url": "http://[::1/x.jpg"}, "http://HOST/PATH"),
        ({"url": "http://x:99999/x.jpg"}, "http://HOST/PATH"),
        ({"url": "http://admin:geheim@x/"}, "user and password as their own keys"),
        ({"url": "http://x/", "user": "admin"}, "user and password, with url"),
        ({"folder": Path("x"), "user": "admin", "password": Secret("clear", "p")}, "with url"),
    ],
)
def test_a_config_that_does_not_say_one_camera_is_refused_and_repeats_no_password(
    keys: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigFault, match=says) as caught:
        Options(**keys)
    assert "geheim" not in str(caught.value)


def test_without_linuxpy_a_webcam_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "linuxpy", None)
    with pytest.raises(ConfigFault, match=r"needs linuxpy.*edgeagent\[v4l2\]"):
        layout(Options(device="/dev/video0"))
    assert layout(Options(folder=Path("x"))).pictures


def test_a_webcam_that_is_named_by_order_of_arrival_is_warned_of() -> None:
    (advice,) = advise(Options(device="/dev/video1"))
    assert advice.key == "device"
    assert "/dev/v4l/by-id/" in advice.text
    assert not list(advise(Options(device="/dev/v4l/by-id/usb-C920-video-index0")))


def test_a_webcam_that_is_not_there_is_gone() -> None:
    sensor = build("front", Options(device="/dev/video99"), Context(RealClock(), Buses(RealClock())))
    with pytest.raises(DeviceGone, match="/dev/video99"):
        sensor.open()


# --- a network camera, really -------------------------------------------------------------------------


class NetworkCamera(BaseHTTPRequestHandler):
    """Wants the login that its server has, if it has one."""

    def do_GET(self) -> None:
        wanted = getattr(self.server, "wanted", None)
        if wanted and self.headers["Authorization"] != wanted:
            self.send_error(401)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(jpeg())))
        self.end_headers()
        self.wfile.write(jpeg())

    def log_message(self, *_: Any) -> None: ...


class Powered:
    """A network camera that can be switched off and on again at the same address."""

    def __init__(self, port: int = 0, wanted: str = "") -> None:
        self.server = HTTPServer(("127.0.0.1", port), NetworkCamera)
        self.server.wanted = wanted  # type: ignore[attr-defined]
        self.port = self.server.server_port
        self._thread = Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/snapshot.jpg"

    def switch_off(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def powered() -> Iterator[list[Powered]]:
    """Those that are switched on; off at the end."""
    on: list[Powered] = []
    yield on
    for one in on:
        with suppress(OSError):
            one.switch_off()


def network_camera(options: Options) -> Sensor:
    clock = RealClock()
    sensor = build("porch", options, Context(clock, Buses(clock)))
    sensor.open()
    return sensor


def read_now(sensor: Sensor) -> Block:
    clock = RealClock()
    while True:
        clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        if block := sensor.read():
            return block


def test_a_network_camera_that_vanishes_is_gone_and_comes_back_with_the_gap_told(
    powered: list[Powered],
) -> None:
    powered.append(Powered())
    url = powered[0].url
    sensor = network_camera(Options(url=url, rate=20))
    before = read_now(sensor)
    assert before.pictures == (jpeg(),)
    powered.pop().switch_off()
    with pytest.raises(DeviceGone, match=f"{url}: does not answer"):
        read_now(sensor)
    sensor.close()
    RealClock().sleep_s(0.2)
    powered.append(Powered(int(url.split(":")[2].split("/")[0])))
    sensor.open()
    after = read_now(sensor)
    assert after.pictures == (jpeg(),)
    assert after.lost >= 3
    assert after.t_mono_ns[0] > before.t_mono_ns[0]
    sensor.close()


def test_the_login_of_a_network_camera_is_a_secret_and_stands_in_no_message(powered: list[Powered]) -> None:
    powered.append(Powered(wanted="Basic YWRtaW46c2VjcmV0"))  # admin:secret
    right = Options(url=powered[0].url, user="admin", password=Secret("clear", "secret"), rate=20)
    sensor = network_camera(right)
    assert read_now(sensor).pictures == (jpeg(),)
    sensor.close()
    wrong = Options(url=powered[0].url, user="admin", password=Secret("clear", "geheim"), rate=20)
    with pytest.raises(DeviceDenied, match="401") as caught:
        network_camera(wrong)
    assert "geheim" not in str(caught.value)


def test_a_network_camera_that_was_never_there_is_gone_and_stays_so_without_a_word_more(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = Options(url="http://127.0.0.1:9/snapshot", rate=20)
    device = Device("porch", build("porch", options, Context(clock, Buses(clock))), clock, Inbox())
    for _ in range(5):
        clock.sleep_s((device.due_ns() - clock.now_ns()) / NS_PER_S)
        device.step()
        assert device.status()["state"] == "gone"
    assert len([line for line in caplog.messages if line.startswith("sensor porch")]) == 1

"""Cameras, and what becomes of pictures that are none."""

from __future__ import annotations

import errno
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.buses.camera import Still
from edgeagent.buses.camera.folder import FolderCamera
from edgeagent.buses.camera.picture import decode, examine, jpeg_of_yuyv
from edgeagent.buses.camera.snapshot import SnapshotCamera
from edgeagent.buses.camera.v4l2 import V4l2Camera
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(colour: tuple[int, int, int] = RED, form: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, form)
    return out.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kB that says it is as large as that."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000), 9)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


# --- raw frames of a webcam ---------------------------------------------------------------------------

BARS = {  # ITU-R BT.601's codes of the saturated colours (Y, Cb, Cr), and what they are
    "white": ((235, 128, 128), (255, 255, 255)),
    "yellow": ((210, 16, 146), (255, 255, 0)),
    "cyan": ((170, 166, 16), (0, 255, 255)),
    "green": ((145, 54, 34), (0, 255, 0)),
    "magenta": ((106, 202, 222), (255, 0, 255)),
    "red": ((81, 90, 240), RED),
    "blue": ((41, 240, 110), BLUE),
    "black": ((16, 128, 128), (0, 0, 0)),
}


def yuyv(code: tuple[int, int, int], width: int = 64, height: int = 48, padding: int = 0) -> bytes:
    y, cb, cr = code
    return (bytes((y, cb, y, cr)) * (width // 2) + bytes(padding)) * height


@pytest.mark.parametrize(("code", "colour"), BARS.values(), ids=BARS)
def test_a_raw_frame_has_the_standards_colours(
    code: tuple[int, int, int], colour: tuple[int, int, int]
) -> None:
    pixels = decode(jpeg_of_yuyv(yuyv(code), 64, 48, 128), 64, 48)
    assert abs(pixels.astype(int) - colour).max() <= 4  # codes are whole numbers, and JPEG rounds again


def test_a_raw_frame_becomes_the_jpeg_that_pillow_makes_of_the_same_picture() -> None:
    """Pillow's YCbCr has the full range: it is brought to the webcam's, and two pixels share a colour."""
    wave = np.sin(np.arange(64) / 30)[None, :] * np.cos(np.arange(48) / 20)[:, None]
    whole = Image.fromarray((np.stack([wave, -wave, wave**2], axis=2) * 110 + 128).astype(np.uint8))
    full = np.asarray(whole.convert("YCbCr")).astype(float)
    lines = np.empty((48, 128), np.uint8)
    lines[:, 0::2] = np.rint(full[..., 0] * 219 / 255 + 16)
    lines[:, 1::4] = np.rint((full[:, ::2, 1] - 128) * 224 / 255 + 128)
    lines[:, 3::4] = np.rint((full[:, ::2, 2] - 128) * 224 / 255 + 128)
    out = BytesIO()
    whole.save(out, "JPEG", quality=90, subsampling="4:2:2")
    ours, pillows = (
        decode(made, 64, 48).astype(int)
        for made in (jpeg_of_yuyv(lines.tobytes(), 64, 48, 128), out.getvalue())
    )
    assert abs(ours - pillows).mean() < 2
    assert abs(ours - pillows).max() <= 10


def test_what_a_driver_puts_behind_each_line_is_no_part_of_the_picture() -> None:
    code, colour = BARS["green"]
    pixels = decode(jpeg_of_yuyv(yuyv(code, padding=32), 64, 48, 160), 64, 48)
    assert abs(pixels.astype(int) - colour).max() <= 4


def test_a_raw_frame_cut_short_is_no_picture() -> None:
    short = jpeg_of_yuyv(yuyv(BARS["red"][0])[:-1], 64, 48, 128)
    with pytest.raises(DeviceFault, match=r"no picture \(6143 bytes\)"):
        examine(short)


# --- pictures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
def test_a_picture_becomes_red_green_blue_of_the_size_asked_for(form: str) -> None:
    pixels = decode(picture(BLUE, form), 32, 32)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert abs(pixels.astype(int) - BLUE).max() <= 2


def test_of_a_wide_picture_the_middle_is_kept_and_nothing_is_stretched() -> None:
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (100, 0, 200, 100))
    out = BytesIO()
    wide.save(out, "PNG")
    pixels = decode(out.getvalue(), 10, 10)
    assert (pixels[:, 1:-1] == BLUE).all()  # at the edges what is beside it shines in


def test_a_grey_or_transparent_picture_has_three_channels_too() -> None:
    for mode in ("L", "RGBA", "P"):
        out = BytesIO()
        Image.new(mode, (16, 16)).save(out, "PNG")
        assert decode(out.getvalue(), 8, 8).shape == (8, 8, 3)


def test_a_picture_of_0_bytes_is_a_fault() -> None:
    with pytest.raises(DeviceFault, match="0 bytes"):
        decode(b"", 8, 8, "porch")
    with pytest.raises(DeviceFault, match="0 bytes"):
        examine(b"")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
def test_a_truncated_picture_is_a_fault_and_never_half_a_picture(form: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (120, 160, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(noise).save(out, form)
    whole = out.getvalue()
    for share in (0.01, 0.3, 0.6, 0.95):
        for look in (partial(decode, width=160, height=120), examine):
            with pytest.raises(DeviceFault, match="picture"):
                look(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("side", [5_000, 12_000, 30_000, 65_000])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(side: int) -> None:
    with pytest.raises(DeviceFault, match="too large to unpack") as caught:
        decode(bomb(side, side), 96, 96, "http://camera/snapshot.jpg")
    with pytest.raises(DeviceFault, match="too large to unpack"):
        examine(bomb(side, side))
    assert caught.value.where == "http://camera/snapshot.jpg"
    assert "16 million" in str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
def test_a_whole_picture_passes_the_look_at_its_head_and_end_padded_or_not(form: str) -> None:
    examine(picture(form=form))
    examine(picture(form=form) + bytes(512))


def test_a_format_that_no_camera_sends_is_no_picture() -> None:
    with pytest.raises(DeviceFault, match="no picture"):
        decode(picture(form="GIF"), 8, 8)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP"])
@given(data=st.data())
def test_damaged_pictures_are_faults_or_pictures_and_nothing_else(form: str, data: st.DataObject) -> None:
    damaged = bytearray(picture(form=form, size=(16, 16)))
    for at in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=8)):
        damaged[at] = data.draw(st.integers(0, 255))
    with suppress(DeviceFault):
        assert decode(bytes(damaged), 8, 8).shape == (8, 8, 3)


# --- a folder -----------------------------------------------------------------------------------------


def test_a_folder_gives_its_pictures_by_name_over_and_over_with_the_clocks_time(tmp_path: Path) -> None:
    for name, colour in (("b.PNG", BLUE), ("a.jpg", RED)):
        (tmp_path / name).write_bytes(picture(colour))
    (tmp_path / "notes.txt").write_text("not one")
    clock = VirtualClock(7 * NS_PER_S)
    folder = FolderCamera(str(tmp_path), clock)
    folder.open()
    taken = [folder.take(0) for _ in range(4)]
    assert [t.data for t in taken if t] == [picture(RED), picture(BLUE)] * 2
    assert taken[0] == Still(picture(RED), 7 * NS_PER_S, 7 * NS_PER_S, skipped=0)


def test_of_a_file_that_no_camera_made_no_more_is_read_than_a_picture_may_have(tmp_path: Path) -> None:
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate(5_000_000_000)
    folder = FolderCamera(str(tmp_path), VirtualClock())
    folder.open()
    taken = folder.take(0)
    assert taken is not None
    assert len(taken.data) < 16_000_000
    with pytest.raises(DeviceFault, match="more than 15 MB"):
        examine(taken.data)


def test_a_folder_that_vanishes_is_gone_and_one_without_pictures_says_what_it_wants(tmp_path: Path) -> None:
    folder = FolderCamera(str(tmp_path / "in"), VirtualClock())
    with pytest.raises(DeviceGone, match="cannot be read"):
        folder.open()
    (tmp_path / "in").mkdir()
    with pytest.raises(DeviceGone, match=r"expected \.jpg"):
        folder.open()
    (tmp_path / "in" / "a.png").write_bytes(picture())
    folder.open()
    assert folder.take(0)
    (tmp_path / "in" / "a.png").unlink()
    (tmp_path / "in").rmdir()
    with pytest.raises(DeviceGone):
        folder.take(0)


# --- a network camera ---------------------------------------------------------------------------------


class NetworkCamera(BaseHTTPRequestHandler):
    """Answers by the path that it is asked for."""

    def do_GET(self) -> None:
        if self.path == "/guarded" and self.headers["Authorization"] != "Basic YWRtaW46c2VjcmV0":
            self.send_error(401)
            return
        if self.path == "/digest":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Digest realm="camera", nonce="1"')
            self.end_headers()
            return
        body = picture(form="JPEG")
        status = 200 if self.path in ("/snapshot", "/guarded", "/cut", "/endless") else 404
        self.send_response(status)
        length = {"/endless": 10**9, "/cut": len(body) * 2}.get(self.path, len(body))
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/endless":
            for _ in range(400):
                self.wfile.write(bytes(65536))

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), NetworkCamera)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers who hang up are expected
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def address(server: HTTPServer, path: str) -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def snapshot(url: str, login: str = "") -> Still | None:
    network = SnapshotCamera(url, RealClock(), login)
    network.open()
    try:
        return network.take(0)
    finally:
        network.close()


def test_a_snapshot_comes_whole_with_the_time_between_question_and_answer(server: HTTPServer) -> None:
    before_ns = RealClock().now_ns()
    still = snapshot(address(server, "/snapshot"))
    assert still is not None
    assert still.data == picture(form="JPEG")
    assert before_ns < still.t_mono_ns < still.t_read_ns


def test_user_and_password_open_a_guarded_camera_and_stand_in_no_fault(server: HTTPServer) -> None:
    assert snapshot(address(server, "/guarded"), "admin:secret") is not None
    with pytest.raises(DeviceDenied, match="401") as caught:
        snapshot(address(server, "/guarded"), "admin:wrong")
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "kind", "what"),
    [
        ("/nothing", DeviceFault, "HTTP 404"),
        ("/digest", DeviceDenied, "login by Digest; expected Basic"),
        ("/cut", DeviceGone, "does not answer"),
        ("/endless", DeviceFault, "more than 15 MB"),
    ],
)
def test_an_answer_that_is_no_picture_is_a_fault(
    path: str, kind: type[DeviceFault], what: str, server: HTTPServer
) -> None:
    with pytest.raises(kind, match=what):
        snapshot(address(server, path))


def test_a_camera_that_vanishes_from_the_network_is_gone_and_found_again(server: HTTPServer) -> None:
    network = SnapshotCamera(address(server, "/snapshot"), RealClock())
    network.open()
    assert network.take(0)
    silent = SnapshotCamera("http://127.0.0.1:9/snapshot", RealClock())
    with pytest.raises(DeviceGone, match=r"does not answer \([^\[]*: Connection refused\)"):
        silent.open()
    assert network.take(0)
    network.close()
    with pytest.raises(DeviceFault, match="not open"):
        network.take(0)


# --- V4L2 ---------------------------------------------------------------------------------------------


def test_a_video_device_that_is_not_there_is_gone_and_no_library_logs_each_look_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(DeviceGone, match=r"/dev/video99: is not there\. Check cable"):
        V4l2Camera("/dev/video99", RealClock(), 640, 480).open()
    assert not caplog.messages


def test_a_device_that_is_no_camera_says_so() -> None:
    with pytest.raises(DeviceFault, match="not a camera"):
        V4l2Camera("/dev/null", RealClock(), 640, 480).open()


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EACCES, DeviceDenied, "usermod -aG video"),
        (errno.EBUSY, DeviceFault, "in use by another process"),
        (errno.ENODEV, DeviceGone, "is not there"),
        (errno.ENOTTY, DeviceFault, "not a camera"),
    ],
)
def test_every_errno_of_a_webcam_has_its_fault_and_cure(
    number: int, kind: type[DeviceFault], says: str
) -> None:
    fault = V4l2Camera("/dev/video99", RealClock(), 640, 480)._fault(OSError(number, os.strerror(number)))
    assert type(fault) is kind
    assert says in str(fault)


def test_a_camera_that_is_not_open_takes_no_picture_and_may_be_closed() -> None:
    closed = V4l2Camera("/dev/video99", RealClock(), 640, 480)
    closed.close()
    with pytest.raises(DeviceFault, match="not open"):
        closed.take(0)

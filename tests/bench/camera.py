"""A camera's picture on its way to the core and to a sample, as its file; raw is Pillow's unpacking of it whole."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bench.agent import scratch
from bench.figure import Figure, times_us
from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.records import NS_PER_S, Channel, Layout
from edgeagent.sensors import Context
from edgeagent.sensors.camera import Options, build
from edgeagent.windows import Ring, Windows

WIDTH, HEIGHT, RATE_HZ = 640, 480, 5
CAPTURE_S = 10.0
PICTURES = 200


def measure() -> Iterator[Figure]:
    data = _jpeg()
    with scratch() as folder:
        (folder / "one.jpg").write_bytes(data)
        taken_us, held = _taken(folder)
    unpacked_us = sorted(times_us(lambda: _unpacked(data), PICTURES // 4))[PICTURES // 8]
    yield Figure(
        f"camera, {WIDTH}x{HEIGHT}: a picture read, laid down, cut",
        f"{taken_us / 1000:.3f} ms",
        f"{unpacked_us / 1000:.2f} ms (Pillow)",
        f"{taken_us / unpacked_us:.2f}",
    )
    yield Figure(
        f"camera at {RATE_HZ} Hz: memory for a capture of {CAPTURE_S:g} s",
        f"{held / 1e6:.1f} MB",
        f"{round(CAPTURE_S * RATE_HZ) * WIDTH * HEIGHT * 3 / 1e6:.0f} MB (pixels)",
        f"{held / (round(CAPTURE_S * RATE_HZ) * WIDTH * HEIGHT * 3):.2f}",
    )


def _taken(folder: Path) -> tuple[float, int]:
    """How long a picture takes, median in µs, and what the ring holds of them at the end."""
    clock = VirtualClock()
    camera = build("front", Options(folder=folder, rate=RATE_HZ), Context(clock, Buses(clock)))
    assert camera.layout is not None
    pixel = tuple(Channel(colour, "1") for colour in ("red", "green", "blue"))
    ring = Ring(camera.layout, CAPTURE_S)
    windows = Windows("p", ring, Layout(1.0, pixel, shape=(96, 96)), 1.0, 1 / RATE_HZ)

    def take() -> None:
        block = camera.read()
        assert block is not None
        ring.add(block)
        assert all(window.pictures for window in windows.cut(block.t_read_ns))

    camera.open()
    times = []
    for _ in range(PICTURES):
        clock.sleep_s(max(camera.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        times += times_us(take, 1)
    held = sum(
        len(picture)
        for _, picture in ring.pictures(clock.now_ns() - round(CAPTURE_S * NS_PER_S), clock.now_ns())
    )
    return sorted(times)[PICTURES // 2], held


def _unpacked(data: bytes) -> object:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


def _jpeg() -> bytes:
    """A slope of colours with a sensor's noise: noise is what makes a JPEG large."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    slope = np.stack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) % 256], -1)
    noisy = slope + np.random.default_rng(1).normal(0, 12, slope.shape)
    out = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()

"""An hour of the demo's pipeline, replayed: how many times faster than it happened, and whether memory grows.

Raw is what it costs to read the recording and to run the bare model on its windows.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.agent import RECORDING, scratch, write_config
from bench.figure import Figure
from bench.pss import alone_mb
from edgeagent.agent import compose
from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.replay import Replay
from edgeagent.config.load import load, require
from edgeagent.inference.inline import Inline
from edgeagent.recording import BlockEntry, Header, Recording, entry_block, write_series
from edgeagent.records import NS_PER_S

HOUR_S = 3600
WARM_S = 360
MIN_SPEED, MAX_GROWTH = 400, 0.02


def measure() -> Iterator[Figure]:
    with scratch() as folder:
        recording = _an_hour(folder / "hour")
        path = write_config(folder)
        config = require(load(path))
        bundles = compose.bundles(config, path)
        engines = {key: Inline(bundle, "cpu", VirtualClock()) for key, bundle in bundles.items()}
        engines["activity"].start()
        replay = Replay(recording, compose.core(config, bundles, {}, "0" * 12), engines)
        start, warm_mb = time.perf_counter(), 0.0
        for _ in replay.drafts():
            if not warm_mb and replay.now_ns >= WARM_S * NS_PER_S:
                warm_mb = _memory_mb()
        replay_s = time.perf_counter() - start
        end_mb = _memory_mb()
        raw_s = _raw_s(recording, engines["activity"])
    yield Figure(
        "replay of an hour of the demo's pipeline",
        f"{replay_s:.2f} s",
        f"{raw_s:.2f} s",
        f"{replay_s / raw_s:.1f}",
    )
    speed = HOUR_S / replay_s
    yield Figure(
        "  times real time",
        f"{speed:.0f}",
        f"{HOUR_S / raw_s:.0f}",
        "",
        f">= {MIN_SPEED}",
        speed >= MIN_SPEED,
    )
    growth = end_mb / warm_mb - 1
    yield Figure(
        f"memory after the hour, raw: after {WARM_S // 60} min",
        f"{end_mb:.1f} MB",
        f"{warm_mb:.1f} MB",
        f"{growth:+.1%}",
        f"within {MAX_GROWTH:.0%}",
        abs(growth) <= MAX_GROWTH,
    )


def _an_hour(folder: Path) -> Recording:
    """The held-out recording, round and round."""
    once = Recording(RECORDING)
    layout = once.header.sensors["imu"]
    _, values = once.series("imu")
    samples = round(HOUR_S * layout.rate_hz)
    rounds = -(-samples // len(values))
    write_series(folder, Header(1, {"imu": layout}), "imu", np.tile(values, (rounds, 1))[:samples])
    return Recording(folder)


def _raw_s(recording: Recording, engine: Inline) -> float:
    """Read every block, and run the model once a second on nothing in particular."""
    layout = recording.header.sensors["imu"]
    window = np.zeros((engine.bundle.samples, len(engine.bundle.layout.channels)), dtype=np.float32)
    start = time.perf_counter()
    for entry in recording.entries():
        if isinstance(entry, BlockEntry):
            entry_block(entry, layout)
            engine.predict(window)
    return time.perf_counter() - start


def _memory_mb() -> float:
    gc.collect()
    return alone_mb([os.getpid()])

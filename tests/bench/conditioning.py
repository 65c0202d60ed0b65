"""What filters cost a block, and what a window over two sensors costs beside one over one. Nothing was promised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from bench.figure import Figure, times_us
from edgeagent.conditioning.chain import Conditioner, Conditions
from edgeagent.config.load import load, require
from edgeagent.joined import JoinedWindows, join, keep_s
from edgeagent.records import NS_PER_S, Block, Channel, Layout
from edgeagent.windows import Ring, Windows

CHANNELS, RATE_HZ, ROWS, BLOCKS = 6, 100.0, 5, 2000
LENGTH_S, HOP_S, WINDOWS = 2.0, 1.0, 60
FILTERS = ("multiply: 1.02", "median: 5", "valid: {min: -100, max: 100}", "ema: 0.2", "stuck: 10 min")
LAYOUT = Layout(RATE_HZ, tuple(Channel(f"c{i}", "A") for i in range(CHANNELS)))


def measure() -> Iterator[Figure]:
    for count in (0, 1, 3, 5):
        block_us = _filtered_us(FILTERS[:count])
        yield Figure(
            f"{count} filters on each of {CHANNELS} channels at 100 Hz",
            f"{block_us:.0f} us a block",
            "",
            "",
            f"{block_us * RATE_HZ / ROWS / 1e4:.2f} % of a core",
        )
    one_us, two_us = _window_us(joined=False), _window_us(joined=True)
    yield Figure(
        "a window of 2 s over two sensors", f"{two_us:.0f} us", f"{one_us:.0f} us", f"{two_us / one_us:.1f}"
    )


def _filtered_us(filters: tuple[str, ...]) -> float:
    conditioner = Conditioner(_conditions(filters), LAYOUT)
    blocks = iter([_block("s", k) for k in range(BLOCKS)])
    return median(times_us(lambda: conditioner.block(next(blocks)), BLOCKS))


def _conditions(filters: tuple[str, ...]) -> Conditions:
    chain = ", ".join(f"{{{text}}}" for text in filters)
    channels = "".join(f"      c{i}: [{chain}]\n" for i in range(CHANNELS))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "edgeagent.yaml"
        named = ", ".join(f"c{i}: A" for i in range(CHANNELS))
        sensor = f"    driver: sine\n    channels: {{{named}}}\n    condition:\n{channels}"
        file.write_text(f"device: {{id: d}}\nsensors:\n  s:\n{sensor}")
        return require(load(file)).sensors["s"].condition


def _block(sensor: str, number: int, rows: int = ROWS) -> Block:
    at = np.arange(number * rows, (number + 1) * rows)
    t_ns = np.rint(at * NS_PER_S / RATE_HZ).astype(np.int64)
    values = np.sin(at[:, None] / 9.0 + np.arange(CHANNELS)).astype(np.float32)
    return Block(sensor, number, t_ns, values, int(t_ns[-1]))


def _window_us(*, joined: bool) -> float:
    """Of laying down a hop's samples and cutting the window that they complete."""
    rings = {name: Ring(LAYOUT, keep_s(LENGTH_S)) for name in ("a", "b")}
    windows: JoinedWindows | Windows
    if joined:
        joining = join(("a", "b"), dict.fromkeys(rings, LAYOUT), None, LENGTH_S)
        windows = JoinedWindows("p", rings, joining, LENGTH_S, HOP_S)
    else:
        windows = Windows("p", rings["a"], LAYOUT, LENGTH_S, HOP_S)
    hops = iter(range(WINDOWS))

    def hop() -> None:
        number = next(hops)
        for name in rings if joined else ("a",):
            rings[name].add(_block(name, number, round(HOP_S * RATE_HZ)))
        list(windows.cut(0))

    return median(times_us(hop, WINDOWS))

"""A recording holds what the device gave, and a replay conditions it the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from edgeagent.agent import compose
from edgeagent.agent.fit import check
from edgeagent.agent.replay import Journal, Replay
from edgeagent.agent.threads import Announced, Message
from edgeagent.config.load import require
from edgeagent.config.schema import Config
from edgeagent.recording import BlockEntry, Recording
from edgeagent.records import NS_PER_S, Block, Channel, Draft, Layout

LAYOUTS = {
    "press": Layout(50.0, (Channel("current", "A", 0.01),)),
    "oil": Layout(10.0, (Channel("temperature", "degC", 0.5),)),
}
CONFIG = """\
device: {id: d}
sensors:
  press:
    driver: sine
    rate: 50 Hz
    channels: {current: A}
    condition: {current: [{median: 3}, {ema: 0.3}, {delta: 0.05}]}
  oil:
    driver: sine
    rate: 10 Hz
    channels: {temperature: degC}
    condition: {temperature: [{valid: {max: 90}}, {stuck: 1 s}, {unit: degF}, {moving_average: 4}]}
pipelines: {both: {input: [press, oil], window: {length: 1 s}}}
rules: {hot: {when: oil.temperature > 120 or press.current > 2.5, do: [event: "{oil.temperature:.3f} F"]}}
sampling: {policies: {half: {uniform: 0.5}}, budget: {per_day: 1 GB}}
"""


def config(folder: Path) -> Config:
    path = folder / "agent.yaml"
    path.write_text(CONFIG)
    return require(check(path))


def messages() -> Iterator[tuple[Message, int]]:
    """What two readers hand to the core in a minute."""
    random = np.random.default_rng(5)
    for name, layout in LAYOUTS.items():
        yield Announced(name, layout), 0
    for second in range(60):
        for name, layout in LAYOUTS.items():
            n = int(layout.rate_hz)
            t_ns = second * NS_PER_S + np.arange(n) * (NS_PER_S // n)
            lsb = layout.channels[0].lsb or 0.0
            counts = random.integers(100, 200, (n, 1)) if second % 7 else np.full((n, 1), 150)
            yield Block(name, second, t_ns, (counts * lsb).astype(np.float32), int(t_ns[-1])), int(t_ns[-1])


def test_a_replay_conditions_to_the_same_bits(tmp_path: Path) -> None:
    core = compose.core(config(tmp_path), {}, {}, "0" * 12)
    journal = Journal(tmp_path / "journal", "ab" * 32)
    live: list[Draft] = []
    for message, now_ns in messages():
        journal.note(message, now_ns)
        match message:
            case Announced(sensor, layout):
                live += core.layout(sensor, layout, now_ns).drafts
            case Block():
                live += core.block(message, now_ns).drafts
    live += core.end(now_ns)
    journal.close()
    fresh = compose.core(config(tmp_path), {}, {}, "0" * 12)
    again = list(Replay(Recording(tmp_path / "journal"), fresh, {}).drafts())
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(live)
    assert {draft.kind for draft in live} == {"event", "sample", "gap"}
    blocks = [e for e in Recording(tmp_path / "journal").entries() if isinstance(e, BlockEntry)]
    assert {block.raw.encoding for block in blocks} == {"int16"}, (
        "the device's counts, not what the filters made"
    )

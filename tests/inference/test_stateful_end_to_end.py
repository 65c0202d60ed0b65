"""A streaming model in the real agent: each pipeline that asks it has a stream of its own."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from agents import Site, running
from test_stateful_models import summing_bundle

CONFIG = """\
sensors:
  ones: {driver: random, rate: 10 Hz, mean: 1, deviation: 0, channels: {x: V, y: V}}
  fives: {driver: random, rate: 10 Hz, mean: 5, deviation: 0, channels: {x: V, y: V}}
models: {sums: {bundle: ./sums}}
pipelines:
  by_one: {input: ones, model: sums, deadline: 20 s}
  by_five: {input: fives, model: sums, deadline: 20 s}
inference: {deadline: 30 s}
"""


def test_two_pipelines_that_share_a_model_each_add_up_their_own_windows(tmp_path: Path) -> None:
    """After a window that was lost, as on a busy machine, the sum begins anew."""
    site = Site(tmp_path)
    (tmp_path / "sums").mkdir()
    summing_bundle(tmp_path / "sums")
    bundle = tmp_path / "sums" / "bundle.yaml"
    quicker = {"rate: 1 Hz": "rate: 10 Hz", "window: 1 s": "window: 0.1 s", "hop: 1 s": "hop: 0.1 s"}
    text = bundle.read_text()
    for slow, quick in quicker.items():
        text = text.replace(slow, quick)
    bundle.write_text(text)
    site.write(CONFIG)
    with running(site) as agent:
        agent.until(lambda s: all(p["windows"] - p["unpredicted"] > 20 for p in s["pipelines"].values()))
        agent.stop()
    for pipeline, each in (("by_one", 1), ("by_five", 5)):
        told = [body for body in site.bodies("prediction") if body["pipeline"] == pipeline]
        sums = {body["window_seq"]: body["embedding"][0] for body in told if body["skipped"] is None}
        assert sums[min(sums)] == each
        assert max(sums.values()) > 3 * each
        for (before, total), (seq, after) in pairwise(sorted(sums.items())):
            assert after == (total + each if seq == before + 1 else each)

"""The anomaly bundle is what its card says, on the core install alone: no TensorFlow, no training data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.model_bench import labelled_windows
from edgeagent.inference import Engine
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.calibration import threshold_of
from edgeagent.inference.golden import load_golden
from edgeagent.inference.inline import Inline
from edgeagent.inference.thresholds import find_threshold
from edgeagent.recording import BlockEntry, Recording
from edgeagent.records import Float32Array

FOLDER = Path(__file__).parents[2] / "models" / "motion_anomaly"
KEYS: dict[str, Any] = YAML(typ="safe").load((FOLDER / "bundle.yaml").read_text())
BUNDLE = load_bundle(FOLDER)
WINDOWS = list(labelled_windows(BUNDLE))


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Inline(BUNDLE, "auto", VirtualClock())
    engine.start()
    yield engine
    engine.close()


def errors(engine: Engine, windows: list[Float32Array]) -> Float32Array:
    return np.array([engine.predict(window).scores[0] for window in windows], np.float32)


def of(label: str) -> list[Float32Array]:
    return [window for window, its in WINDOWS if its == label]


def test_it_is_as_small_as_its_card_says_and_int8_costs_nothing() -> None:
    metrics, card = KEYS["metrics"], (FOLDER / "README.md").read_text()
    assert BUNDLE.variants[0].file.stat().st_size == metrics["size_bytes"] < 20_000
    assert f"{metrics['size_bytes']} bytes" in card
    assert abs(metrics["auc_int8"] - metrics["auc_float"]) < 0.005
    assert metrics["auc_int8"] > metrics["auc_energy"] + 0.1
    for name in ("auc_float", "auc_int8", "auc_energy"):
        assert f"{metrics[name]:.3f}" in card, name
    for name in ("false_alarms", "found", "accuracy_recording"):
        assert f"{metrics[name]:.1%}" in card, name
    assert f"{threshold_of(BUNDLE):g}" in card


def test_nobody_held_out_was_trained_on_and_the_recording_is_of_one_of_them() -> None:
    subjects = KEYS["data"]["subjects"]
    assert set(subjects["training"]).isdisjoint(subjects["held_out"])
    assert "subject 8" in Recording(FOLDER / "recording").header.source
    assert 8 in subjects["held_out"]


def test_the_agents_own_code_gives_the_golden_errors(engine: Engine) -> None:
    golden = load_golden(BUNDLE)
    found = errors(engine, list(golden.inputs))
    np.testing.assert_allclose(found, golden.outputs[:, 0], atol=BUNDLE.golden.tolerance)
    assert (found > threshold_of(BUNDLE)).any()
    assert (found <= threshold_of(BUNDLE)).any()


def test_the_golden_errors_find_a_scaling_that_is_not_the_models() -> None:
    golden = load_golden(BUNDLE)
    wrong = KEYS["input"]["scaling"]["std"][::-1]
    prepared = [(BUNDLE.chain(one), BUNDLE.chain(one) * BUNDLE.scaling.std / wrong) for one in golden.inputs]
    off = [float(np.abs(right - other).max()) for right, other in prepared]
    assert min(off) > BUNDLE.golden.tolerance


def test_it_is_as_right_on_the_recording_as_the_bundle_claims(engine: Engine) -> None:
    right = [BUNDLE.task.read(engine.predict(window).scores).label == label for window, label in WINDOWS]
    # A runtime's kernels may round one or two windows at the edge the other way.
    assert np.mean(right) == pytest.approx(KEYS["metrics"]["accuracy_recording"], abs=0.01)


def test_a_threshold_of_the_persons_own_finds_more_of_what_is_unusual(engine: Engine) -> None:
    normal, unusual = errors(engine, of("normal")), errors(engine, of("anomaly"))
    found = find_threshold(normal.tolist(), 95, threshold_of(BUNDLE))
    assert (unusual > found.threshold).mean() > (unusual > threshold_of(BUNDLE)).mean()
    assert found.alarms <= 0.06


def test_it_is_blind_to_a_stuck_axis_and_to_a_sensor_that_lies_still_as_its_card_says(engine: Engine) -> None:
    def alarms(windows: list[Float32Array]) -> float:
        return float((errors(engine, windows) > threshold_of(BUNDLE)).mean())

    normal = of("normal")
    for axis in range(6):
        held = [np.where(np.arange(6) == axis, window[0], window).astype(np.float32) for window in normal]
        assert alarms(held) < 0.25, axis
    assert alarms([np.tile([0, 9.80665, 0, 0, 0, 0], (100, 1)).astype(np.float32)]) == 0
    assert "blind to a stuck axis" in (FOLDER / "README.md").read_text()


def test_the_recording_is_small_and_exact_counts_of_an_mpu6050() -> None:
    recording = Recording(FOLDER / "recording")
    assert {e.raw.encoding for e in recording.entries() if isinstance(e, BlockEntry)} == {"int16"}
    assert sum(file.stat().st_size for file in recording.folder.iterdir()) < 250_000
    assert "BSD-3-Clause" in recording.header.licence


def test_the_baseline_covers_the_bundles_channels_and_the_errors() -> None:
    baseline = json.loads((FOLDER / KEYS["baseline"]).read_text())
    assert list(baseline["inputs"]) == [channel.name for channel in BUNDLE.layout.channels]
    assert np.all(np.diff(baseline["errors"]["deciles"]) > 0)

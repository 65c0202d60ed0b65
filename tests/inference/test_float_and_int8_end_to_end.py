"""`edgeagent model bench` says what quantizing a model has cost and gained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny import classifier, float_classifier, write_bundle

from edgeagent.cli import OK, main
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.engine import signature
from edgeagent.inference.tflite import TfliteModel, find_runtime
from edgeagent.recording import SCHEMA, Header, Label, write_series
from edgeagent.records import Float32Array

BENCH = ("--beside", "float.tflite", "--calls", "10", "--threads", "1")
_US = {"u": 1, "m": 1000}
SENTENCE = re.compile(
    r"model_0\.tflite against float\.tflite, 1 thread: "
    r"([\d.]+) times as quick, ([\d.]+) times smaller, ([+-][\d.]+) points of accuracy"
)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """The int8 classifier with data held out, labelled by the float one, which lies beside the bundle."""
    monkeypatch.chdir(tmp_path)
    Path("float.tflite").write_bytes(float_classifier())
    bundle = write_bundle(Path("mine"))
    values = np.random.default_rng(4).normal(10.0, 4.0, (400, 4, 3)).astype(np.float32)
    labels = [Label(one, i * 10**9, (i + 1) * 10**9) for i, one in enumerate(labelled(bundle, values))]
    header = Header(SCHEMA, {"imu": bundle.layout}, tuple(labels))
    write_series(bundle.folder / "recording", header, "imu", values.reshape(-1, 3))
    return bundle


def labelled(bundle: Bundle, windows: Float32Array) -> list[str]:
    """What the float model says of each."""
    model = TfliteModel(find_runtime(), float_classifier(), signature(bundle))
    return [str(bundle.task.read(model.predict(window).scores.tolist()).label) for window in windows]


def test_a_float_model_beside_the_bundle_is_measured_as_the_int8_one_is(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "bench", "mine", *BENCH, "--json"]) == OK
    report = json.loads(capsys.readouterr().out)
    small, large = report["figures"]
    assert [one["quantization"] for one in (small, large)] == ["int8", "float32"]
    assert [one["size_bytes"] for one in (small, large)] == [len(classifier()), len(float_classifier())]
    for one in (small, large):
        assert all(one[way]["p50"] > 0 for way in ("raw", "inline", "process"))
        assert one["windows"] == 400
    assert small["golden_off"] == 0 < large["golden_off"] < bundle.golden.tolerance
    assert 0.9 < small["accuracy"] < large["accuracy"] == 1.0
    assert report["recommendation"]["variant"] == "model_0.tflite"


def test_the_two_are_compared_in_a_sentence_by_the_figures_of_the_table(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "bench", "mine", *BENCH]) == OK
    out = capsys.readouterr().out
    told = SENTENCE.search(out)
    assert told, out
    quick, smaller, points = map(float, told.groups())
    small_us, large_us = (
        float(p50) * _US[unit] for p50, unit in re.findall(r"process +([\d.]+) ([um])s", out)
    )
    assert quick == pytest.approx(large_us / small_us, rel=0.02, abs=0.02)
    assert smaller == round(len(float_classifier()) / len(classifier()), 1)
    small_right, large_right = map(float, re.findall(r"right ([\d.]+)% of 400 windows", out))
    assert points == pytest.approx(small_right - large_right, abs=0.11)
    assert points < 0

"""What a model gives, and what it keeps, decide what rules and pipelines may say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent.agent.fit import check, load_model
from edgeagent.config.load import require
from edgeagent.inference.bundle import load_bundle, own_bundles
from edgeagent.inference.calibration import calibration_file, store_calibration
from edgeagent.inference.thresholds import find_threshold

DEVICE = "device: {id: press-07}\nsensors: {imu: {driver: mpu6050, bus: i2c-1, rate: 50 Hz}}\n"
FLOW = "values: [{name: flow, unit: L/min}]"
TWO = "values: [{name: east, unit: m}, {name: north, unit: m}]"


def config(tmp_path: Path, task: str, output: str, rest: str, keeps: str = "") -> Path:
    """A config over the activity bundle, made to be of another task; `check` opens no model."""
    folder = tmp_path / "models" / "other"
    folder.mkdir(parents=True)
    text = (own_bundles() / "activity" / "bundle.yaml").read_text()
    text = text.replace("task: classification", f"task: {task}\n{keeps}")
    text = re.sub(r"output:\n(  .*\n)+", f"output: {{{output}}}\n", text)
    (folder / "bundle.yaml").write_text(text)
    for name in ("activity_int8.tflite", "golden.npz"):
        (folder / name).touch()
    path = tmp_path / "agent.yaml"
    path.write_text(f"{DEVICE}state: {tmp_path}/state\nmodels: {{other: {{bundle: other}}}}\n{rest}")
    return path


def said(path: Path) -> list[str]:
    return [str(f).removeprefix(f"{path}:") for f in check(path).findings]


def ruled(when: str) -> str:
    return f"pipelines: {{pipe: {{input: imu, model: other}}}}\nrules: {{r: {{when: {when}}}}}\n"


@pytest.mark.parametrize(
    ("task", "output", "when"),
    [
        ("regression", FLOW, "pipe.value > 3 and pipe.flow < 5"),
        ("regression", TWO, "pipe.east > pipe.north"),
        ("anomaly", "threshold: 0.5", "pipe.label == 'anomaly' or pipe.anomaly > 2"),
    ],
)
def test_a_rule_may_name_what_the_task_gives(tmp_path: Path, task: str, output: str, when: str) -> None:
    assert said(config(tmp_path, task, output, ruled(when))) == []


@pytest.mark.parametrize(
    ("task", "output", "when", "wrong"),
    [
        ("regression", FLOW, "pipe.label == 'x'", "pipe.label"),
        ("regression", TWO, "pipe.value > 1", "pipe.value"),
        ("anomaly", "threshold: 0.5", "pipe.score > 0.5", "pipe.score"),
        ("embedding", "size: 8", "pipe.label == 'x'", "pipe.label"),
    ],
)
def test_a_rule_that_names_what_another_task_gives_is_told(
    tmp_path: Path, task: str, output: str, when: str, wrong: str
) -> None:
    (fault,) = said(config(tmp_path, task, output, ruled(when)))
    assert f"nothing is called {wrong}" in fault


PIPE = "pipelines: {pipe: {input: imu, model: other, %s}}\n"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("window: {hop: 1 s}", ""),
        (
            "window: {hop: 2 s}",
            "pipelines.pipe.window.hop: activity 1.0.0 keeps a state from window to window",
        ),
        ("max_rate: 1 Hz", "pipelines.pipe.max_rate: activity 1.0.0 keeps a state"),
    ],
)
def test_a_model_with_a_state_gets_every_window(tmp_path: Path, more: str, says: str) -> None:
    keeps = "state: [{input: a, output: b, size: 3}]"
    found = said(config(tmp_path, "embedding", "size: 8", PIPE % more, keeps))
    assert [says in line for line in found] == ([True] if says else [])


def test_variables_are_for_one_pipeline(tmp_path: Path) -> None:
    two = "pipelines: {one: {input: imu, model: other}, two: {input: imu, model: other}}\n"
    (fault,) = said(config(tmp_path, "embedding", "size: 8", two, "variables: on"))
    assert "pipelines.two.model: activity 1.0.0 keeps variables, which one has already" in fault


def threshold(path: Path) -> float:
    loaded = require(check(path))
    bundle = load_model(loaded.models["other"], loaded, path)
    found: float = bundle.task.read([0.0]).threshold or 0.0
    return found


def test_a_threshold_from_this_device_goes_before_the_bundles_if_it_is_of_the_same_version(
    tmp_path: Path,
) -> None:
    path = config(tmp_path, "anomaly", "threshold: 0.5", ruled("pipe.anomaly > 2"))
    assert threshold(path) == 0.5
    bundle = load_bundle(tmp_path / "models" / "other")
    folder = tmp_path / "state" / "calibration"
    folder.parent.mkdir()
    found = find_threshold([0.125] * 600, 99, 0.5)
    store_calibration(folder, bundle, found, "a test", None)
    assert threshold(path) == 0.125
    file = calibration_file(folder, bundle)
    file.write_text(file.read_text().replace('"version": "1.0.0"', '"version": "0.9.0"'))
    assert threshold(path) == 0.5


@pytest.mark.parametrize("text", ["", '{"version": "1.0.0", "threshold": -1, "windows": 3}', "[]"])
def test_a_calibration_that_cannot_be_used_is_told_and_stops_no_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = config(tmp_path, "anomaly", "threshold: 0.5", ruled("pipe.anomaly > 2"))
    file = tmp_path / "state" / "calibration" / "activity-1.0.0.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert threshold(path) == 0.5
    assert "the calibration cannot be read" in caplog.text

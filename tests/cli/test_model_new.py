"""`edgeagent model new`: whatever a .tflite file takes and gives, a bundle around it that passes its check."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli import FAULTS, OK, USAGE, main
from edgeagent.inference.bundle import Bundle, load_bundle, own_bundles
from edgeagent.inference.draft import VECTORS
from edgeagent.inference.golden import load_golden
from edgeagent.inference.tasks.anomaly import Anomaly
from edgeagent.records import Channel


@pytest.fixture
def activity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped bundle; the current folder is empty but for that."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(own_bundles() / "activity", tmp_path / "mine")


SIX = "a:m/s2, b:m/s2, c:m/s2, d:rad/s, e:rad/s, f:rad/s"
SEVEN = "1, 2, 3, 4, 5, 6, 7"
NEW = {"--channels": SIX, "--rate": "50 Hz", "--labels": SEVEN, "--licence": "MIT"}


def new(**changed: str) -> list[str]:
    """`model new` on the model of the bundle, all that must be known given, but for what is changed."""
    options = NEW | {f"--{key}": value for key, value in changed.items()}
    given = [word for option in options.items() for word in option]
    return ["model", "new", "mine/activity_int8.tflite", *given]


def test_new_makes_a_bundle_that_passes_check(activity: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(new(name="mine-too", mean="0, 1, 2, 3, 4, 5", std="1, 2, 3, 4, 5, 6", hop="500 ms")) == OK
    assert "100 samples of 6 channels in, 7 numbers out" in capsys.readouterr().out
    assert main(["model", "check", "mine-too"]) == OK
    bundle = load_bundle(Path("models/mine-too"))
    assert (bundle.window_s, bundle.hop_s, bundle.task.names[6]) == (2.0, 0.5, "7")
    assert (bundle.scaling.mean[5], bundle.scaling.std[5]) == (5.0, 6.0)
    assert bundle.layout.channels[3] == Channel("d", "rad/s")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"channels": "a:m/s2"}, "--channels: there are 1; expected 6, as the model has it"),
        ({"channels": SIX.replace(":m/s2", "")}, "--channels: one without a unit"),
        ({"channels": SIX.replace("b:", "a:")}, "input.channels: none, or one twice"),
        ({"labels": "one, two"}, "--labels: there are 2; expected 7"),
        ({"mean": "0, 1"}, "--mean: there are 2; expected 6"),
        ({"std": "one"}, "--std: not all numbers"),
        ({"std": "1, 1, 1, 0, 1, 1"}, "std: not all above 0"),
        ({"rate": "50"}, "no unit"),
        ({"scores": "odds"}, "--scores: 'odds'; expected probabilities or logits"),
        (
            {"threshold": "1"},
            "--threshold: this does not belong to such a model; expected --name, --channels",
        ),
        ({"resize": "crop"}, "--resize: this does not belong to such a model"),
        ({"name": "../mine"}, "'../mine' cannot be in the name of a file"),
    ],
)
def test_new_says_which_answer_does_not_fit_and_leaves_nothing_behind(
    activity: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], says: str
) -> None:
    assert main(new(**changed)) == FAULTS
    assert says in capsys.readouterr().err
    assert list(Path().glob("models/*")) == []


def test_new_does_not_write_over_a_bundle_and_refuses_what_is_no_model(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(new(name="once")) == OK
    assert main(new(name="once")) == FAULTS
    assert "there is a once already" in capsys.readouterr().err
    assert main(["model", "new", "absent.tflite"]) == FAULTS
    assert "absent.tflite: it cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (
            "empty.tflite",
            "empty.tflite: it is no TFLite model; expected a .tflite file. Convert it: TensorFlow",
        ),
        ("model.mlmodel", "model.mlmodel: not a model that runs here; .* Core ML is Apple's alone"),
        ("model.pt", r"model.pt: not a model that runs here; .*torch.onnx.export\(...\)"),
        ("model.onnx", "model.onnx: an .onnx file; .*`edgeagent model schema` has its keys"),
        ("saved", r"saved: not a model that runs here; .*from_saved_model\(FOLDER\)"),
    ],
)
def test_what_is_no_tflite_file_is_told_its_way_here_by_new_and_where_a_bundle_is_wanted(
    activity: Path, capsys: pytest.CaptureFixture[str], file: str, says: str
) -> None:
    Path("saved").mkdir()
    for name in ("empty.tflite", "model.mlmodel", "model.pt", "model.onnx", "saved/saved_model.pb"):
        Path(name).touch()
    assert main(["model", "new", file]) == FAULTS
    assert re.search(says, capsys.readouterr().err)
    assert main(["model", "check", f"./{file}"]) == FAULTS
    told = capsys.readouterr().err
    assert f"{file}: no bundle.yaml in it; expected a bundle's folder." in told
    assert "edgeagent model" in told


def test_new_says_what_to_give_where_nobody_can_be_asked(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "new", "mine/activity_int8.tflite", "--rate", "50 Hz"]) == USAGE
    assert "give --channels, --labels, --licence" in capsys.readouterr().err


def test_new_asks_a_person_for_what_it_cannot_know(activity: Path) -> None:
    ours, theirs = os.openpty()
    answers = ["", "asked", SIX, SEVEN, "", "MIT", "", "", ""]
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent", "model", "new", "mine/activity_int8.tflite", "--rate", "50 Hz"],
        stdin=theirs,
        capture_output=True,
        text=True,
        check=True,
    )
    os.close(ours)
    os.close(theirs)
    assert "6 channels as name:unit, in the model's order" in done.stdout
    assert "samples a second" not in done.stdout
    assert (
        "what the output means (classification, regression, anomaly, embedding) [classification]"
        in done.stdout
    )
    assert "probabilities or logits [probabilities]" in done.stdout, "for there is a softmax"
    assert load_bundle(Path("models/asked")).hop_s == 1.0


def made(model: Path, *options: str) -> Bundle:
    """The bundle that is made of a model by these options; its golden vectors hold."""
    assert main(["model", "new", str(model), "--name", "made", "--licence", "MIT", *options]) == OK
    assert main(["model", "check", "made"]) == OK
    bundle = load_bundle(Path("models/made"))
    assert len(load_golden(bundle).inputs) == VECTORS
    return bundle


def test_new_makes_a_regression_of_a_model_whose_values_are_named(activity: Path) -> None:
    names = [f"v{n}" for n in range(7)]
    values = ", ".join(f"{name}:bar" for name in names)
    bundle = made(activity / "activity_int8.tflite", "--channels", SIX, "--rate", "50 Hz", "--values", values)
    assert (bundle.task.names, bundle.task.facts) == (tuple(names), tuple(names))
    assert 0 < bundle.golden.tolerance <= 0.05, "a twentieth of the largest that comes out"


def test_new_makes_an_embedding_of_a_model_that_is_said_to_give_one(activity: Path) -> None:
    options = ["--channels", SIX, "--rate", "50 Hz", "--task", "embedding"]
    assert made(activity / "activity_int8.tflite", *options).task.gives == "a vector of 7"


def test_new_takes_a_model_that_gives_as_much_as_it_takes_for_an_autoencoder(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = own_bundles() / "motion_anomaly" / "motion_anomaly_int8.tflite"
    given = ["--channels", SIX, "--rate", "20 Hz", "--std", "2"]
    assert main(["model", "new", str(model), *given]) == USAGE
    assert "give --threshold, --licence" in capsys.readouterr().err
    bundle = made(model, *given, "--threshold", "0.7")
    assert isinstance(bundle.task, Anomaly)
    assert (bundle.task.threshold, bundle.scaling.std) == (0.7, [2.0] * 6)


def test_new_makes_a_bundle_for_pictures_of_a_tensor_with_height_width_and_one_colour(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = own_bundles() / "surface" / "surface_int8.tflite"
    labels = ["--labels", "brick, grass, gravel"]
    bundle = made(model, *labels, "--mean", "127.5", "--std", "60", "--resize", "letterbox")
    assert (
        "grey pictures, 48 high and 48 wide (if not: --input window) in, 3 numbers out"
        in capsys.readouterr().out
    )
    assert (bundle.layout.shape, bundle.resize, bundle.hop_s) == ((48, 48), "letterbox", 1.0)
    assert [channel.name for channel in bundle.chain.form.channels] == ["grey"]
    shutil.rmtree("models/made")
    window = made(model, *labels, "--input", "window", "--channels", "level:V", "--rate", "8 kHz")
    assert (window.layout.shape, window.samples) == ((), 48 * 48)


@pytest.mark.parametrize("colours", ["rgb", "bgr"])
def test_new_hands_a_model_its_colours_in_the_order_of_its_training(
    activity: Path, monkeypatch: pytest.MonkeyPatch, colours: str
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "inference"))
    flat: Any = importlib.import_module("flatmodel")
    model = Path("same.tflite")
    model.write_bytes(flat.passing(flat.Tensor((1, 4, 5, 3), flat.UINT8, 1.0, 0)))
    bundle = made(model, "--task", "embedding", "--colours", colours, "--rate", "5 Hz")
    given, got = load_golden(bundle)
    assert (bundle.window_s, bundle.hop_s) == (0.2, 0.2)
    assert (got.reshape(given.shape) == (given if colours == "rgb" else given[..., ::-1])).all()

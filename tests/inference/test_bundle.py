"""A bundle is used whole or not at all, and says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import classifier, write_bundle

from edgeagent.errors import BundleFault
from edgeagent.inference.bundle import find_bundle, load_bundle, own_bundles, read_input
from edgeagent.inference.engine import signature
from edgeagent.records import Channel

pytestmark = pytest.mark.tflite_runtime


def test_a_bundle_says_what_goes_in_and_what_comes_out(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    assert bundle.layout.channels == (Channel("x", "m/s2"), Channel("y", "m/s2"), Channel("z", "m/s2"))
    assert (bundle.layout.rate_hz, bundle.window_s, bundle.hop_s, bundle.samples) == (4.0, 1.0, 0.5, 4)
    assert (bundle.name, bundle.version, bundle.task.names) == ("tiny", "1.0", ("rest", "walk", "run"))
    assert bundle.variants[0].read() == classifier()


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("task: classification", "task: clasification", "Did you mean 'classification'?"),
        ("task: classification", "task: regression", "output: the key 'values' is missing"),
        ("task: classification\n", "", "the key 'task' is missing, expected task: anomaly, classification"),
        ("rate: 4 Hz", "rate: 4 kg", "wrong unit 'kg'"),
        ("rate: 4 Hz", "rate: 4.3 Hz", "window: 4.3 samples"),
        ("hop: 0.5 s", "hop: 0 s", "hop: zero"),
        ("max_missing", "max_mising", "Did you mean 'max_missing'?"),
        ("max_missing: 0.25", "max_missing: 25", "a number from 0 to 1"),
        ("mean: [10.0, ", "mean: [", "2 means and 3 stds, expected 3 of each"),
        ("std: [4.0, ", "std: [0.0, ", "std: not all above 0"),
        ("{name: y,", "{name: x,", "channels: none, or one twice"),
        ("labels: [rest, walk, run]", "labels: []", "labels: none"),
        ("scores: probabilities", "scores: odds", "found 'odds', expected probabilities or logits"),
        ("file: model_0", "file: ../model_0", "file: not a file name"),
        (
            "max_missing:",
            "tensors: {a: [x, w]}\n  max_missing:",
            "tensors: w, expected some of x, y, z for each",
        ),
        ("max_missing:", "tensors: {a: []}\n  max_missing:", "tensors: an input without a channel"),
        ("sha256: ", "sha256: x", "not a SHA-256"),
        ("accelerator: cpu", "acelerator: cpu", "unknown key 'acelerator'"),
        ("golden:", "golden: [", "cannot be read"),
        ("name: tiny\n", "", "the key 'name' is missing"),
    ],
)
def test_what_is_wrong_in_bundle_yaml_is_named_with_its_line(
    tmp_path: Path, right: str, wrong: str, says: str
) -> None:
    write_bundle(tmp_path)
    file = tmp_path / "bundle.yaml"
    text = file.read_text()
    assert right in text
    file.write_text(text.replace(right, wrong, 1))
    with pytest.raises(BundleFault) as fault:
        load_bundle(tmp_path)
    assert says in str(fault.value)
    assert str(file) in str(fault.value)


def test_all_faults_of_a_bundle_are_told_at_once(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    file = tmp_path / "bundle.yaml"
    file.write_text(file.read_text().replace("4 Hz", "4 kg").replace("0.5 s", "half a second"))
    with pytest.raises(BundleFault, match=r"(?s)bundle.yaml:6:.*bundle.yaml:8:"):
        load_bundle(tmp_path)


def test_an_empty_bundle_yaml_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "bundle.yaml").touch()
    with pytest.raises(BundleFault, match="the file is empty"):
        load_bundle(tmp_path)


@pytest.mark.parametrize("name", ["model_0.tflite", "golden.npz"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    write_bundle(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BundleFault, match=f"{name} is missing.*Copy the bundle again"):
        load_bundle(tmp_path)


def test_a_model_file_that_was_altered_is_not_read(tmp_path: Path) -> None:
    variant = write_bundle(tmp_path).variants[0]
    variant.file.write_bytes(classifier()[:-1])
    with pytest.raises(BundleFault, match="altered or cut short: its SHA-256 is"):
        variant.read()


def test_an_empty_model_file_says_so(tmp_path: Path) -> None:
    variant = write_bundle(tmp_path).variants[0]
    variant.file.write_bytes(b"")
    with pytest.raises(BundleFault, match="the model file is empty"):
        variant.read()


def test_a_model_file_that_is_bigger_than_memory_is_not_read(tmp_path: Path) -> None:
    variant = write_bundle(tmp_path).variants[0]
    with variant.file.open("r+b") as file:
        file.truncate(10**12)  # it takes no room on the disk
    with pytest.raises(
        BundleFault,
        match=r"model_0\.tflite: the model file is bigger than memory: 1000000 MB; expected at most",
    ):
        variant.read()


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{a: " * 3000, "- " * 3000])
def test_a_bundle_yaml_as_deep_as_can_be_is_a_fault(tmp_path: Path, text: str) -> None:
    write_bundle(tmp_path)
    (tmp_path / "bundle.yaml").write_text(text)
    with pytest.raises(BundleFault, match=r"bundle\.yaml: cannot be read \(maximum recursion"):
        load_bundle(tmp_path)


def test_a_window_that_no_memory_holds_is_a_fault(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    yaml = tmp_path / "bundle.yaml"
    yaml.write_text(yaml.read_text().replace("rate: 4 Hz", "rate: 1e9 Hz"))
    with pytest.raises(BundleFault, match=r"window: 3e\+09 values, expected at most 50331648"):
        load_bundle(tmp_path)


def test_a_name_is_sought_in_the_places_in_order(tmp_path: Path) -> None:
    write_bundle(tmp_path / "second" / "tiny")
    places = [tmp_path / "first", tmp_path / "second"]
    assert find_bundle("tiny", places=places) == tmp_path / "second" / "tiny"
    write_bundle(tmp_path / "first" / "tiny")
    assert find_bundle("tiny", places=places) == tmp_path / "first" / "tiny"


def test_a_bundle_that_is_nowhere_says_where_it_was_sought_and_what_there_is(tmp_path: Path) -> None:
    write_bundle(tmp_path / "first" / "tiny")
    with pytest.raises(BundleFault, match=r"no bundle 'tyni' in .*first, .*second; expected one of tiny"):
        find_bundle("tyni", places=[tmp_path / "first", tmp_path / "second"])


def test_a_path_is_a_path(tmp_path: Path) -> None:
    write_bundle(tmp_path / "tiny")
    assert find_bundle(str(tmp_path / "tiny"), places=[]) == tmp_path / "tiny"
    with pytest.raises(BundleFault, match=r"no bundle\.yaml in it"):
        find_bundle(str(tmp_path), places=[])


def test_the_shipped_bundles_lie_beside_the_package() -> None:
    assert own_bundles().name == "models"
    assert own_bundles().is_dir()


def test_a_bundle_names_the_tensors_of_a_model_that_has_several(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    file = tmp_path / "bundle.yaml"
    text = file.read_text().replace("max_missing:", "tensors: {gyro: [z, x], acc: [y]}\n  max_missing:")
    file.write_text(text.replace("scores: prob", "tensors: [odds], scores: prob"))
    found = signature(load_bundle(tmp_path))
    assert (found.inputs, found.outputs) == ({"gyro": [2, 0], "acc": [1]}, ("odds",))


def with_steps(folder: Path, steps: str, scaling: str = "") -> None:
    """The tiny bundle with `preprocess:` and another scaling, or none."""
    write_bundle(folder)
    lines = (folder / "bundle.yaml").read_text().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if line.startswith("  scaling:"))
    lines[at] = f"  preprocess: {steps}\n" + (f"  scaling: {scaling}\n" if scaling else "")
    (folder / "bundle.yaml").write_text("".join(lines))


def test_a_bundle_has_the_steps_that_training_took_and_scaling_comes_last(tmp_path: Path) -> None:
    with_steps(tmp_path, "[{detrend: linear}, {statistics: [rms, crest]}, {normalise: channel}]")
    bundle = load_bundle(tmp_path)
    found = signature(bundle)
    assert bundle.chain.form.shape == (2, 3)
    assert (found.samples, found.channels, found.mean, found.std) == (2, 3, [0.0] * 3, [1.0] * 3)


def test_training_reads_the_input_of_a_bundle_that_has_no_model_yet(tmp_path: Path) -> None:
    """The one that models/README.md shows."""
    page = (own_bundles() / "README.md").read_text()
    (tmp_path / "bundle.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    prepare = read_input(tmp_path).chain()
    assert prepare(np.ones((500, 3), np.float32)).shape == (201, 3)
    (tmp_path / "bundle.yaml").write_text("task: anomaly\n")
    with pytest.raises(BundleFault, match="there is no `input:`"):
        read_input(tmp_path)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("[{detrend: cubic}]", "preprocess[0].detrend: not one of the choices, found 'cubic'"),
        (
            "[{detrnd: linear}]",
            "unknown key 'detrnd', expected one of band_pass, band_stop, colours, detrend",
        ),
        ("[{low_pass: 20}]", "preprocess[0].low_pass: no unit, found '20'"),
        (
            "[{low_pass: 1 Hz}, {low_pass: 2 Hz}]",
            "input.preprocess: step 2, low_pass: 2 Hz, expected less than 2",
        ),
        ("[{unit: {w: g}}]", "step 1, unit: there is no channel 'w', expected x, y or z"),
        ("[{fft_magnitude: {}}, {detrend: linear}]", "step 2, detrend: its rows are not samples in time"),
        ("[{low_pass: {order: 0, to: 1 Hz}}]", "order: out of range"),
    ],
)
def test_a_step_that_cannot_be_is_named_with_its_line(tmp_path: Path, steps: str, says: str) -> None:
    with_steps(tmp_path, steps)
    with pytest.raises(BundleFault) as fault:
        load_bundle(tmp_path)
    assert says in str(fault.value)
    assert "bundle.yaml:10:" in str(fault.value)

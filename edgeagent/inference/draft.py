"""A first bundle around a .tflite file: what its tensors say, and what somebody has to know.

Its golden vectors are noise of the given mean and std with what the model says of it here: they find another runtime,
delegate or variant that computes otherwise, and not a wrong scaling. Training's own are better.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeagent.errors import BundleFault, disk
from edgeagent.inference.archive import must_name_a_file
from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.describe import ModelFacts
from edgeagent.inference.engine import signature
from edgeagent.inference.tflite import TfliteModel, find_runtime, quiet_stderr

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

VECTORS = 8
_SEED = 1


class Shape(NamedTuple):
    """What the tensors say: how many samples of how many channels go in, how many scores come out."""

    samples: int
    channels: int
    labels: int


class Answers(NamedTuple):
    """What they do not say. `channels` are (name, unit) in the model's order; `mean` and `std` a number a channel."""

    name: str
    version: str
    channels: list[tuple[str, str]]
    rate_hz: float
    hop_s: float
    labels: list[str]
    mean: list[float]
    std: list[float]
    licence: str


def shape_of(facts: ModelFacts) -> Shape:
    """Raises BundleFault if the tensors do not say it: the bundle must be written by hand then."""
    if len(facts.inputs) == len(facts.outputs) == 1:
        window = facts.inputs[0].shape[1:]
        labels = math.prod(facts.outputs[0].shape[1:])
        if len(window) >= 2 and min(*window, labels) > 0:
            return Shape(math.prod(window[:-1]), window[-1], labels)
    tensors = ", ".join(map(str, (*facts.inputs, *facts.outputs)))
    raise BundleFault(
        f"the tensors do not say what a window is ({tensors})",
        expected="one input [1, samples, channels] and one output [1, labels]",
        hint="Write bundle.yaml by hand: `edgeagent model schema` has its keys",
    )


def draft(model_file: Path, shape: Shape, answers: Answers, place: Path) -> Bundle:
    """Make the bundle's folder in `place`, whole or not at all.

    Raises:
        BundleFault: The answers do not fit the model or one another, or the bundle is there already.
        StorageFault: The folder cannot be written.
    """
    must_name_a_file(answers.name, where="--name")
    target = place / answers.name
    if target.exists():
        raise BundleFault(f"there is a {answers.name} already", where=str(target), hint="Choose another name")
    with disk("the bundle cannot be written", where=target):
        place.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".draft-", dir=place) as scratch:
            folder = Path(scratch) / "bundle"
            _write(folder, model_file, shape, answers)
            folder.rename(target)
    return load_bundle(target)


def _write(folder: Path, model_file: Path, shape: Shape, answers: Answers) -> None:
    folder.mkdir()
    model = model_file.read_bytes()
    shutil.copyfile(model_file, folder / model_file.name)
    (folder / "bundle.yaml").write_text(_yaml(model_file.name, model, shape, answers))
    (folder / "README.md").write_text(_CARD.format(name=answers.name, licence=answers.licence))
    (folder / "golden.npz").touch()
    bundle = load_bundle(folder)
    inputs = _noise(shape, answers)
    with quiet_stderr():
        here = TfliteModel(find_runtime(), model, signature(bundle))
    np.savez(
        folder / "golden.npz", inputs=inputs, outputs=np.array([here.predict(one).scores for one in inputs])
    )


def _noise(shape: Shape, answers: Answers) -> Float32Array:
    rng = np.random.default_rng(_SEED)
    return rng.normal(answers.mean, answers.std, (VECTORS, shape.samples, shape.channels)).astype(np.float32)


def _yaml(file: str, model: bytes, shape: Shape, answers: Answers) -> str:
    """Words and lists as JSON, which is YAML."""
    channels = "\n".join(f"    - {{name: {_q(name)}, unit: {_q(unit)}}}" for name, unit in answers.channels)
    return _YAML.format(
        name=_q(answers.name),
        version=_q(answers.version),
        channels=channels,
        rate=f"{answers.rate_hz!r} Hz",
        window=f"{shape.samples / answers.rate_hz!r} s",
        hop=f"{answers.hop_s!r} s",
        mean=answers.mean,
        std=answers.std,
        labels=_q(answers.labels),
        file=_q(file),
        sha256=hashlib.sha256(model).hexdigest(),
        licence=_q(answers.licence),
    )


def _q(words: str | list[str]) -> str:
    return json.dumps(words, ensure_ascii=False)


_YAML = """\
name: {name}
version: {version}
task: classification
input:
  channels:
{channels}
  rate: {rate}
  window: {window}
  hop: {hop}
  scaling:
    mean: {mean}
    std: {std}
output:
  labels: {labels}
  scores: probabilities
variants:
  - {{file: {file}, sha256: {sha256}, accelerator: cpu}}
golden: {{file: golden.npz, tolerance: 0.05}}
licence: {licence}
"""

_CARD = """\
# {name}: what it tells, in a line

## Data

Where from, whose, under which licence; how it was split. The model: {licence}.

## Figures

Accuracy on data that no training saw, as a float model and as int8.

## Limits

What it has not seen.
"""

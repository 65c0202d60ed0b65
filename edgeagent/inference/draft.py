"""A first bundle around a .tflite file: what its tensors say, and what somebody has to know.

Its golden vectors are noise of the given mean and std with what the model says of it here: they find another runtime,
delegate or variant that computes otherwise, and not a wrong scaling. Training's own are better.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeagent.errors import BundleFault, disk
from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.engine import signature
from edgeagent.inference.facts import ModelFacts
from edgeagent.inference.names import must_name_a_file
from edgeagent.inference.tflite import TfliteModel, find_runtime, quiet_stderr

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

VECTORS = 8
_SEED = 1
_OFF = 0.05  # of a probability, or of the largest number that came out
_COLOURS = (1, 3)


class Shape(NamedTuple):
    """What the tensors say: how many samples of how many channels go in, how many numbers come out.

    `sides` are a picture's height and width: it is the one sample then, and its channels are colours.
    """

    samples: int
    channels: int
    outputs: int
    sides: tuple[int, ...] = ()

    @property
    def inputs(self) -> int:
        """How many numbers go in."""
        return self.samples * self.channels * math.prod(self.sides)


class Answers(NamedTuple):
    """What they do not say. `channels` are (name, unit) in the model's order; `mean` and `std` a number a channel.

    `output` is what the task needs to know, as `bundle.yaml` has it. `resize` and `colours` are of pictures.
    """

    name: str
    version: str
    task: str
    channels: list[tuple[str, str]]
    rate_hz: float
    hop_s: float
    resize: str
    colours: str
    mean: list[float]
    std: list[float]
    output: dict[str, Any]
    licence: str


def shape_of(facts: ModelFacts, kind: str | None = None) -> Shape:
    """`kind`: `pictures` or `window`; else [1, rows, columns, 1 or 3] are pictures.

    Raises BundleFault if the tensors do not say it: the bundle must be written by hand then.
    """
    if len(facts.inputs) == len(facts.outputs) == 1:
        taken, outputs = facts.inputs[0].shape[1:], math.prod(facts.outputs[0].shape[1:])
        if len(taken) >= 2 and min(*taken, outputs) > 0:
            may_be = len(taken) == 3 and taken[2] in _COLOURS
            if may_be and kind != "window" and (kind or min(taken[:2]) > 1):
                return Shape(1, taken[2], outputs, tuple(taken[:2]))
            if kind != "pictures":
                return Shape(math.prod(taken[:-1]), taken[-1], outputs)
    tensors = ", ".join(map(str, (*facts.inputs, *facts.outputs)))
    raise BundleFault(
        f"the tensors do not say what {'a picture' if kind == 'pictures' else 'a window'} is ({tensors})",
        expected="one input [1, samples, channels] or [1, height, width, 1 or 3], and one output",
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
    (folder / "README.md").write_text(_CARD.format(name=answers.name, licence=answers.licence))
    (folder / "golden.npz").touch()
    yaml = partial(_yaml, model_file.name, model, shape, answers)
    (folder / "bundle.yaml").write_text(yaml(tolerance=0.0))
    inputs = _noise(shape, answers)
    outputs = _computed(load_bundle(folder), model, inputs)
    np.savez(folder / "golden.npz", inputs=inputs, outputs=outputs)
    largest = 1.0 if answers.task == "classification" else float(np.abs(outputs).max()) or 1.0
    (folder / "bundle.yaml").write_text(yaml(tolerance=float(f"{_OFF * largest:.2g}")))


def _computed(bundle: Bundle, model: bytes, inputs: Float32Array) -> Float32Array:
    """What the model makes of them here, as the task has it."""
    with quiet_stderr():
        here = TfliteModel(find_runtime(), model, signature(bundle))
    prepared = [bundle.chain(one) for one in inputs]
    return np.array([bundle.task.measure(here.predict(one).scores, one) for one in prepared])


def _noise(shape: Shape, answers: Answers) -> Float32Array:
    rng = np.random.default_rng(_SEED)
    if shape.sides:
        rows = math.prod(shape.sides)
        return rng.integers(0, 256, (VECTORS, rows, len(answers.channels))).astype(np.float32)
    noise = rng.normal(answers.mean, answers.std, (VECTORS, shape.samples, shape.channels))
    return noise.astype(np.float32)


def _yaml(file: str, model: bytes, shape: Shape, answers: Answers, tolerance: float) -> str:
    """Words and lists as JSON, which is YAML."""
    channels = "\n".join(f"    - {{name: {_q(name)}, unit: {_q(unit)}}}" for name, unit in answers.channels)
    return _YAML.format(
        name=_q(answers.name),
        version=_q(answers.version),
        task=answers.task,
        channels=channels,
        rate=f"{answers.rate_hz!r} Hz",
        window=f"{shape.samples / answers.rate_hz!r} s",
        hop=f"{answers.hop_s!r} s",
        pictures=_pictures(shape, answers),
        mean=answers.mean,
        std=answers.std,
        output="\n".join(f"  {key}: {_q(value)}" for key, value in answers.output.items()),
        file=_q(file),
        sha256=hashlib.sha256(model).hexdigest(),
        tolerance=tolerance,
        licence=_q(answers.licence),
    )


def _pictures(shape: Shape, answers: Answers) -> str:
    """The lines that only pictures have."""
    if not shape.sides:
        return ""
    lines = f"  shape: {list(shape.sides)}\n  resize: {answers.resize}\n"
    colours = "grey" if shape.channels == 1 else answers.colours
    return lines if colours == "rgb" else f"{lines}  preprocess: [{{colours: {colours}}}]\n"


def _q(words: Any) -> str:
    return json.dumps(words, ensure_ascii=False)


_YAML = """\
name: {name}
version: {version}
task: {task}
input:
  channels:
{channels}
  rate: {rate}
  window: {window}
  hop: {hop}
{pictures}  scaling:
    mean: {mean}
    std: {std}
output:
{output}
variants:
  - {{file: {file}, sha256: {sha256}, accelerator: cpu}}
golden: {{file: golden.npz, tolerance: {tolerance}}}
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

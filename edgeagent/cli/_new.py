"""`edgeagent model new`: a bundle around a .tflite file, and the questions that its tensors leave open."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from edgeagent.cli import OK
from edgeagent.config.quantities import DURATION, FREQUENCY, parse_quantity
from edgeagent.errors import ConfigFault, disk
from edgeagent.inference.bundle import PIXEL
from edgeagent.inference.describe import describe
from edgeagent.inference.draft import Answers, Shape, draft, shape_of
from edgeagent.inference.facts import ModelFacts
from edgeagent.inference.formats import BY_HAND, ONNX, refuse_foreign

_ASKS = {"classification": "labels", "regression": "values", "anomaly": "threshold", "embedding": ""}
"""By task, what only a person knows of its output; that this was given says which task is meant."""
_PROBABILITIES = {"SOFTMAX", "LOGISTIC"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="What the bundle and its folder are called.")
@click.option("--version", default="1.0.0", show_default=True)
@click.option("--input", "kind", type=click.Choice(["window", "pictures"]), help="What the input tensor is.")
@click.option("--channels", help='In the model\'s order, with units: "acc_x:m/s2, acc_y:m/s2".')
@click.option("--rate", help='Samples a second: "50 Hz"; of pictures 1 Hz if it is not said.')
@click.option("--hop", help='Time from one window to the next: "1 s"; default: half a window, or a picture.')
@click.option("--resize", help="How a picture gets the model's shape: crop (default), letterbox or stretch.")
@click.option("--colours", help="In which order the model was trained on them: rgb (default) or bgr.")
@click.option("--task", type=click.Choice(list(_ASKS)), help="What the output means.")
@click.option("--labels", help='Of a classification, in the order of the scores: "still, moving".')
@click.option("--scores", help="Of a classification: probabilities or logits; default: by its last operator.")
@click.option("--values", help='Of a regression, in their order, with units: "flow:L/min, pressure:bar".')
@click.option("--threshold", help="Of an anomaly model: the error above which a window is one.")
@click.option("--mean", help='Subtracted from each channel before the model: "0, 9.8"; default: 0.')
@click.option("--std", help='What each channel is then divided by: "1, 4.5"; default: 1.')
@click.option("--licence", help="Under which licence the model may be used.")
@click.option("--into", type=click.Path(path_type=Path), default=Path("models"), show_default=True)
def new(file: Path, into: Path, version: str, kind: str | None, **given: str | None) -> int:
    """Make a bundle around a .tflite file: reads its tensors, and asks for what they do not say.

    Each question is an option too; where nobody can be asked, those without a default must be given.
    """
    model = _read(file)
    facts = describe(model, str(file))
    shape = shape_of(facts, kind)
    click.echo(f"{file}: {_told(shape)} in, {shape.outputs} numbers out")
    task = _task(given, shape)
    answers = _answers(task, version, shape, _asked(given, _questions(task, file, shape, facts)))
    bundle = draft(file, shape, answers, into)
    click.echo(f"{bundle.folder}: {bundle.name} {bundle.version}, gives {bundle.task.gives}")
    click.echo(f"Now write {bundle.folder / 'README.md'}, and see: edgeagent model check {bundle.folder}")
    return OK


def _read(file: Path) -> bytes:
    """Raises ConfigFault for what is no .tflite file by its name, StorageFault for one that cannot be read."""
    if file.exists():
        refuse_foreign(file.name, where=str(file))
    if file.suffix.lower() == ONNX:
        raise ConfigFault("an .onnx file", where=str(file), expected="a .tflite file", hint=BY_HAND)
    with disk("it cannot be read", where=file):
        return file.read_bytes()


def _told(shape: Shape) -> str:
    if shape.sides:
        height, width = shape.sides
        kind = "coloured" if shape.channels == len(PIXEL) else "grey"
        return f"{kind} pictures, {height} high and {width} wide (if not: --input window)"
    return f"{shape.samples} samples of {shape.channels} channels"


def _task(given: dict[str, str | None], shape: Shape) -> str:
    """As said, as what was given means, as a person answers, or what is likely."""
    if given["task"] is not None:
        return given["task"]
    meant = [task for task, option in _ASKS.items() if option and given[option] is not None]
    if meant:
        return meant[0]
    likely = "anomaly" if shape.outputs == shape.inputs else "classification"
    if not sys.stdin.isatty():
        return likely
    return str(click.prompt("what the output means", type=click.Choice(list(_ASKS)), default=likely))


def _questions(task: str, file: Path, shape: Shape, facts: ModelFacts) -> dict[str, tuple[str, str | None]]:
    """By option: the question, and its default if it has one."""
    questions: dict[str, tuple[str, str | None]] = {"name": ("name of the bundle", file.stem)}
    if shape.sides:
        questions["rate"] = ("pictures a second", "1 Hz")
        questions["resize"] = ("how a picture gets this shape: crop, letterbox or stretch", "crop")
        if shape.channels == len(PIXEL):
            questions["colours"] = ("rgb or bgr", "rgb")
    else:
        channels = f"{shape.channels} channels as name:unit, in the model's order, by commas"
        questions["channels"], questions["rate"] = (channels, None), ("samples a second (50 Hz)", None)
    if task == "classification":
        questions["labels"] = (f"{shape.outputs} labels in the order of the scores, by commas", None)
        likely = "probabilities" if _PROBABILITIES & facts.operators.keys() else "logits"
        questions["scores"] = ("what the scores are: probabilities or logits", likely)
    elif task == "regression":
        questions["values"] = (f"{shape.outputs} values as name:unit, in the model's order, by commas", None)
    elif task == "anomaly":
        threshold = "error above which a window is an anomaly (`model calibrate` finds it on the device)"
        questions["threshold"] = (threshold, None)
    questions["licence"] = ("licence", None)
    questions["mean"] = ("what is subtracted: one number, or one a channel", "0")
    questions["std"] = ("what is then divided by: one number, or one a channel", "1")
    questions["hop"] = ("time from one window to the next (the usual: empty)", "")
    return questions


def _asked(given: dict[str, str | None], questions: dict[str, tuple[str, str | None]]) -> dict[str, str]:
    """What was given, and the answers to what was not. Raises ConfigFault for what is no question here."""
    strange = [
        key for key, answer in given.items() if key != "task" and answer is not None and key not in questions
    ]
    if strange:
        raise ConfigFault(
            "this does not belong to such a model",
            where=f"--{strange[0]}",
            expected=", ".join(f"--{key}" for key in questions),
        )
    needed = [f"--{key}" for key, (_, default) in questions.items() if default is None and given[key] is None]
    if needed and not sys.stdin.isatty():
        raise click.UsageError(f"nobody can be asked here: give {', '.join(needed)}")
    answers = {}
    for key, (question, default) in questions.items():
        answer = given[key]
        if answer is None:
            answer = click.prompt(question, default=default) if needed else default
        answers[key] = str(answer)
    return answers


def _answers(task: str, version: str, shape: Shape, words: dict[str, str]) -> Answers:
    """Raises ConfigFault, naming the option."""
    channels = [(colour, "1") for colour in PIXEL]
    if not shape.sides:
        channels = _with_units("--channels", words["channels"], shape.channels)
    rate_hz = parse_quantity(words["rate"], FREQUENCY)
    usual_s = shape.samples / rate_hz / (1 if shape.sides else 2)
    return Answers(
        name=words["name"],
        version=version,
        task=task,
        channels=channels,
        rate_hz=rate_hz,
        hop_s=parse_quantity(words["hop"], DURATION) if words["hop"] else usual_s,
        resize=_one_of("--resize", words.get("resize", "crop"), ("crop", "letterbox", "stretch")),
        colours=_one_of("--colours", words.get("colours", "rgb"), ("rgb", "bgr")),
        mean=_numbers("--mean", words["mean"], shape.channels),
        std=_numbers("--std", words["std"], shape.channels),
        output=_output(task, shape, words),
        licence=words["licence"],
    )


def _output(task: str, shape: Shape, words: dict[str, str]) -> dict[str, Any]:
    """`output:` as the task has it."""
    if task == "classification":
        labels = _list(words["labels"])
        _must_be("--labels", len(labels), shape.outputs)
        scores = _one_of("--scores", words["scores"], ("probabilities", "logits"))
        return {"labels": labels, "scores": scores}
    if task == "regression":
        values = _with_units("--values", words["values"], shape.outputs)
        return {"values": [{"name": name, "unit": unit} for name, unit in values]}
    if task == "anomaly":
        (threshold,) = _numbers("--threshold", words["threshold"], 1)
        return {"threshold": threshold}
    return {"size": shape.outputs}


def _with_units(option: str, words: str, count: int) -> list[tuple[str, str]]:
    named = [(name.strip(), unit.strip()) for name, _, unit in (one.partition(":") for one in _list(words))]
    if any(not unit for _, unit in named):
        raise ConfigFault("one without a unit", where=option, expected='"acc_x:m/s2, acc_y:m/s2"')
    _must_be(option, len(named), count)
    return named


def _list(words: str) -> list[str]:
    return [word.strip() for word in words.split(",") if word.strip()]


def _numbers(option: str, words: str, count: int) -> list[float]:
    """One stands for all."""
    try:
        numbers = [float(word) for word in _list(words)]
    except ValueError:
        raise ConfigFault("not all numbers", where=option, expected='as "0, 9.8"') from None
    if len(numbers) == 1:
        return numbers * count
    _must_be(option, len(numbers), count)
    return numbers


def _one_of(option: str, word: str, words: tuple[str, ...]) -> str:
    if word not in words:
        raise ConfigFault(repr(word), where=option, expected=" or ".join(words))
    return word


def _must_be(option: str, found: int, count: int) -> None:
    if found != count:
        raise ConfigFault(f"there are {found}", where=option, expected=f"{count}, as the model has it")

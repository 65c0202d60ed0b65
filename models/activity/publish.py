"""Write the bundle around a trained model: what the agent loads, what proves it, and the figures of the card."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import data
import numpy as np
from data import CHANNELS, LABELS, RATE_HZ, UNITS, WINDOW, Floats, G, Ints, Trial
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from edgeagent.inference.tensors import Signature
from edgeagent.inference.tflite import TfliteModel, find_runtime
from edgeagent.recording import Channel, Header, Label, label_between, write_series
from edgeagent.records import Layout

VERSION = "1.0.0"
MODEL = "activity_int8.tflite"
LICENCE = "BSD-3-Clause (data), Apache-2.0 (model)"
CITATION = "D. M. Burns et al., Shoulder physiotherapy exercise recognition, arXiv:1802.01489"

TOLERANCE = 0.05
GOLDEN_A_LABEL = 2

# An MPU6050 at +-8 g and +-2000 deg/s (its register map, revision 4.2, sections 4.17 and 4.19).
LSB = (*[G / 4096] * 3, *[float(np.radians(1 / 16.4))] * 3)
STRETCH_S = 10
ROUNDS = ((8, "right"), (9, "left"), (10, "right"), (8, "left"))
# 1.5 s a block: what each block adds to its samples matters, where the whole recording has to stay small.
SAMPLES_A_BLOCK = 75


class Int8Model:
    """The file that is shipped, run by the agent's own code: windows float32[n, 100, 6] in SI units in, scores out."""

    def __init__(self, flatbuffer: bytes, mean: Floats, std: Floats) -> None:
        signature = Signature(WINDOW, len(CHANNELS), len(LABELS), mean.tolist(), std.tolist())
        self._model = TfliteModel(find_runtime(), flatbuffer, signature)
        self._bare = find_runtime().interpreter(model_content=flatbuffer, num_threads=1)
        self._bare.allocate_tensors()

    def scores(self, windows: Floats) -> Floats:
        """float32[n, 7], dequantised."""
        return np.stack([self._model.predict(window).scores for window in windows])

    def invoke_us(self, count: int = 3000) -> float:
        """The median of `count` bare invokes, in us."""
        took_ns = []
        for _ in range(count):
            start_ns = time.perf_counter_ns()
            self._bare.invoke()
            took_ns.append(time.perf_counter_ns() - start_ns)
        return float(np.median(took_ns)) / 1000


class Result(NamedTuple):
    """How one set of windows came out: scores float32[n, 7] and true labels int64[n]."""

    scores: Floats
    y: Ints

    @property
    def accuracy(self) -> float:
        return float((self.scores.argmax(1) == self.y).mean())

    def confusion(self) -> Ints:
        """int64[7, 7]: true label by predicted label."""
        table = np.zeros((len(LABELS), len(LABELS)), np.int64)
        np.add.at(table, (self.y, self.scores.argmax(1)), 1)
        return table


def write(
    folder: Path,
    flatbuffer: bytes,
    mean: Floats,
    std: Floats,
    trials: list[Trial],
    *,
    accuracy_float: float,
    folds: dict[int, float],
) -> None:
    """Write every file of the bundle that is not source. `folds` is the cross-validated accuracy by subject."""
    model = Int8Model(flatbuffer, mean, std)
    x, y = data.windows(data.of(trials, data.HELD_OUT))
    held_out = Result(model.scores(x), y)
    x_train, _ = data.windows(data.of(trials, data.TRAINING))
    x_recorded, y_recorded = recorded(folder / "recording", trials)
    recording = Result(model.scores(x_recorded), y_recorded)

    (folder / MODEL).write_bytes(flatbuffer)
    inputs, outputs = golden(x, held_out)
    np.savez_compressed(folder / "golden.npz", inputs=inputs, outputs=outputs)
    (folder / "baseline.json").write_text(
        json.dumps(baseline(x_train, model.scores(x_train)), indent=1) + "\n"
    )
    metrics = {
        "accuracy_float": round(accuracy_float, 4),
        "accuracy_int8": round(held_out.accuracy, 4),
        "accuracy_recording": round(recording.accuracy, 4),
        "majority": round(float(np.bincount(y).max() / len(y)), 4),
        "size_bytes": len(flatbuffer),
    }
    write_bundle(folder / "bundle.yaml", flatbuffer, mean, std, metrics)
    put_figures(folder / "README.md", metrics, held_out, recording, folds, model.invoke_us())
    print(json.dumps(metrics))


def golden(x: Floats, result: Result) -> tuple[Floats, Floats]:
    """The first windows of each label, right or wrong, that are clear of a tie: another runtime's rounding must not
    change their label. float32[k, 100, 6] and float32[k, 7].
    """
    best = np.sort(result.scores, axis=1)
    clear = best[:, -1] - best[:, -2] > 4 * TOLERANCE
    of_label = [np.flatnonzero(clear & (result.y == label)) for label in range(len(LABELS))]
    chosen = np.concatenate(
        [rows[:: max(len(rows) // GOLDEN_A_LABEL, 1)][:GOLDEN_A_LABEL] for rows in of_label]
    )
    return x[chosen], result.scores[chosen]


def baseline(x: Floats, scores: Floats) -> dict[str, Any]:
    """What drift is measured against: deciles of each channel, tenths of the top score, and predicted labels."""
    deciles = np.quantile(x.reshape(-1, len(CHANNELS)), np.linspace(0, 1, 11), axis=0)
    tops, edges = np.histogram(scores.max(1), bins=10, range=(0, 1))
    labels = np.bincount(scores.argmax(1), minlength=len(LABELS)) / len(x)
    return {
        "windows": len(x),
        "inputs": {
            name: {
                "unit": unit,
                "mean": round(float(x[:, :, i].mean(dtype=np.float64)), 5),
                "std": round(float(x[:, :, i].std(dtype=np.float64)), 5),
                "deciles": deciles[:, i].round(5).tolist(),
            }
            for i, (name, unit) in enumerate(zip(CHANNELS, UNITS, strict=True))
        },
        "top_scores": {"edges": edges.round(1).tolist(), "fractions": (tops / len(x)).round(5).tolist()},
        "labels": dict(zip(LABELS, labels.round(5).tolist(), strict=True)),
    }


def recorded(folder: Path, trials: list[Trial]) -> tuple[Floats, Ints]:
    """Write the held-out recording; its windows that lie inside one label, 1 s apart, and the label of each.

    Round after round, the middle 10 s of each exercise by one held-out person and arm, as an MPU6050 would count it.
    """
    assert all(subject in data.HELD_OUT for subject, _ in ROUNDS)
    by_key = {(t.subject, t.side, t.label): t.values for t in trials}
    half = STRETCH_S * RATE_HZ // 2
    parts, labels = [], []
    for subject, side in ROUNDS:
        for label, name in enumerate(LABELS):
            values = by_key[subject, side, label]
            parts.append(values[len(values) // 2 - half : len(values) // 2 + half])
            end_ns = len(parts) * STRETCH_S * 1_000_000_000
            labels.append(Label(name, end_ns - STRETCH_S * 1_000_000_000, end_ns))
    lsb = np.array(LSB)
    counts = np.clip(np.rint(np.concatenate(parts) / lsb), -32768, 32767)
    values = (counts * lsb).astype(np.float32)

    channels = tuple(map(Channel, CHANNELS, UNITS, LSB))
    header = Header(
        schema=1,
        sensors={"imu": Layout(float(RATE_HZ), channels)},
        labels=tuple(labels),
        source=f"seglearn 1.2.5 watch_dataset, subjects 8, 9 and 10, as MPU6050 counts; {CITATION}",
        licence="BSD-3-Clause, Copyright (c) 2018, David M. Burns",
    )
    for file in ("recording.yaml", "journal.bin"):
        (folder / file).unlink(missing_ok=True)
    write_series(folder, header, "imu", values, chunk=SAMPLES_A_BLOCK)
    return inside_labels(values, header.labels)


def inside_labels(values: Floats, labels: tuple[Label, ...]) -> tuple[Floats, Ints]:
    """The windows of float32[n, 6] from time 0, 1 s apart, over all of which one label holds."""
    period_ns = 1_000_000_000 // RATE_HZ
    x, y = [], []
    for at in range(0, len(values) - WINDOW + 1, data.HOP):
        label = label_between(labels, at * period_ns, (at + WINDOW) * period_ns)
        if label is not None:
            x.append(values[at : at + WINDOW])
            y.append(LABELS.index(label))
    return np.stack(x), np.array(y)


def write_bundle(file: Path, flatbuffer: bytes, mean: Floats, std: Floats, metrics: dict[str, float]) -> None:
    """`bundle.yaml`, in the order in which one reads it."""
    bundle = {
        "name": "activity",
        "version": VERSION,
        "task": "classification",
        "input": {
            "channels": [on_one_line({"name": n, "unit": u}) for n, u in zip(CHANNELS, UNITS, strict=True)],
            "rate": f"{RATE_HZ} Hz",
            "window": f"{WINDOW // RATE_HZ} s",
            "hop": f"{data.HOP // RATE_HZ} s",
            "max_missing": 0.05,
            "scaling": {
                "mean": on_one_line([float(str(v)) for v in mean]),
                "std": on_one_line([float(str(v)) for v in std]),
            },
        },
        "output": {"labels": on_one_line(list(LABELS)), "scores": "probabilities"},
        "variants": [{"file": MODEL, "sha256": hashlib.sha256(flatbuffer).hexdigest(), "accelerator": "cpu"}],
        "golden": on_one_line({"file": "golden.npz", "tolerance": TOLERANCE}),
        "baseline": "baseline.json",
        "licence": LICENCE,
        "data": {
            "source": "seglearn 1.2.5 watch_dataset",
            "citation": CITATION,
            "sha256": data.DATA_SHA256,
            "subjects": {
                "training": on_one_line(list(data.TRAINING)),
                "held_out": on_one_line(list(data.HELD_OUT)),
            },
        },
        "metrics": metrics,
    }
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    with file.open("w") as f:
        yaml.dump(bundle, f)


def on_one_line(value: dict[str, Any] | list[Any]) -> CommentedMap | CommentedSeq:
    """The same, to be written as {a: b} or [a, b]."""
    flow = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    flow.fa.set_flow_style()
    return flow


def put_figures(
    card: Path,
    metrics: dict[str, float],
    held_out: Result,
    recording: Result,
    folds: dict[int, float],
    invoke_us: float,
) -> None:
    """Replace the part of the model card between its two marks: no figure there is typed by hand."""
    table = held_out.confusion()
    spread = np.array(list(folds.values())) * 100
    lines = [
        "| | windows | accuracy |",
        "|---|---|---|",
        f"| float, held-out subjects | {len(held_out.y)} | {metrics['accuracy_float']:.1%} |",
        f"| **int8, held-out subjects** | {len(held_out.y)} | **{metrics['accuracy_int8']:.1%}** |",
        f"| int8, `recording/` (the same subjects, windows inside one label) | {len(recording.y)} "
        f"| {metrics['accuracy_recording']:.1%} |",
        f"| always the commonest exercise | {len(held_out.y)} | {metrics['majority']:.1%} |",
        "",
        f"Leaving out one training subject at a time (float): {spread.mean():.1f} ± {spread.std(ddof=1):.1f} %; "
        "by subject " + ", ".join(f"{s}: {a:.1%}" for s, a in folds.items()) + ".",
        "",
        f"Size {metrics['size_bytes']} bytes. Latency {invoke_us:.1f} µs (median of 3000 bare `invoke()` on x86-64, "
        "LiteRT, one thread, taken by `train.py`).",
        "",
        "int8 on the held-out subjects, true exercise by row, predicted by column:",
        "",
        "| | " + " | ".join(LABELS) + " | recall |",
        "|---" * (len(LABELS) + 2) + "|",
        *(
            f"| {name} | " + " | ".join(map(str, row)) + f" | {row[i] / row.sum():.0%} |"
            for i, (name, row) in enumerate(zip(LABELS, table, strict=True))
        ),
    ]
    figures = "<!-- figures: written by train.py -->\n" + "\n".join(lines) + "\n<!-- end of figures -->"
    text, found = re.subn(
        r"<!-- figures.*?end of figures -->", lambda _: figures, card.read_text(), flags=re.DOTALL
    )
    assert found == 1, f"{card}: the marks of the figures are gone"
    card.write_text(text)

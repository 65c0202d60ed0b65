"""Write the bundle around a trained model: what the agent loads, what proves it, and the figures of the card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import making
import numpy as np
import watch
from watch import CHANNELS, LABELS, RATE_HZ, UNITS, WINDOW, Floats, Ints, Trial

from edgeagent.inference.tensors import Signature
from edgeagent.inference.tflite import TfliteModel, find_runtime

VERSION = "1.0.0"
MODEL = "activity_int8.tflite"
LICENCE = "BSD-3-Clause (data), Apache-2.0 (model)"

TOLERANCE = 0.05
GOLDEN_A_LABEL = 2

STRETCH_S = 10
ROUNDS = ((8, "right"), (9, "left"), (10, "right"), (8, "left"))


class Int8Model:
    """The file that is shipped, run by the agent's own code: windows float32[n, 100, 6] in SI units in, scores out."""

    def __init__(self, flatbuffer: bytes, mean: Floats, std: Floats) -> None:
        signature = Signature(WINDOW, len(CHANNELS), len(LABELS), mean.tolist(), std.tolist())
        self._model = TfliteModel(find_runtime(), flatbuffer, signature)

    def scores(self, windows: Floats) -> Floats:
        """float32[n, 7], dequantised."""
        return np.stack([self._model.predict(window).scores for window in windows])


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
    x, y = watch.windows(watch.of(trials, watch.HELD_OUT))
    held_out = Result(model.scores(x), y)
    x_train, _ = watch.windows(watch.of(trials, watch.TRAINING))
    x_recorded, y_recorded = recorded(folder / "recording", trials)
    recording = Result(model.scores(x_recorded), y_recorded)

    inputs, outputs = golden(x, held_out)
    making.write_golden(folder, inputs, outputs)
    making.write_baseline(folder, baseline(x_train, model.scores(x_train)))
    metrics = {
        "accuracy_float": round(accuracy_float, 4),
        "accuracy_int8": round(held_out.accuracy, 4),
        "accuracy_recording": round(recording.accuracy, 4),
        "majority": round(float(np.bincount(y).max() / len(y)), 4),
        "size_bytes": len(flatbuffer),
    }
    write_bundle(folder / "bundle.yaml", flatbuffer, mean, std, metrics)
    put_in_card(folder / "README.md", metrics, held_out, recording, folds, making.invoke_us(flatbuffer))
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
    tops, edges = np.histogram(scores.max(1), bins=10, range=(0, 1))
    labels = np.bincount(scores.argmax(1), minlength=len(LABELS)) / len(x)
    return {
        "windows": len(x),
        "inputs": {
            name: making.channel_baseline(unit, x[:, :, i].reshape(-1))
            for i, (name, unit) in enumerate(zip(CHANNELS, UNITS, strict=True))
        },
        "top_scores": {"edges": edges.round(1).tolist(), "fractions": (tops / len(x)).round(5).tolist()},
        "labels": dict(zip(LABELS, labels.round(5).tolist(), strict=True)),
    }


def recorded(folder: Path, trials: list[Trial]) -> tuple[Floats, Ints]:
    """Write the held-out recording; its windows that lie inside one label, 1 s apart, and the label of each.

    Round after round, the middle 10 s of each exercise by one held-out person and arm, as an MPU6050 would count it.
    """
    assert all(subject in watch.HELD_OUT for subject, _ in ROUNDS)
    by_key = {(t.subject, t.side, t.label): t.values for t in trials}
    half = STRETCH_S * RATE_HZ // 2
    stretches = []
    for subject, side in ROUNDS:
        for label, name in enumerate(LABELS):
            values = by_key[subject, side, label]
            stretches.append((name, values[len(values) // 2 - half : len(values) // 2 + half]))
    x, names = watch.inside_labels(*watch.record(folder, stretches, "subjects 8, 9 and 10"))
    return x, np.array([LABELS.index(name) for name in names])


def write_bundle(file: Path, flatbuffer: bytes, mean: Floats, std: Floats, metrics: dict[str, float]) -> None:
    """`bundle.yaml`, in the order in which one reads it."""
    bundle = {
        "name": "activity",
        "version": VERSION,
        "task": "classification",
        "input": {
            "channels": [
                making.on_one_line({"name": n, "unit": u}) for n, u in zip(CHANNELS, UNITS, strict=True)
            ],
            "rate": f"{RATE_HZ} Hz",
            "window": f"{WINDOW // RATE_HZ} s",
            "hop": f"{watch.HOP // RATE_HZ} s",
            "max_missing": 0.05,
            "scaling": {
                "mean": making.on_one_line([float(str(v)) for v in mean]),
                "std": making.on_one_line([float(str(v)) for v in std]),
            },
        },
        "output": {"labels": making.on_one_line(list(LABELS)), "scores": "probabilities"},
        "variants": [making.variant(file.with_name(MODEL), flatbuffer)],
        "golden": making.on_one_line({"file": "golden.npz", "tolerance": TOLERANCE}),
        "baseline": "baseline.json",
        "licence": LICENCE,
        "data": {
            "source": watch.SOURCE,
            "citation": watch.CITATION,
            "sha256": watch.DATA_SHA256,
            "subjects": {
                "training": making.on_one_line(list(watch.TRAINING)),
                "held_out": making.on_one_line(list(watch.HELD_OUT)),
            },
        },
        "metrics": metrics,
    }
    making.write_yaml(file, bundle)


def put_in_card(
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
    making.put_figures(card, lines)

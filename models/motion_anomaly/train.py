"""Train the anomaly model and write everything in this folder: `make models`, or `python train.py`.

An autoencoder sees three exercises with the arm at the side, and nothing else. What it cannot rebuild is unusual: the
four exercises that lift the arm, which nobody showed it. People are split, never windows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))  # what the models' scripts share

import keras
import making
import numpy as np
import tensorflow as tf
import watch
from keras import layers
from making import Scaling
from watch import CHANNELS, LABELS, UNITS, WINDOW, Floats, Trial

from edgeagent.config.schema import Part
from edgeagent.inference.preprocess import Form
from edgeagent.inference.preprocess.chain import Chain
from edgeagent.inference.preprocess.fft_magnitude import Options as Spectrum
from edgeagent.inference.tasks.anomaly import ANOMALY, NORMAL
from edgeagent.records import Channel

FOLDER = Path(__file__).parent
MODEL = "motion_anomaly_int8.tflite"
AT_THE_SIDE = ("pendulum", "inward", "outward")

SEED = 1
EPOCHS = 80
BATCH = 128
TRAINING_HOP = 25
UP_TO_HZ = 10.0
CODE = 8

PERCENTILE = 95
TOLERANCE = 0.02
GOLDEN_OF_EACH = 4
RECORDED, RECORDED_S = 8, (25, 10)
"""The subject of the recording, and how long each of its trials that are normal and that are not."""


class Split(NamedTuple):
    """Windows float32[n, 100, 6] of the exercises that count as normal, and of the others."""

    normal: Floats
    unusual: Floats


class Result(NamedTuple):
    """Errors of such windows: float32[n] each."""

    normal: Floats
    unusual: Floats

    def auc(self) -> float:
        """The probability that an unusual window has a larger error than a normal one (Mann-Whitney)."""
        ranks = np.concatenate(self).argsort().argsort() + 1
        n, m = len(self.normal), len(self.unusual)
        return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))

    def shares_above(self, threshold: float) -> tuple[float, float]:
        """False alarms, and what is found."""
        return float((self.normal > threshold).mean()), float((self.unusual > threshold).mean())


chain = Chain(
    [Part("fft_magnitude", Spectrum(to=UP_TO_HZ))],
    Form((WINDOW, len(CHANNELS)), tuple(map(Channel, CHANNELS, UNITS)), float(watch.RATE_HZ)),
)
"""The agent's own code: the strength of each frequency, in which it does not matter when a swing began."""


def split(trials: list[Trial], subjects: tuple[int, ...], hop: int = watch.HOP) -> Split:
    x, y = watch.windows(watch.of(trials, subjects), hop)
    is_normal = np.isin(y, [LABELS.index(name) for name in AT_THE_SIDE])
    return Split(x[is_normal], x[~is_normal])


def prepared(windows: Floats) -> Floats:
    """float32[n, 21, 6], not scaled yet."""
    return np.stack([chain(window) for window in windows])


def network(batch: int | None = None) -> keras.Model:
    """Through a code of eight numbers and back."""
    shape = (chain.rows, len(CHANNELS))
    inputs = layers.Input(batch_shape=(batch, *shape))
    x = layers.Flatten()(inputs)
    for width in (32, CODE, 32):
        x = layers.Dense(width, activation="relu")(x)
    x = layers.Dense(shape[0] * shape[1])(x)
    return keras.Model(inputs, layers.Reshape(shape)(x))


def fit(scaled: Floats) -> keras.Model:
    """The same seed gives the same model on the same machine."""
    keras.utils.set_random_seed(SEED)
    model = network()
    steps = EPOCHS * len(scaled) // BATCH
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="mse")
    model.fit(scaled, scaled, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model


def errors(model: keras.Model, scaled: Floats) -> Floats:
    """float32[n]: what the task `anomaly` makes of a float model."""
    rebuilt = model.predict(scaled, verbose=0)
    mean: Floats = ((scaled - rebuilt) ** 2).mean((1, 2))
    return mean


def cross_validate(trials: list[Trial]) -> tuple[dict[int, float], Floats]:
    """AUC by the subject left out, and the errors of all normal windows, none by a model that knew the person."""
    aucs, normal = {}, []
    for subject in watch.TRAINING:
        others = tuple(s for s in watch.TRAINING if s != subject)
        spectra = prepared(split(trials, others, TRAINING_HOP).normal)
        scale = Scaling.of(spectra)
        model = fit(scale(spectra))
        left_out = Result(*(errors(model, scale(prepared(x))) for x in split(trials, (subject,))))
        aucs[subject] = left_out.auc()
        normal.append(left_out.normal)
        print(f"  without subject {subject}: AUC {aucs[subject]:.3f} on them", flush=True)
    return aucs, np.concatenate(normal)


def record(trials: list[Trial]) -> tuple[Floats, list[str]]:
    """Write the held-out recording, the middle of each trial of one person, normal ones first; its windows."""
    assert RECORDED in watch.HELD_OUT
    stretches = []
    for kind, seconds in zip((NORMAL, ANOMALY), RECORDED_S, strict=True):
        for trial in watch.of(trials, (RECORDED,)):
            if (LABELS[trial.label] in AT_THE_SIDE) == (kind == NORMAL):
                half = min(len(trial.values), seconds * watch.RATE_HZ) // 2
                middle = len(trial.values) // 2
                stretches.append((kind, trial.values[middle - half : middle + half]))
    return watch.inside_labels(*watch.record(FOLDER / "recording", stretches, f"subject {RECORDED}"))


def description(
    variant: dict[str, Any], scale: Scaling, threshold: float, metrics: dict[str, Any]
) -> dict[str, Any]:
    """`bundle.yaml`."""
    return {
        "name": "motion_anomaly",
        "version": "1.0.0",
        "task": "anomaly",
        "input": {
            "channels": [
                making.on_one_line({"name": n, "unit": u}) for n, u in zip(CHANNELS, UNITS, strict=True)
            ],
            "rate": f"{watch.RATE_HZ} Hz",
            "window": f"{WINDOW // watch.RATE_HZ} s",
            "hop": f"{watch.HOP // watch.RATE_HZ} s",
            "max_missing": 0.05,
            "preprocess": [making.on_one_line({"fft_magnitude": {"to": f"{UP_TO_HZ:g} Hz"}})],
            "scaling": {
                "mean": making.on_one_line([float(str(v)) for v in scale.mean]),
                "std": making.on_one_line([float(str(v)) for v in scale.std]),
            },
        },
        "output": making.on_one_line({"threshold": threshold, "error": "squared"}),
        "variants": [variant],
        "golden": making.on_one_line({"file": "golden.npz", "tolerance": TOLERANCE}),
        "baseline": "baseline.json",
        "licence": "BSD-3-Clause (data), Apache-2.0 (model)",
        "data": {
            "source": watch.SOURCE,
            "citation": watch.CITATION,
            "sha256": watch.DATA_SHA256,
            "normal": making.on_one_line(list(AT_THE_SIDE)),
            "subjects": {
                "training": making.on_one_line(list(watch.TRAINING)),
                "held_out": making.on_one_line(list(watch.HELD_OUT)),
            },
        },
        "metrics": metrics,
    }


def write(
    trials: list[Trial], flatbuffer: bytes, scale: Scaling, out_of_fold: Floats, figures: dict[str, Any]
) -> None:
    """Every file of the bundle that is not source."""
    threshold = round(float(np.percentile(out_of_fold, PERCENTILE)), 3)
    variant = making.variant(FOLDER / MODEL, flatbuffer)
    making.write_yaml(FOLDER / "bundle.yaml", description(variant, scale, threshold, {}))
    model = making.Int8Model(FOLDER)

    def measured(windows: Split) -> Result:
        return Result(*(model.scores(x)[:, 0] for x in windows))

    held_out = split(trials, watch.HELD_OUT)
    result = measured(held_out)
    false_alarms, found = result.shares_above(threshold)
    recorded, names = record(trials)
    told = model.scores(recorded)[:, 0] > threshold
    metrics = {
        "auc_float": round(figures["auc_float"], 4),
        "auc_int8": round(result.auc(), 4),
        "auc_energy": round(Result(*(energy(x, scale) for x in held_out)).auc(), 4),
        "false_alarms": round(false_alarms, 4),
        "found": round(found, 4),
        "accuracy_recording": round(float((told == (np.array(names) == ANOMALY)).mean()), 4),
        "size_bytes": len(flatbuffer),
    }
    making.write_yaml(FOLDER / "bundle.yaml", description(variant, scale, threshold, metrics))
    making.write_golden(FOLDER, *golden(held_out, result, threshold))
    training = split(trials, watch.TRAINING).normal
    making.write_baseline(FOLDER, baseline(training, model.scores(training)[:, 0]))
    by_person = {s: measured(split(trials, (s,))) for s in watch.HELD_OUT}
    lines = card(metrics, threshold, figures["aucs"], result, by_person, making.invoke_us(flatbuffer))
    making.put_figures(FOLDER / "README.md", lines)
    print(metrics)


def energy(windows: Floats, scale: Scaling) -> Floats:
    """What needs no model: how far a spectrum is from the mean of training."""
    mean: Floats = (scale(prepared(windows)) ** 2).mean((1, 2))
    return mean


def golden(windows: Split, result: Result, threshold: float) -> tuple[Floats, Floats]:
    """Some of both kinds, right or wrong, with errors of the threshold's size: larger ones vary more by the kernel."""
    inputs, outputs = [], []
    for x, error in zip(windows, result, strict=True):
        rows = np.flatnonzero(error < 2 * threshold)
        chosen = rows[:: max(len(rows) // GOLDEN_OF_EACH, 1)][:GOLDEN_OF_EACH]
        inputs.append(x[chosen])
        outputs.append(error[chosen, None])
    return np.concatenate(inputs), np.concatenate(outputs)


def baseline(windows: Floats, scores: Floats) -> dict[str, Any]:
    """What drift is measured against: deciles of each channel, and of the errors on training's normal windows."""
    return {
        "windows": len(windows),
        "inputs": {
            name: making.channel_baseline(unit, windows[:, :, i].reshape(-1))
            for i, (name, unit) in enumerate(zip(CHANNELS, UNITS, strict=True))
        },
        "errors": {"deciles": np.quantile(scores, np.linspace(0, 1, 11)).round(5).tolist()},
    }


def calibrated(person: Result) -> tuple[float, Result]:
    """The threshold that one half of a person's normal windows gives, and the other windows: trials alternate."""
    half = np.arange(len(person.normal)) // 10 % 2 == 0
    return float(np.percentile(person.normal[half], PERCENTILE)), Result(person.normal[~half], person.unusual)


def card(
    metrics: dict[str, Any],
    threshold: float,
    aucs: dict[int, float],
    result: Result,
    by_person: dict[int, Result],
    invoke_us: float,
) -> list[str]:
    """The figures, in Markdown."""
    spread = np.array(list(aucs.values()))
    counts = f"{len(result.normal)} normal windows, {len(result.unusual)} unusual"
    lines = [
        f"| held-out subjects ({counts}) | AUC |",
        "|---|---|",
        f"| float | {metrics['auc_float']:.3f} |",
        f"| **int8** | **{metrics['auc_int8']:.3f}** |",
        f"| no model: the distance from the mean spectrum | {metrics['auc_energy']:.3f} |",
        "",
        f"Leaving out one training subject at a time (float): AUC {spread.mean():.3f} ± {spread.std(ddof=1):.3f}; "
        "by subject " + ", ".join(f"{s}: {a:.3f}" for s, a in aucs.items()) + ".",
        "",
        f"The threshold that is shipped, {threshold:g}, is the {PERCENTILE}th percentile over people that a model had "
        f"not seen (those left out above). On the held-out subjects it calls {metrics['false_alarms']:.1%} of the "
        f"normal windows unusual, and finds {metrics['found']:.1%} of the unusual. By person, and with a threshold "
        "from half of the person's own normal windows, tried on the rest:",
        "",
        "| subject | AUC | shipped: false alarms | found | calibrated: threshold | false alarms | found |",
        "|---|---|---|---|---|---|---|",
    ]
    for subject, person in by_person.items():
        own, rest = calibrated(person)
        shipped = " | ".join(f"{share:.1%}" for share in person.shares_above(threshold))
        after = " | ".join(f"{share:.1%}" for share in rest.shares_above(own))
        lines.append(f"| {subject} | {person.auc():.3f} | {shipped} | {own:.3f} | {after} |")
    return [
        *lines,
        "",
        f"`recording/`: {metrics['accuracy_recording']:.1%} right with the threshold that is shipped.",
        "",
        f"Size {metrics['size_bytes']} bytes. Latency {invoke_us:.1f} µs (median of 3000 bare `invoke()` on x86-64, "
        "LiteRT, one thread, taken by `train.py`); the spectrum before it and the error after it come on top.",
    ]


def main() -> None:
    tf.config.experimental.enable_op_determinism()
    trials = watch.load()
    print(f"cross-validation over {len(watch.TRAINING)} subjects ...", flush=True)
    aucs, out_of_fold = cross_validate(trials)

    print("training on all of them ...", flush=True)
    spectra = prepared(split(trials, watch.TRAINING, TRAINING_HOP).normal)
    scale = Scaling.of(spectra)
    model = fit(scale(spectra))
    held_out = split(trials, watch.HELD_OUT)
    auc_float = Result(*(errors(model, scale(prepared(x))) for x in held_out)).auc()
    fixed = network(batch=1)
    fixed.set_weights(model.get_weights())
    flatbuffer = making.quantise(fixed, scale(spectra[::10]))
    write(trials, flatbuffer, scale, out_of_fold, {"aucs": aucs, "auc_float": auc_float})


if __name__ == "__main__":
    main()

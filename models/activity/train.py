"""Train the activity model and write everything in this folder: `make models`, or `python train.py`.

The question it answers honestly: how well does the model know exercises of people it has never seen? So people
are split, never windows. Network and training were chosen by leaving out one training subject at a time; the
held-out subjects are looked at once, at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # what the models' scripts share

import data
import keras
import making
import numpy as np
import publish
import tensorflow as tf
import watch
from data import MIRROR
from keras import layers
from making import Scaling
from watch import LABELS, Floats, Ints, Trial

SEED = 1
EPOCHS = 30
WINDOWS_AN_EPOCH = 4096
BATCH = 64


def scaling(trials: list[Trial]) -> Scaling:
    """Of the trials and their mirror images, which training sees as often."""
    x = np.concatenate([t.values for t in trials])
    both = np.concatenate([x, x * MIRROR]).astype(np.float64)
    return Scaling.of(both)


def network(batch: int | None = None) -> keras.Model:
    """Three strided convolutions, their average over the window, and a probability for each exercise."""
    x = inputs = layers.Input(batch_shape=(batch, watch.WINDOW, len(watch.CHANNELS)))
    for filters, width in ((16, 7), (24, 5), (32, 5)):
        x = layers.Conv1D(filters, width, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, layers.Dense(len(LABELS), activation="softmax")(x))


def fit(trials: list[Trial], scale: Scaling) -> keras.Model:
    """Train on windows drawn anew each epoch; the same seed gives the same model on the same machine."""
    keras.utils.set_random_seed(SEED)
    rng = np.random.default_rng(SEED)
    model = network()
    steps = EPOCHS * WINDOWS_AN_EPOCH // BATCH
    model.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(4e-3, steps), weight_decay=0.01
        ),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
    )
    for _ in range(EPOCHS):
        x, y = data.draw(rng, trials, WINDOWS_AN_EPOCH)
        model.fit(scale(x), np.eye(len(LABELS))[y], batch_size=BATCH, verbose=0)
    return model


def cross_validate(trials: list[Trial]) -> dict[int, float]:
    """Accuracy on each training subject of a model that was trained on the others."""
    accuracies = {}
    for subject in watch.TRAINING:
        others = [t for t in trials if t.subject != subject]
        scale = scaling(others)
        x, y = watch.windows(watch.of(trials, (subject,)))
        scores = fit(others, scale).predict(scale(x), verbose=0)
        accuracies[subject] = accuracy(scores, y)
        print(f"  without subject {subject}: {accuracies[subject]:.1%} on them", flush=True)
    return accuracies


def accuracy(scores: Floats, y: Ints) -> float:
    """The fraction of windows whose highest score is the true label's."""
    return float((scores.argmax(1) == y).mean())


def main() -> None:
    tf.config.experimental.enable_op_determinism()
    trials = watch.load()
    training, held_out = watch.of(trials, watch.TRAINING), watch.of(trials, watch.HELD_OUT)
    print(f"cross-validation over {len(watch.TRAINING)} subjects, some minutes ...", flush=True)
    folds = cross_validate(training)

    print("training on all of them ...", flush=True)
    scale = scaling(training)
    model = fit(training, scale)
    x_train, _ = watch.windows(training)
    fixed = network(batch=1)  # one window at a time on the device, and no dynamic shapes for the converter
    fixed.set_weights(model.get_weights())
    flatbuffer = making.quantise(fixed, scale(x_train[::10]))

    x, y = watch.windows(held_out)
    publish.write(
        Path(__file__).parent,
        flatbuffer,
        scale.mean,
        scale.std,
        trials,
        accuracy_float=accuracy(model.predict(scale(x), verbose=0), y),
        folds=folds,
    )


if __name__ == "__main__":
    main()

"""Train the surface model and write everything in this folder: `make models`, or `python train.py`.

Brick, grass or gravel, from a picture of 48 x 48. There is one photo of each, so it is split by place: the model is
trained on crops of the left two thirds, and tried on crops of the rest. A demo of the way, not a claim.
"""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1]))  # what the models' scripts share

import keras
import making
import numpy as np
import numpy.typing as npt
import skimage.data
import tensorflow as tf
from keras import layers
from PIL import Image

from edgeagent.buses.camera.picture import decode
from edgeagent.config.schema import Part
from edgeagent.inference.bundle import PIXEL
from edgeagent.inference.preprocess import Form
from edgeagent.inference.preprocess.chain import Chain
from edgeagent.records import Channel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Photo = npt.NDArray[np.uint8]

FOLDER = Path(__file__).parent
MODEL = "surface_int8.tflite"
LABELS = ("brick", "grass", "gravel")
SIDE = 48
TRAINED_UP_TO = 352
"""Columns of the photos (512 x 512): the crops of training lie to the left of this, all others to the right."""

SEED = 1
EPOCHS = 12
BATCH = 64
TRAINING_CROPS = 2000
HELD_OUT_CROPS = 200
CROP = (64, 128)
"""The sides of crops, in pixels of the photo."""

TOLERANCE = 0.05
GOLDEN_A_LABEL = 2
SHIPPED_A_LABEL, SHIPPED_SIDE = 4, 96

chain = Chain(
    [Part("colours", "grey"), Part("normalise", "all")],
    Form((SIDE, SIDE, 3), tuple(Channel(name, "1") for name in PIXEL), 0.0),
)
"""The agent's own code: grey, and each picture by its own mean and standard deviation, so that light does not count."""


class Seen(NamedTuple):
    """Pictures as the agent unpacks them, float32[n, 48 x 48, 3] from 0 to 255, and the label of each."""

    pixels: Floats
    y: Ints

    def prepared(self) -> Floats:
        """float32[n, 48, 48, 1]."""
        return np.stack([chain(one) for one in self.pixels]).reshape(-1, SIDE, SIDE, 1)


def jpeg(picture: Photo, quality: int) -> bytes:
    out = BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=quality)
    return out.getvalue()


def crop(rng: np.random.Generator, photo: Photo) -> Photo:
    """A square from anywhere, turned by quarters, in another light."""
    side = rng.integers(*CROP)
    top, left = (rng.integers(0, length - side + 1) for length in photo.shape)
    turned = np.rot90(photo[top : top + side, left : left + side], rng.integers(4))
    light = (turned - 128.0) * rng.uniform(0.5, 1.2) + 128 + rng.uniform(-50, 50)
    return np.clip(light + rng.normal(0, 4, light.shape), 0, 255).astype(np.uint8)


def see(rng: np.random.Generator, photos: list[Photo], count: int) -> Seen:
    """So many crops of each photo, as a camera's JPEGs, unpacked by the agent's own code."""
    pixels = [
        decode(jpeg(crop(rng, photo), int(rng.integers(60, 95))), SIDE, SIDE).reshape(-1, 3)
        for photo in photos
        for _ in range(count)
    ]
    return Seen(np.stack(pixels).astype(np.float32), np.repeat(np.arange(len(photos)), count))


def network(batch: int | None = None) -> keras.Model:
    """Four strided convolutions, their average over the picture, and a probability for each surface."""
    x = inputs = layers.Input(batch_shape=(batch, SIDE, SIDE, 1))
    for filters in (8, 16, 24, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(len(LABELS), activation="softmax")(x))


def fit(x: Floats, y: Ints) -> keras.Model:
    """The same seed gives the same model on the same machine."""
    keras.utils.set_random_seed(SEED)
    model = network()
    rate = keras.optimizers.schedules.CosineDecay(3e-3, EPOCHS * len(x) // BATCH)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model


def ship_pictures(photos: list[Photo]) -> Seen:
    """Write the pictures that go with the bundle, from where no training crop was; what the agent sees of them."""
    pixels = []
    (FOLDER / "pictures").mkdir(exist_ok=True)
    for label, photo in zip(LABELS, photos, strict=True):
        for n in range(SHIPPED_A_LABEL):
            left = photo.shape[1] - SHIPPED_SIDE
            data = jpeg(photo[n * 128 : n * 128 + SHIPPED_SIDE, left:], 85)
            (FOLDER / "pictures" / f"{label}-{n + 1}.jpg").write_bytes(data)
            pixels.append(decode(data, SIDE, SIDE).reshape(-1, 3))
    return Seen(np.stack(pixels).astype(np.float32), np.repeat(np.arange(len(LABELS)), SHIPPED_A_LABEL))


def accuracy(scores: Floats, y: Ints) -> float:
    return float((scores.argmax(1) == y).mean())


def description(variant: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """`bundle.yaml`."""
    return {
        "name": "surface",
        "version": "1.0.0",
        "task": "classification",
        "input": {
            "channels": [making.on_one_line({"name": name, "unit": "1"}) for name in PIXEL],
            "shape": making.on_one_line([SIDE, SIDE]),
            "resize": "crop",
            "rate": "1 Hz",
            "window": "1 s",
            "hop": "1 s",
            "preprocess": [making.on_one_line({"colours": "grey"}), making.on_one_line({"normalise": "all"})],
        },
        "output": {"labels": making.on_one_line(list(LABELS)), "scores": "probabilities"},
        "variants": [variant],
        "golden": making.on_one_line({"file": "golden.npz", "tolerance": TOLERANCE}),
        "baseline": "baseline.json",
        "licence": "CC0-1.0 (photos), Apache-2.0 (model)",
        "data": {
            "source": "scikit-image, skimage.data: brick, grass and gravel",
            "trained": f"crops of columns 0 to {TRAINED_UP_TO - 1} of each photo",
            "held_out": f"crops of columns {TRAINED_UP_TO} to 511",
        },
        "metrics": metrics,
    }


def golden(seen: Seen, scores: Floats) -> tuple[Floats, Floats]:
    """Some of each label that are clear of a tie, right or wrong."""
    best = np.sort(scores, axis=1)
    clear = best[:, -1] - best[:, -2] > 4 * TOLERANCE
    of_label = [np.flatnonzero(clear & (seen.y == label))[:GOLDEN_A_LABEL] for label in range(len(LABELS))]
    chosen = np.concatenate(of_label)
    return seen.pixels[chosen], scores[chosen]


def baseline(seen: Seen, scores: Floats) -> dict[str, Any]:
    """What drift is measured against: deciles of each colour, tenths of the top score, and predicted labels."""
    tops, edges = np.histogram(scores.max(1), bins=10, range=(0, 1))
    labels = np.bincount(scores.argmax(1), minlength=len(LABELS)) / len(scores)
    colours = {
        name: making.channel_baseline("1", seen.pixels[:, :, i].reshape(-1)) for i, name in enumerate(PIXEL)
    }
    return {
        "windows": len(scores),
        "inputs": colours,
        "top_scores": {"edges": edges.round(1).tolist(), "fractions": (tops / len(scores)).round(5).tolist()},
        "labels": dict(zip(LABELS, labels.round(5).tolist(), strict=True)),
    }


def card(metrics: dict[str, Any], table: Ints, invoke_us: float) -> list[str]:
    """The figures, in Markdown."""
    count = table.sum()
    return [
        "| | pictures | accuracy |",
        "|---|---|---|",
        f"| float, crops of the right third | {count} | {metrics['accuracy_float']:.1%} |",
        f"| **int8, crops of the right third** | {count} | **{metrics['accuracy_int8']:.1%}** |",
        f"| int8, `pictures/` | {len(LABELS) * SHIPPED_A_LABEL} | {metrics['accuracy_pictures']:.1%} |",
        f"| always the same surface | {count} | {1 / len(LABELS):.1%} |",
        "",
        f"Size {metrics['size_bytes']} bytes. Latency {invoke_us:.1f} µs (median of 3000 bare `invoke()` on x86-64, "
        "LiteRT, one thread, taken by `train.py`); unpacking and preparing a picture come on top.",
        "",
        "int8 on the crops of the right third, true surface by row, predicted by column:",
        "",
        "| | " + " | ".join(LABELS) + " |",
        "|---" * (len(LABELS) + 1) + "|",
        *(f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in zip(LABELS, table, strict=True)),
    ]


def main() -> None:
    tf.config.experimental.enable_op_determinism()
    photos = [np.asarray(getattr(skimage.data, label)()) for label in LABELS]
    rng = np.random.default_rng(SEED)
    training = see(rng, [photo[:, :TRAINED_UP_TO] for photo in photos], TRAINING_CROPS)
    held_out = see(rng, [photo[:, TRAINED_UP_TO:] for photo in photos], HELD_OUT_CROPS)
    print("training ...", flush=True)
    x = training.prepared()
    model = fit(x, training.y)
    fixed = network(batch=1)
    fixed.set_weights(model.get_weights())
    flatbuffer = making.quantise(fixed, x[::20])

    variant = making.variant(FOLDER / MODEL, flatbuffer)
    making.write_yaml(FOLDER / "bundle.yaml", description(variant, {}))
    int8 = making.Int8Model(FOLDER)
    scores, shipped = int8.scores(held_out.pixels), ship_pictures(photos)
    metrics = {
        "accuracy_float": round(accuracy(model.predict(held_out.prepared(), verbose=0), held_out.y), 4),
        "accuracy_int8": round(accuracy(scores, held_out.y), 4),
        "accuracy_pictures": round(accuracy(int8.scores(shipped.pixels), shipped.y), 4),
        "size_bytes": len(flatbuffer),
    }
    making.write_yaml(FOLDER / "bundle.yaml", description(variant, metrics))
    making.write_golden(FOLDER, *golden(held_out, scores))
    making.write_baseline(FOLDER, baseline(training, int8.scores(training.pixels)))
    table = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(table, (held_out.y, scores.argmax(1)), 1)
    making.put_figures(FOLDER / "README.md", card(metrics, table, making.invoke_us(flatbuffer)))
    print(metrics)


if __name__ == "__main__":
    main()

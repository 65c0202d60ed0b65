"""What the activity model is trained on: windows of the watch data, drawn at random and varied."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from watch import LABELS, WINDOW, Floats, Ints, Trial

# Left and right arm mirror each other in the watch's x: acceleration flips along x, and rotation, being an
# axial vector, about the other two. The training subjects' means and correlations by side say the same.
MIRROR = np.array([-1, 1, 1, 1, -1, -1], np.float32)


def draw(rng: np.random.Generator, trials: list[Trial], count: int) -> tuple[Floats, Ints]:
    """`count` windows at random, every exercise as often as any other, each varied as people and watches vary."""
    samples = np.concatenate([t.values for t in trials])
    lengths = np.array([len(t.values) for t in trials])
    starts = np.cumsum(lengths) - lengths
    by_label = [np.flatnonzero([t.label == label for t in trials]) for label in range(len(LABELS))]

    y = rng.integers(0, len(LABELS), count)
    trial = np.array([rng.choice(by_label[label]) for label in y])
    speed = np.exp(rng.uniform(-0.2, 0.2, count))
    first = rng.uniform(0, lengths[trial] - 1 - speed * (WINDOW - 1))
    at = first[:, None] + speed[:, None] * np.arange(WINDOW)
    whole = at.astype(np.int64)
    part = (at - whole)[:, :, None]
    index = starts[trial][:, None] + whole
    x = samples[index] * (1 - part) + samples[np.minimum(index + 1, len(samples) - 1)] * part
    x[:, :, 3:] *= speed[:, None, None]  # quicker through the same path is a faster rotation
    x[rng.random(count) < 0.5] *= MIRROR
    return vary(rng, x).astype(np.float32), y


def vary(rng: np.random.Generator, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Wear the watch a little turned, move a little harder or softer, and add sensor noise."""
    turn = rotations(rng.normal(0, np.radians([15, 10, 10]), (len(x), 3)))
    x = np.concatenate([x[:, :, :3] @ turn, x[:, :, 3:] @ turn], axis=2)
    x[:, :, 3:] *= np.exp(rng.normal(0, 0.1, (len(x), 1, 1)))
    return x + rng.normal(0, [0.3, 0.3, 0.3, 0.06, 0.06, 0.06], x.shape)


def rotations(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rotation vectors in rad, float64[n, 3], as matrices float64[n, 3, 3] (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = (vectors / np.maximum(angle[:, :, 0], 1e-12)).T
    o = np.zeros_like(x)
    k = np.array([[o, -z, y], [z, o, -x], [-y, x, o]]).transpose(2, 0, 1)
    rotation: npt.NDArray[np.float64] = np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)
    return rotation

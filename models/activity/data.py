"""The watch data: where it comes from, how it is split by person, cut into windows and varied.

`watch_dataset` of seglearn 1.2.5: ten people wearing a smartwatch did seven shoulder exercises with each arm,
one trial of 19 to 52 s each, at 50 Hz (D. M. Burns et al., arXiv:1802.01489). Here it is in SI units.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

RATE_HZ = 50
WINDOW = 100
HOP = 50
G = 9.80665

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = ("m/s2", "m/s2", "m/s2", "rad/s", "rad/s", "rad/s")
# The data's own names: PEN, ABD, FEL, IR, ER, TRAP, ROW.
LABELS = ("pendulum", "abduction", "elevation", "inward", "outward", "trapezius", "row")

# The last three by number, before anything was trained: nobody chose them for their score.
TRAINING = (1, 2, 3, 4, 5, 6, 7)
HELD_OUT = (8, 9, 10)

DATA_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"

# Left and right arm mirror each other in the watch's x: acceleration flips along x, and rotation, being an
# axial vector, about the other two. The training subjects' means and correlations by side say the same.
MIRROR = np.array([-1, 1, 1, 1, -1, -1], np.float32)


class Trial(NamedTuple):
    """One person doing one exercise with one arm: `values` float32[n, 6] in m/s2 and rad/s; `label` indexes LABELS."""

    subject: int
    side: Literal["left", "right"]
    label: int
    values: Floats


def load() -> list[Trial]:
    """All 140 trials. The file is read where the package put it: importing seglearn would want pandas too."""
    spec = importlib.util.find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "the training data is not here: pip install 'edgeagent[train]', or run `make models`"
        )
    file = Path(spec.submodule_search_locations[0]) / "data" / "watch_dataset.npy"
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != DATA_SHA256:  # it is a pickle: nothing but the file that we know is loaded
        raise SystemExit(f"{file}: sha256 {found}; expected {DATA_SHA256}, of seglearn 1.2.5")
    data = np.load(file, allow_pickle=True).item()
    si = np.array([G, G, G, 1, 1, 1])
    return [
        Trial(int(subject), "right" if side else "left", int(label), (x * si).astype(np.float32))
        for x, label, subject, side in zip(data["X"], data["y"], data["subject"], data["side"], strict=True)
    ]


def of(trials: list[Trial], subjects: tuple[int, ...]) -> list[Trial]:
    """The trials of some people."""
    return [t for t in trials if t.subject in subjects]


def windows(trials: list[Trial]) -> tuple[Floats, Ints]:
    """As the agent cuts them, 2 s every 1 s: float32[n, 100, 6] and the label of each."""
    cut = [
        (t.values[at : at + WINDOW], t.label)
        for t in trials
        for at in range(0, len(t.values) - WINDOW + 1, HOP)
    ]
    return np.stack([x for x, _ in cut]), np.array([label for _, label in cut])


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

"""The watch data: where it comes from, how it is split by person, cut into windows, and written as a recording.

`watch_dataset` of seglearn 1.2.5: ten people wearing a smartwatch did seven shoulder exercises with each arm,
one trial of 19 to 52 s each, at 50 Hz (D. M. Burns et al., arXiv:1802.01489). Here it is in SI units.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeagent.recording import Channel, Header, Label, label_between, write_series
from edgeagent.records import Layout

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

RATE_HZ = 50
WINDOW = 100
HOP = 50
NS_A_SAMPLE = 1_000_000_000 // RATE_HZ
G = 9.80665

CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
UNITS = ("m/s2", "m/s2", "m/s2", "rad/s", "rad/s", "rad/s")
# The data's own names: PEN, ABD, FEL, IR, ER, TRAP, ROW.
LABELS = ("pendulum", "abduction", "elevation", "inward", "outward", "trapezius", "row")

# The last three by number, before anything was trained: nobody chose them for their score.
TRAINING = (1, 2, 3, 4, 5, 6, 7)
HELD_OUT = (8, 9, 10)

DATA_SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"
SOURCE = "seglearn 1.2.5 watch_dataset"
CITATION = "D. M. Burns et al., Shoulder physiotherapy exercise recognition, arXiv:1802.01489"

# An MPU6050 at +-8 g and +-2000 deg/s (its register map, revision 4.2, sections 4.17 and 4.19).
LSB = (*[G / 4096] * 3, *[float(np.radians(1 / 16.4))] * 3)
# 1.5 s a block: what each block adds to its samples matters, where the whole recording has to stay small.
SAMPLES_A_BLOCK = 75


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


def windows(trials: list[Trial], hop: int = HOP) -> tuple[Floats, Ints]:
    """As the agent cuts them, 2 s every 1 s: float32[n, 100, 6] and the label of each."""
    cut = [
        (t.values[at : at + WINDOW], t.label)
        for t in trials
        for at in range(0, len(t.values) - WINDOW + 1, hop)
    ]
    return np.stack([x for x, _ in cut]), np.array([label for _, label in cut])


def record(
    folder: Path, stretches: Sequence[tuple[str, Floats]], whose: str
) -> tuple[Floats, tuple[Label, ...]]:
    """Write labelled stretches float32[n, 6] one after the other, as an MPU6050 counts them; what it then holds."""
    labels, at = [], 0
    for name, values in stretches:
        begin_ns, at = at * NS_A_SAMPLE, at + len(values)
        labels.append(Label(name, begin_ns, at * NS_A_SAMPLE))
    lsb = np.array(LSB)
    counts = np.clip(np.rint(np.concatenate([values for _, values in stretches]) / lsb), -32768, 32767)
    values = (counts * lsb).astype(np.float32)

    channels = tuple(map(Channel, CHANNELS, UNITS, LSB))
    header = Header(
        schema=1,
        sensors={"imu": Layout(float(RATE_HZ), channels)},
        labels=tuple(labels),
        source=f"{SOURCE}, {whose}, as MPU6050 counts; {CITATION}",
        licence="BSD-3-Clause, Copyright (c) 2018, David M. Burns",
    )
    for file in ("recording.yaml", "journal.bin"):
        (folder / file).unlink(missing_ok=True)
    write_series(folder, header, "imu", values, chunk=SAMPLES_A_BLOCK)
    return values, header.labels


def inside_labels(values: Floats, labels: tuple[Label, ...]) -> tuple[Floats, list[str]]:
    """The windows of float32[n, 6] from time 0, 1 s apart, over all of which one label holds."""
    x, y = [], []
    for at in range(0, len(values) - WINDOW + 1, HOP):
        label = label_between(labels, at * NS_A_SAMPLE, (at + WINDOW) * NS_A_SAMPLE)
        if label is not None:
            x.append(values[at : at + WINDOW])
            y.append(label)
    return np.stack(x), y

"""The types that travel: from a sensor's samples to the record that leaves the device.

All are frozen; units stand in the names. Nothing here reads a clock, a file or a device.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edgeagent.packing import pack, unpack

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Channel(msgspec.Struct, frozen=True):
    """One measured quantity. `lsb` is the value of one raw count in `unit`; None if the source gives none."""

    name: str
    unit: str
    lsb: float | None = None


class Source(msgspec.Struct, frozen=True):
    """What took the samples, where it says so itself: a firmware, its version and build, and the one board."""

    firmware: str
    version: str
    build: str
    board: str


class Layout(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sensor's blocks hold: channels in column order, the nominal sample rate, and what took them.

    `pictures`: beside each sample there is a picture, as a file. A model that takes pictures has a `shape`, (height,
    width): each is scaled to that, and the channels are those of a pixel.
    """

    rate_hz: float
    channels: tuple[Channel, ...]
    source: Source | None = None
    pictures: bool = False
    shape: tuple[int, ...] = ()

    def index(self, channel: str) -> int:
        """The column of a channel. Raises KeyError naming the channels that there are."""
        for i, c in enumerate(self.channels):
            if c.name == channel:
                return i
        raise KeyError(f"no channel {channel!r}; there are: {', '.join(c.name for c in self.channels)}")


class Block(msgspec.Struct, frozen=True, eq=False):
    """Consecutive samples of one sensor.

    `t_mono_ns` int64[n] is each sample's time, `values` float32[n, channels] in the units of the layout.
    A reading that failed is NaN and has a reason, never 0.0. `lost` counts the samples missing *before*
    this block; `t_read_ns` is when the read that delivered the block returned. `pictures` are a camera's, one a
    sample, each the file as the camera made it; b"" where the reading failed.
    """

    sensor: str
    seq: int
    t_mono_ns: Int64Array
    values: Float32Array
    t_read_ns: int
    lost: int = 0
    reasons: tuple[str, ...] = ()
    pictures: tuple[bytes, ...] = ()


class Window(msgspec.Struct, frozen=True, eq=False):
    """A pipeline's input: `values` float32[n, channels] at `rate_hz`; a missing sample is a row of NaN.

    For a model that takes pictures they are in `pictures`, as files, and `values` is what came beside them.
    """

    pipeline: str
    seq: int
    t_start_ns: int
    t_end_ns: int
    t_read_ns: int
    rate_hz: float
    layout: Layout
    values: Float32Array
    missing_fraction: float
    pictures: tuple[bytes, ...] = ()


Skipped = Literal["missing", "stale", "worker", "quarantined"]


class Quantity(msgspec.Struct, frozen=True):
    """A value with its name and unit."""

    name: str
    value: float
    unit: str


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's numbers mean, by its task; what the task does not give is left out.

    `top` has the best scores by label, where not all are wanted; `anomaly` is above `threshold` where it is one.
    """

    label: str | None = None
    score: float | None = None
    scores: tuple[float, ...] = ()
    margin: float | None = None
    top: dict[str, float] = {}
    values: tuple[Quantity, ...] = ()
    anomaly: float | None = None
    threshold: float | None = None
    embedding: tuple[float, ...] = ()


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a model said of one window, or (`skipped`) why it said nothing.

    `latency_ns` runs from the read that delivered the window's last sample to the decision. `why` is left out where the
    variant is the bundle's first for what was `requested`, and else says in a line what became of the one before. From
    `top` on it has what only some tasks give, as in `Reading`.
    """

    pipeline: str
    window_seq: int
    t_start_ns: int
    t_end_ns: int
    model: str
    version: str
    sha256: str
    variant: str
    accelerator: str
    requested: str
    label: str | None
    score: float | None
    scores: tuple[float, ...]
    margin: float | None
    latency_ns: int
    skipped: Skipped | None
    why: str = ""
    top: dict[str, float] = {}
    values: tuple[Quantity, ...] = ()
    anomaly: float | None = None
    threshold: float | None = None
    embedding: tuple[float, ...] = ()


def facts(said: Prediction) -> dict[str, float | str]:
    """What rules see of it, by name; of a single value also as `value`."""
    seen: dict[str, float | str] = {one.name: one.value for one in said.values}
    if len(said.values) == 1:
        seen["value"] = said.values[0].value
    for name in ("label", "score", "margin", "anomaly"):
        if (fact := getattr(said, name)) is not None:
            seen[name] = fact
    return seen


class Decision(msgspec.Struct, frozen=True):
    """A rule's change of state, explained from itself.

    `inputs` maps each name in the rule's expression to its value and its age in ns.
    """

    rule: str
    rule_sha256: str
    t_ns: int
    state: Literal["active", "clear"]
    inputs: dict[str, tuple[float | str | bool, int]]
    debounce: str
    actions: tuple[str, ...]


Kind = Literal["prediction", "event", "sample", "health", "gap", "audit"]
ClockState = Literal["unsynced", "synced", "corrected"]


class Priority(IntEnum):
    """The order of worth: what is sent first and evicted last has the highest number."""

    BULK = 0
    HEALTH = 1
    PREDICTION = 2
    UNCERTAIN = 3
    EVENT = 4


class Draft(msgspec.Struct, frozen=True):
    """A record before the outbox has given it its id: what the pipeline hands over."""

    kind: Kind
    mono_ns: int
    priority: Priority
    body: dict[str, Any]


class Record(msgspec.Struct, frozen=True, omit_defaults=False):
    """The envelope of all that leaves the device.

    `id` is device/run/seq and is the idempotency key: `run` is drawn at each process start and `seq` counts
    from 1 in it, so no restart, cloned card or set-aside outbox ever uses an id twice. Order is `boot_id`
    and `mono_ns`; `time` (RFC 3339, UTC) is None until the wall clock was known.
    """

    id: str
    kind: Kind
    run: str
    boot_id: str
    mono_ns: int
    time: str | None
    clock: ClockState
    priority: Priority
    body: dict[str, Any]
    schema: int = 1


Encoding = Literal["int16", "int32", "float32", "jpeg", "png", "bmp"]
PICTURES: dict[Encoding, bytes] = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "bmp": b"BM"}
"""How the file of a picture begins."""


class Raw(msgspec.Struct, frozen=True):
    """Raw samples as they are stored and sent: planar (channel by channel), little-endian.

    `encoding` is int16 or int32 (counts; value = count x the channel's lsb) or float32 (values, NaN kept), or says what
    file `data` is: one picture; `packing` is what was done to make `data` smaller, if that did (packing.py).
    """

    encoding: Encoding
    samples: int
    data: bytes
    packing: Literal["none", "delta-shuffle-zstd"] = "none"


PACKED: Literal["delta-shuffle-zstd"] = "delta-shuffle-zstd"
"""What `packing.py` does. Another way would be another name: this one is read for ever."""

MAX_RAW_BYTES = 256_000_000  # a few packed bytes can claim to be more than any memory holds


def encode_raw(values: Float32Array, channels: tuple[Channel, ...]) -> Raw:
    """float32[n, channels] as integer counts where that gives back every value exactly, else as it is; packed."""
    encoding, planar = _planar(values, channels)
    packed = pack(planar)
    if len(packed) < planar.nbytes:
        return Raw(encoding, len(values), packed, PACKED)
    return Raw(encoding, len(values), planar.tobytes())


def picture_raw(picture: bytes) -> Raw:
    """A picture as its file, which it stays. Raises ValueError if it is none."""
    for encoding, head in PICTURES.items():
        if picture.startswith(head):
            return Raw(encoding, 1, picture)
    raise ValueError("not a picture of a kind that is known")


def _planar(values: Float32Array, channels: tuple[Channel, ...]) -> tuple[Encoding, npt.NDArray[Any]]:
    """[channels, n] in the smallest encoding that loses nothing."""
    if channels and all(c.lsb for c in channels) and bool(np.isfinite(values).all()):
        lsb = np.array([c.lsb for c in channels], dtype=np.float64)
        counts = np.rint(values / lsb)
        if np.array_equal((counts * lsb).astype(np.float32), values):
            most = np.abs(counts).max(initial=0)
            if most < 2**15:
                return "int16", np.ascontiguousarray(counts.T.astype("<i2"))
            if most < 2**31:
                return "int32", np.ascontiguousarray(counts.T.astype("<i4"))
    return "float32", np.ascontiguousarray(values.T.astype("<f4"))


def decode_raw(raw: Raw, channels: tuple[Channel, ...]) -> Float32Array:
    """The inverse of `encode_raw`: float32[n, channels]. Raises ValueError if the bytes do not fit."""
    if raw.encoding in PICTURES:
        raise ValueError(f"a picture ({raw.encoding}) has no channels")
    dtype = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}[raw.encoding]
    if not 0 <= raw.samples * len(channels) <= MAX_RAW_BYTES // np.dtype(dtype).itemsize:
        raise ValueError(f"{raw.samples} samples of {len(channels)} channels: {MAX_RAW_BYTES} bytes at most")
    if raw.packing == PACKED:
        planar = unpack(raw.data, len(channels), raw.samples, dtype)
    else:
        planar = np.frombuffer(raw.data, dtype=dtype).reshape(len(channels), raw.samples)
    if raw.encoding == "float32":
        return np.ascontiguousarray(planar.T.astype(np.float32))
    if any(c.lsb is None for c in channels):
        raise ValueError(f"{raw.encoding} counts need an lsb for every channel")
    lsb = np.array([c.lsb for c in channels], dtype=np.float64)
    return np.ascontiguousarray((planar.T * lsb).astype(np.float32))

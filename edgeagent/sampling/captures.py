"""Raw data cut out of a sensor's ring: the sampled windows, and the captures that a rule asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from edgeagent.records import (
    NS_PER_S,
    Draft,
    Float32Array,
    Int64Array,
    Layout,
    Priority,
    encode_raw,
    picture_raw,
)

_AROUND_THE_DATA_BYTES = 1000  # envelope, channels and prediction: measured on six channels and seven labels
_LATE_NS = 2 * NS_PER_S  # how long a capture waits for a sensor that has fallen silent


class Samples(Protocol):
    """What is needed of a sensor's ring (`windows.Ring`)."""

    @property
    def layout(self) -> Layout: ...

    @property
    def newest_ns(self) -> int:
        """The time of the newest sample."""
        ...

    def between(self, t_start_ns: int, t_end_ns: int) -> tuple[Int64Array, Float32Array]: ...

    def pictures(self, t_start_ns: int, t_end_ns: int) -> list[tuple[int, bytes]]:
        """Time and file of each picture."""
        ...


def raw_bodies(sensor: str, samples: Samples, t_start_ns: int, t_end_ns: int) -> list[dict[str, Any]]:
    """The bodies of sample records but for why they were kept: one, or of a camera one a picture."""
    pictures = samples.pictures(t_start_ns, t_end_ns)
    if not pictures:
        return [raw_body(sensor, samples, t_start_ns, t_end_ns)]
    source = samples.layout.source
    return [
        {
            "sensor": sensor,
            "t_start_ns": t_start_ns,
            "t_end_ns": t_end_ns,
            "t_mono_ns": t_ns,
            "rate_hz": samples.layout.rate_hz,
            **({"source": msgspec.to_builtins(source)} if source else {}),
            "picture": number,
            "pictures": len(pictures),
            **msgspec.structs.asdict(picture_raw(picture)),
        }
        for number, (t_ns, picture) in enumerate(pictures, 1)
    ]


def sent_bytes(bodies: Iterable[dict[str, Any]]) -> int:
    """About what sample records take when they are sent; always the same in a replay, which no latency is."""
    return sum(len(body["data"]) + _AROUND_THE_DATA_BYTES for body in bodies)


def raw_body(sensor: str, samples: Samples, t_start_ns: int, t_end_ns: int) -> dict[str, Any]:
    """The body of a sample record but for why it was kept: what is held of the stretch, as `records.Raw`.

    `t_mono_ns` is the first sample's time; the others follow at `rate_hz`, a missing one as a row of NaN.
    `source` is there where the layout has one.
    """
    t_ns, values = samples.between(t_start_ns, t_end_ns)
    layout = samples.layout
    return {
        "sensor": sensor,
        "t_start_ns": t_start_ns,
        "t_end_ns": t_end_ns,
        "t_mono_ns": int(t_ns[0]) if len(t_ns) else t_start_ns,
        "rate_hz": layout.rate_hz,
        "channels": msgspec.to_builtins(layout.channels),
        **({"source": msgspec.to_builtins(layout.source)} if layout.source else {}),
        "missing": int(np.isnan(values).any(axis=1).sum()),
        **msgspec.structs.asdict(encode_raw(values, layout.channels)),
    }


class Pending(NamedTuple):
    """A capture that waits for its `after` to pass."""

    rule: str
    sensors: tuple[str, ...]
    t_start_ns: int
    t_end_ns: int


class Captures:
    """The captures under way. Each becomes one sample record a sensor or picture, once its stretch is complete."""

    def __init__(self) -> None:
        self._pending: list[Pending] = []

    def add(self, capture: Pending) -> None:
        self._pending.append(capture)

    def due(self, rings: Mapping[str, Samples], now_ns: int, *, ending: bool = False) -> list[Draft]:
        """The captures that are complete, or (`ending`) all of them with what there is."""
        drafts = []
        for capture in list(self._pending):
            here = [s for s in capture.sensors if s in rings]
            complete = all(rings[s].newest_ns >= capture.t_end_ns for s in here)
            if ending or complete or now_ns >= capture.t_end_ns + _LATE_NS:
                self._pending.remove(capture)
                drafts += [draft for s in here for draft in self._drafts(capture, s, rings[s], now_ns)]
        return drafts

    def _drafts(self, capture: Pending, sensor: str, ring: Samples, now_ns: int) -> list[Draft]:
        why = {"reason": "capture", "rule": capture.rule, "probability": 1.0}
        bodies = raw_bodies(sensor, ring, capture.t_start_ns, capture.t_end_ns)
        return [Draft("sample", now_ns, Priority.EVENT, why | body) for body in bodies]

"""Windows over several sensors: each sensor's samples laid on one grid of times, at the rate of the model.

A value of the grid lies on the straight line between the two samples around it. Where those are further apart than a
hole in the sensor is wide, or one of them never came, it is missing: no sensor's silence is covered by another's voice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeagent.config.findings import listed
from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_S, Channel, Float32Array, Int64Array, Layout, Window
from edgeagent.windows import GAP_PERIODS, Ring, fill, low_pass

_PATIENCE_S = 1.0  # how long a window waits at least for a sensor that has fallen silent
_PATIENCE_PERIODS = 2.0  # of the slowest sensor


class Column(NamedTuple):
    """Where a channel of the window comes from."""

    sensor: str
    at: int


class Joining(NamedTuple):
    """What the windows hold, and where each channel of it comes from."""

    wanted: Layout
    columns: tuple[Column, ...]


def sensors_of(inputs: Sequence[str]) -> tuple[str, ...]:
    """The sensors that the `input:` of a pipeline names, as `imu` or as `motor.current`; each once."""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in inputs))


def keep_s(length_s: float) -> float:
    """How far back a ring must reach: a window, and what it waits for a sensor as slow as may be."""
    return length_s + max(_PATIENCE_S, _PATIENCE_PERIODS * length_s)


def join(
    inputs: Sequence[str], layouts: Mapping[str, Layout], wanted: Layout | None, length_s: float
) -> Joining:
    """How several sensors serve a model; without one, all that they give, at the rate of the fastest.

    A model's channel is called `imu.acc_x`, or `acc_x` where only one of the inputs has that.

    Raises ConfigFault saying which channel, unit or rate does not fit.
    """
    if wanted is not None and wanted.shape:
        raise ConfigFault("the model takes pictures", expected="one camera alone, as in `input: front`")
    offered = dict(_offered(inputs, layouts))
    used = {sensor: layouts[sensor] for sensor in sensors_of(inputs)}
    for sensor, layout in used.items():
        if layout.rate_hz * length_s < 1:
            raise ConfigFault(
                f"{sensor} gives a sample each {1 / layout.rate_hz:g} s",
                expected=f"one at least in a window of {length_s:g} s",
            )
    if wanted is None:
        channels = tuple(Channel(name, channel.unit) for name, (_, channel) in offered.items())
        wanted = Layout(max(layout.rate_hz for layout in used.values()), channels)
    return Joining(wanted, tuple(_column(channel, offered) for channel in wanted.channels))


def _offered(
    inputs: Sequence[str], layouts: Mapping[str, Layout]
) -> Iterator[tuple[str, tuple[Column, Channel]]]:
    """Every channel of the inputs by its full name."""
    for name in inputs:
        sensor, _, only = name.partition(".")
        channels = layouts[sensor].channels
        if only and all(channel.name != only for channel in channels):
            raise ConfigFault(
                f"{sensor} has no channel {only!r}", expected=listed(channel.name for channel in channels)
            )
        for i, channel in enumerate(channels):
            if not only or channel.name == only:
                yield f"{sensor}.{channel.name}", (Column(sensor, i), channel)


def _column(wanted: Channel, offered: Mapping[str, tuple[Column, Channel]]) -> Column:
    names = [name for name in offered if wanted.name in (name, name.partition(".")[2])]
    if not names:
        raise ConfigFault(
            f"the model wants channel {wanted.name}", expected=f"one of the inputs': {', '.join(offered)}"
        )
    if len(names) > 1:
        raise ConfigFault(
            f"the model wants channel {wanted.name}, and there are {' and '.join(names)}",
            expected="one of that name",
            hint=f"Name single channels, as in `input: [..., {names[0]}]`.",
        )
    column, channel = offered[names[0]]
    if channel.unit != wanted.unit:
        raise ConfigFault(
            f"{names[0]} is in {channel.unit}", expected=f"{wanted.unit}, which the model was trained on"
        )
    return column


class JoinedWindows:
    """Cuts one pipeline's windows out of several rings, by length and hop in time.

    A window closes when every sensor has given a sample at its end or later. One that is silent for longer than two
    periods of the slowest (a second at least) after the others went on is not waited for.

    Args:
        pipeline: Its name, for the windows' own.
        rings: Where the samples of each sensor are.
        joining: `join` of what the rings hold.
        length_s, hop_s: The window's length and the step from one to the next.
        closed: How many windows the pipeline has closed before, for their numbers to go on.
    """

    def __init__(
        self,
        pipeline: str,
        rings: Mapping[str, Ring],
        joining: Joining,
        length_s: float,
        hop_s: float,
        closed: int = 0,
    ) -> None:
        self._pipeline, self._wanted, self._columns = pipeline, joining.wanted, joining.columns
        self._rings = {column.sensor: rings[column.sensor] for column in joining.columns}
        period_ns = NS_PER_S / self._wanted.rate_hz
        self._at_ns: Int64Array = np.rint(
            np.arange(round(length_s * self._wanted.rate_hz)) * period_ns
        ).astype(np.int64)
        self._length_ns = round(len(self._at_ns) * period_ns)
        self._hop_ns = max(round(hop_s * NS_PER_S), 1)
        slowest_ns = max(ring.period_ns for ring in self._rings.values())
        self._patience_ns = max(_PATIENCE_S * NS_PER_S, _PATIENCE_PERIODS * slowest_ns)
        self._begun = {sensor: ring.end for sensor, ring in self._rings.items()}
        self._start_ns: int | None = None
        self.closed = closed
        self.overrun = 0

    def cut(self, t_read_ns: int) -> Iterator[Window]:
        """Each window that has closed since the last call; those that a hole swallowed whole are only counted."""
        if self._start_ns is None:
            if any(ring.end <= self._begun[sensor] for sensor, ring in self._rings.items()):
                return
            self._start_ns = self._oldest_ns()
        swallowed = -(-(self._oldest_ns() - self._start_ns) // self._hop_ns)
        if swallowed > 0:
            self.closed += swallowed
            self.overrun += swallowed
            self._start_ns += swallowed * self._hop_ns
        while self._is_over(self._start_ns + int(self._at_ns[-1])):
            yield self._window(self._start_ns, t_read_ns)
            self._start_ns += self._hop_ns

    def _oldest_ns(self) -> int:
        """From when on every ring holds, or would hold, what came since we began."""
        return max(
            int(ring.slots(at, at + 1)[0][0])
            for ring, at in (
                (ring, max(self._begun[sensor], ring.start)) for sensor, ring in self._rings.items()
            )
        )

    def _is_over(self, last_ns: int) -> bool:
        newest_ns = [ring.newest_ns for ring in self._rings.values()]
        return min(newest_ns) >= last_ns or max(newest_ns) >= last_ns + self._patience_ns

    def _window(self, start_ns: int, t_read_ns: int) -> Window:
        at_ns = start_ns + self._at_ns
        each = {sensor: resampled(ring, at_ns, self._wanted.rate_hz) for sensor, ring in self._rings.items()}
        values = np.stack([each[sensor][:, at] for sensor, at in self._columns], axis=1)
        missing_fraction = float(np.isnan(values).any(axis=1).mean())
        self.closed += 1
        return Window(
            pipeline=self._pipeline,
            seq=self.closed,
            t_start_ns=start_ns,
            t_end_ns=start_ns + self._length_ns,
            t_read_ns=t_read_ns,
            rate_hz=self._wanted.rate_hz,
            layout=self._wanted,
            values=fill(values) if 0.0 < missing_fraction < 1.0 else values,
            missing_fraction=missing_fraction,
        )


def resampled(ring: Ring, at_ns: Int64Array, rate_hz: float) -> Float32Array:
    """What a ring holds, float32[n, channels], at times int64[n] that lie `rate_hz` apart; NaN where it has a hole.

    Of a ring that is faster, what the slower rate could not show is filtered out before.
    """
    factor = round(ring.layout.rate_hz / rate_hz)
    margin_ns = round((4 * factor + 2) * ring.period_ns)
    t_ns, values = ring.between(int(at_ns[0]) - margin_ns, int(at_ns[-1]) + margin_ns)
    # Not what lies behind the first sample after the end: it may be there or not, as blocks happen to come.
    stop = int(np.searchsorted(t_ns, at_ns[-1])) + 1
    t_ns, values = t_ns[:stop], values[:stop]
    if factor > 1 and len(values):
        values = np.where(np.isnan(values), np.nan, low_pass(fill(values), factor)).astype(np.float32)
    columns = [_interpolated(t_ns, column, at_ns, ring.period_ns) for column in values.T]
    return np.stack(columns, axis=1).astype(np.float32)


def _interpolated(
    t_ns: Int64Array, values: Float32Array, at_ns: Int64Array, period_ns: float
) -> npt.NDArray[np.float64]:
    """One channel on other times: float64[len(at_ns)]."""
    there = ~np.isnan(values)
    t_ns, values = t_ns[there], values[there]
    if not len(t_ns):
        return np.full(len(at_ns), np.nan)
    before = np.searchsorted(t_ns, at_ns, side="right") - 1
    after = np.searchsorted(t_ns, at_ns, side="left")
    between = (before >= 0) & (after < len(t_ns))
    apart_ns = t_ns[np.minimum(after, len(t_ns) - 1)] - t_ns[before]
    known = between & (apart_ns <= GAP_PERIODS * period_ns)
    return np.where(known, np.interp(at_ns - t_ns[0], t_ns - t_ns[0], values), np.nan)

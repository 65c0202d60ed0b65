"""Blocks -> windows. Gaps stay visible: a sample that never came is a row of NaN, counted, never invented.

Samples are laid on *slots*, one a period of the sensor's own clock: a device that runs 1 % fast fills its
window 1 % sooner and misses nothing, while a hole in time or a loss that the driver reports leaves empty slots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from edgeagent.errors import ConfigFault
from edgeagent.records import NS_PER_S, Block, Float32Array, Int64Array, Layout, Window

GAP_PERIODS = 1.75  # more than this between two samples is a hole, not jitter
_SLACK_S = 2.0  # the longest block that may arrive at once without a window being overrun
PICTURES_BYTES = 32_000_000  # of one camera's, in memory: ten seconds at 30 Hz and 100 kB


class Album:
    """The pictures beside a ring's samples, by their times; of more than PICTURES_BYTES the oldest go first."""

    def __init__(self) -> None:
        self._pictures: deque[tuple[int, bytes]] = deque()
        self._bytes = 0

    def add(self, block: Block, oldest_ns: int) -> None:
        """A block's; those before `oldest_ns` are not needed any more."""
        for t_ns, picture in zip(block.t_mono_ns.tolist(), block.pictures, strict=True):
            if picture:
                self._pictures.append((t_ns, picture))
                self._bytes += len(picture)
        while self._pictures and (self._pictures[0][0] < oldest_ns or self._bytes > PICTURES_BYTES):
            self._bytes -= len(self._pictures.popleft()[1])

    def between(self, t_start_ns: int, t_end_ns: int) -> list[tuple[int, bytes]]:
        return [one for one in self._pictures if t_start_ns <= one[0] <= t_end_ns]


class Ring:
    """One sensor's last samples: the only raw store; windows and captures are slices of it.

    Args:
        layout: The sensor's channels and nominal rate.
        keep_s: How much the longest window or capture needs.
    """

    def __init__(self, layout: Layout, keep_s: float) -> None:
        self.layout = layout
        self.period_ns = NS_PER_S / layout.rate_hz
        self.capacity = max(int(np.ceil((keep_s + _SLACK_S) * layout.rate_hz)) + 1, 16)
        # Twice the capacity, filled from the left and moved down when full: every slice is contiguous.
        self._values: Float32Array = np.full((2 * self.capacity, len(layout.channels)), np.nan, np.float32)
        self._t_ns: Int64Array = np.zeros(2 * self.capacity, np.int64)
        self._base = 0
        self._fill = 0
        self.samples = 0
        self.missing = 0
        self._album = Album()

    @property
    def end(self) -> int:
        """The slot after the newest; slots count from 0 at the first sample."""
        return self._base + self._fill

    @property
    def start(self) -> int:
        """The oldest slot that is still held."""
        return max(self._base, self.end - self.capacity)

    def add(self, block: Block) -> int:
        """Lay a block on its slots; returns how many samples were found missing."""
        if not len(block.values):
            return 0
        empty_before = self._empty_slots(block)
        missing = int(empty_before.sum()) + int(np.isnan(block.values).any(axis=1).sum())
        at = 0
        for i in np.flatnonzero(empty_before):
            self._append(block.t_mono_ns[at:i], block.values[at:i])
            self._append_empty(int(empty_before[i]), int(block.t_mono_ns[i]))
            at = int(i)
        self._append(block.t_mono_ns[at:], block.values[at:])
        self.samples += len(block.values)
        self.missing += missing
        if block.pictures:
            self._album.add(block, int(self._t_ns[self.start - self._base]))
        return missing

    def _empty_slots(self, block: Block) -> Int64Array:
        """int64[n]: how many slots stay empty before each sample of the block."""
        last_ns = self._t_ns[self._fill - 1] if self._fill else block.t_mono_ns[0] - round(self.period_ns)
        steps = np.diff(block.t_mono_ns, prepend=last_ns) / self.period_ns
        empty = np.where(steps > GAP_PERIODS, np.rint(steps) - 1, 0).astype(np.int64)
        if block.lost:
            empty[0] = block.lost
        return empty

    def _append(self, t_ns: Int64Array, values: Float32Array) -> None:
        while len(t_ns):
            if self._fill == len(self._t_ns):
                self._move_down()
            n = min(len(t_ns), len(self._t_ns) - self._fill)
            self._t_ns[self._fill : self._fill + n] = t_ns[:n]
            self._values[self._fill : self._fill + n] = values[:n]
            self._fill += n
            t_ns, values = t_ns[n:], values[n:]

    def _append_empty(self, count: int, until_ns: int) -> None:
        """Empty slots up to the sample at `until_ns`; of a hole wider than the ring only its end is laid down."""
        laid = min(count, self.capacity)
        if count > laid:
            self._base += self._fill + count - laid
            self._fill = 0
        back = np.arange(laid, 0, -1)
        t_ns = np.rint(until_ns - back * self.period_ns).astype(np.int64)
        self._append(t_ns, np.full((laid, self._values.shape[1]), np.nan, np.float32))

    def _move_down(self) -> None:
        dropped = self._fill - self.capacity
        self._t_ns[: self.capacity] = self._t_ns[dropped : self._fill]
        self._values[: self.capacity] = self._values[dropped : self._fill]
        self._base += dropped
        self._fill = self.capacity

    @property
    def newest_ns(self) -> int:
        """The time of the newest sample; 0 before there is one."""
        return int(self._t_ns[self._fill - 1]) if self._fill else 0

    def slots(self, start: int, stop: int) -> tuple[Int64Array, Float32Array]:
        """Times int64[n] and values float32[n, channels] of slots that are held (views: copy to keep)."""
        a, b = start - self._base, stop - self._base
        return self._t_ns[a:b], self._values[a:b]

    def between(self, t_start_ns: int, t_end_ns: int) -> tuple[Int64Array, Float32Array]:
        """Copies of what is held of a stretch of time, both ends inclusive."""
        t_ns, values = self.slots(self.start, self.end)
        a, b = np.searchsorted(t_ns, t_start_ns, "left"), np.searchsorted(t_ns, t_end_ns, "right")
        return t_ns[a:b].copy(), values[a:b].copy()

    def pictures(self, t_start_ns: int, t_end_ns: int) -> list[tuple[int, bytes]]:
        """Time and file of each picture that is held of a stretch of time, both ends inclusive."""
        return self._album.between(t_start_ns, t_end_ns)


class Windows:
    """Cuts one pipeline's windows out of a ring, by length and hop in time.

    Args:
        pipeline: Its name, for the windows' own.
        ring: Where the samples are.
        wanted: The model's channels and rate; `fit` has found them in the ring's layout.
        length_s, hop_s: The window's length and the step from one to the next.
        closed: How many windows the pipeline has closed before, for their numbers to go on.
    """

    def __init__(
        self, pipeline: str, ring: Ring, wanted: Layout, length_s: float, hop_s: float, closed: int = 0
    ) -> None:
        self._pipeline = pipeline
        self._ring = ring
        self._wanted = wanted
        self._factor, self._columns = fit(ring.layout, wanted, length_s)
        self._length = round(length_s * wanted.rate_hz) * self._factor
        self._hop = max(round(hop_s * ring.layout.rate_hz), 1)
        self._start = ring.end
        self.closed = closed
        self.overrun = 0

    def cut(self, t_read_ns: int) -> Iterator[Window]:
        """Each window that has closed since the last call; those that a hole swallowed whole are only counted."""
        swallowed = -(-(self._ring.start - self._start) // self._hop)
        if swallowed > 0:
            self.closed += swallowed
            self.overrun += swallowed
            self._start += swallowed * self._hop
        while self._start + self._length <= self._ring.end:
            yield self._window(t_read_ns)
            self._start += self._hop

    def _window(self, t_read_ns: int) -> Window:
        t_ns, values = self._ring.slots(self._start, self._start + self._length)
        values = values[:, self._columns]
        missing = np.any(np.isnan(values), axis=1)
        missing_fraction = float(missing.mean())
        pictures = self._pictures(t_ns, missing) if self._wanted.shape else ()
        filled = fill(values) if 0.0 < missing_fraction < 1.0 else values
        self.closed += 1
        return Window(
            pipeline=self._pipeline,
            seq=self.closed,
            t_start_ns=int(t_ns[0]),
            t_end_ns=int(t_ns[-1]) + round(self._ring.period_ns),
            t_read_ns=t_read_ns,
            rate_hz=self._wanted.rate_hz,
            layout=self._wanted,
            values=decimate(filled, self._factor) if self._factor > 1 else filled,
            missing_fraction=missing_fraction,
            pictures=pictures,
        )

    def _pictures(self, t_ns: Int64Array, missing: npt.NDArray[np.bool_]) -> tuple[bytes, ...]:
        """One a sample of the model, the newest; where that is missing the one before it, or else the next."""
        held = dict(self._ring.pictures(int(t_ns[0]), int(t_ns[-1])))
        slots = zip(t_ns.tolist(), missing.tolist(), strict=True)
        pictures = [b"" if gone else held.get(t, b"") for t, gone in slots]
        last = next(filter(None, pictures), b"")
        return tuple(last := picture or last for picture in pictures)[self._factor - 1 :: self._factor]


def fit(have: Layout, wanted: Layout, length_s: float) -> tuple[int, list[int]]:
    """How a sensor serves a model: the decimation factor, and the sensor's column for each wanted channel.

    All columns for a model that takes pictures; if it takes one at a time, it is all the same how fast they come.

    Raises ConfigFault saying which channel, unit or rate does not fit.
    """
    if wanted.shape:
        return _fit_pictures(have, wanted, length_s), list(range(len(have.channels)))
    units = {c.name: c.unit for c in have.channels}
    names = ", ".join(units)
    for channel in wanted.channels:
        if channel.name not in units:
            raise ConfigFault(
                f"the model wants channel {channel.name}", expected=f"one of the sensor's: {names}"
            )
        if units[channel.name] != channel.unit:
            raise ConfigFault(
                f"the sensor gives {channel.name} in {units[channel.name]}",
                expected=f"{channel.unit}, which the model was trained on",
            )
    return _factor(have, wanted), [have.index(c.name) for c in wanted.channels]


def _fit_pictures(have: Layout, wanted: Layout, length_s: float) -> int:
    if not have.pictures:
        raise ConfigFault("the model takes pictures", expected="a camera, and this sensor is none")
    is_still = round(length_s * wanted.rate_hz) == 1
    return 1 if is_still else _factor(have, wanted)


def _factor(have: Layout, wanted: Layout) -> int:
    factor = have.rate_hz / wanted.rate_hz
    if round(factor) < 1 or abs(factor - round(factor)) > 1e-6 * factor:
        raise ConfigFault(
            f"the sensor runs at {have.rate_hz:g} Hz",
            expected=f"{wanted.rate_hz:g} Hz or an integer multiple of it, which the model was trained on",
        )
    return round(factor)


def fill(values: Float32Array) -> Float32Array:
    """float32[n, c] with each NaN replaced by linear interpolation along its channel (held at the ends)."""
    out = values.copy()
    at = np.arange(len(values))
    for column in out.T:
        bad = np.isnan(column)
        if bad.any() and not bad.all():
            column[bad] = np.interp(at[bad], at[~bad], column[~bad])
    return out


@lru_cache(maxsize=8)
def low_pass_taps(factor: int) -> Float32Array:
    """float32[8 x factor + 1]: a Hamming-windowed sinc that cuts at 80 % of the new Nyquist rate, gain 1 at 0 Hz."""
    n = np.arange(-4 * factor, 4 * factor + 1)
    taps = np.sinc(0.8 * n / factor) * np.hamming(len(n))
    gain_one: Float32Array = (taps / taps.sum()).astype(np.float32)
    return gain_one


def decimate(values: Float32Array, factor: int) -> Float32Array:
    """Low-pass float32[n, c] and keep every `factor`-th sample: float32[n / factor, c].

    The filter is centred, so nothing is delayed; beyond the window's ends its edge value is held. Only the
    samples that are kept are computed.
    """
    return low_pass(values, factor, step=factor)


def low_pass(values: Float32Array, factor: int, step: int = 1) -> Float32Array:
    """Every `step`-th sample of float32[n, c] without what a rate `factor` times lower could not show."""
    taps = low_pass_taps(factor)
    half = len(taps) // 2
    padded = np.pad(values, ((half, half), (0, 0)), mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, len(taps), axis=0)[::step]
    kept: Float32Array = np.ascontiguousarray(views @ taps)
    return kept

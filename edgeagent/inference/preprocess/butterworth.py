"""Butterworth filters: their design, and their run over a whole window at once.

Design: the poles of the low-pass prototype, mapped to the band and then by the bilinear transform with its frequencies
warped, into sections of second order, as any textbook has it. A recursion sample by sample would take milliseconds in
Python. It is linear, so a block of samples is one product of matrices, and only the states from block to block recur.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeagent.config.quantities import Between
from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import Form, Step, Values, must_be_in_time

Floats = npt.NDArray[np.float64]
Order = Annotated[int, Between(1, 10)]

_BLOCK = 64
_DOUBLINGS = 20  # so many blocks are enough for 67 million samples
_EDGE = 3  # so many times the filter's taps are added before and after, mirrored; as SciPy's sosfiltfilt does


class Section(NamedTuple):
    """(b0 + b1/z + b2/z^2) / (1 + a1/z + a2/z^2); of first order if b2 = a2 = 0."""

    b0: float
    b1: float
    b2: float
    a1: float
    a2: float


def build(given: Form, band: Band, order: int, *, zero_phase: bool) -> Step:
    """Raises ConfigFault if the band does not lie below half the rate, or the window is too short."""
    must_be_in_time(given)
    sections = design(band, order, given.rate_hz)
    run = Recursion(sections)
    if not zero_phase:
        return Step(given, run.from_rest)
    edge = _EDGE * taps(sections)
    if given.shape[0] <= edge:
        raise ConfigFault(
            f"a window of {given.shape[0]} samples", expected=f"more than {edge} for this filter both ways"
        )
    return Step(given, lambda values: both_ways(run, values, edge))


class Band(NamedTuple):
    """What passes, or (`stop`) what does not; without `low_hz` all below `high_hz`, and the other way round."""

    low_hz: float | None
    high_hz: float | None
    stop: bool = False


def design(band: Band, order: int, rate_hz: float) -> list[Section]:
    """The filter's sections; a band has twice the order, as everybody counts. Raises ConfigFault."""
    edges = [edge for edge in (band.low_hz, band.high_hz) if edge is not None]
    if edges != sorted(set(edges)) or edges[-1] >= rate_hz / 2:
        raise ConfigFault(
            f"from {edges[0]:g} to {edges[-1]:g} Hz at {rate_hz:g} Hz" if edges[1:] else f"{edges[0]:g} Hz",
            expected=f"rising, and less than {rate_hz / 2:g} Hz, half the rate"
            if edges[1:]
            else f"less than {rate_hz / 2:g} Hz, half the rate",
        )
    warped = [math.tan(math.pi * edge / rate_hz) for edge in edges]
    if len(warped) == 1:
        return list(_one_edge(order, warped[0], is_high=band.high_hz is None))
    return list(_two_edges(order, *warped, stop=band.stop))


def _prototype(order: int) -> Iterator[complex]:
    """The poles of the low-pass whose edge is 1 rad/s, of each conjugate pair the upper one."""
    for k in range((order + 1) // 2):
        pole = np.exp(1j * math.pi * (2 * k + order + 1) / (2 * order))
        yield complex(pole) if 2 * k + 1 < order else -1 + 0j


def _one_edge(order: int, edge: float, *, is_high: bool) -> Iterator[Section]:
    zero, at = (1.0, -1.0) if is_high else (-1.0, 1.0)  # `at`: where on the circle the gain is 1
    for pole in _prototype(order):
        moved = _bilinear(edge / pole if is_high else edge * pole)
        poles = [moved] if pole.imag == 0 else [moved, moved.conjugate()]
        yield _section([zero] * len(poles), poles, at)


def _two_edges(order: int, low: float, high: float, *, stop: bool) -> Iterator[Section]:
    middle, width = math.sqrt(low * high), high - low
    zeros = [_bilinear(1j * middle), _bilinear(-1j * middle)] if stop else [1.0, -1.0]
    at = 1.0 if stop else _bilinear(1j * middle)
    for pole in _prototype(order):
        half = (width / pole if stop else width * pole) / 2
        root = np.sqrt(complex(half**2 - middle**2))
        first, second = _bilinear(half + root), _bilinear(half - root)
        if pole.imag == 0:
            yield _section(zeros, [first, second], at)
        else:
            yield _section(zeros, [first, first.conjugate()], at)
            yield _section(zeros, [second, second.conjugate()], at)


def _bilinear(s: complex) -> complex:
    return (1 + s) / (1 - s)


def _section(zeros: Sequence[complex], poles: Sequence[complex], at: complex) -> Section:
    """With these zeros and poles, and a gain of 1 at one point of the circle."""
    b, a = (np.pad(np.real(np.poly(roots)), (0, 2 - len(roots))) for roots in (zeros, poles))
    delays = at ** -np.arange(3.0)
    b = b * abs((a @ delays) / (b @ delays))
    return Section(*b.tolist(), *a[1:].tolist())


def taps(sections: list[Section]) -> int:
    """How long its transfer function's numerator or denominator is."""
    first_order = sum(section.b2 == 0 and section.a2 == 0 for section in sections)
    return 2 * len(sections) + 1 - first_order


class Recursion:
    """Sections in a row, over float64[n, channels]. A row of numbers is a block of one channel, or the states before.

    The rows of a block, one a channel, lie together, behind them those of the next. Each block adds to the states that
    the one before it has left: states[k] = states[k - 1] @ step + fed[k - 1]. Doubling solves that for all blocks at
    once: to each what lies one before it, then two, then four.
    """

    def __init__(self, sections: list[Section]) -> None:
        states = 2 * len(sections)
        units = np.eye(_BLOCK + states)
        out, after = (part.T for part in _by_definition(sections, units[:_BLOCK], units[_BLOCK:]))
        # Copies: a product of slices is not handed to BLAS, and takes four times as long.
        self._of_input = np.hstack([out, after])[:_BLOCK].copy()
        self._out_of_state = out[_BLOCK:].copy()
        self._steps = [after[_BLOCK:].copy()]
        for _ in range(_DOUBLINGS):
            self._steps.append(self._steps[-1] @ self._steps[-1])
        fed = after[:_BLOCK].sum(axis=0)
        self._rest = np.linalg.solve(np.eye(states) - self._steps[0].T, fed)

    def from_rest(self, values: Values) -> Values:
        """As if the first sample had been there for ever."""
        samples, channels = values.shape
        blocks = -(-samples // _BLOCK)
        padded = np.zeros((channels, blocks * _BLOCK))
        padded[:, :samples] = values.T
        rows = padded.reshape(channels, blocks, _BLOCK).swapaxes(0, 1).reshape(-1, _BLOCK)
        both = rows @ self._of_input
        states = np.empty((len(rows), len(self._rest)))
        states[:channels], states[channels:] = values[:1].T * self._rest, both[:-channels, _BLOCK:]
        before = channels
        for step in self._steps:
            if before >= len(states):
                break
            states[before:] += states[:-before] @ step
            before *= 2
        filtered = states @ self._out_of_state
        filtered += both[:, :_BLOCK]
        whole: Values = filtered.reshape(blocks, channels, _BLOCK).swapaxes(0, 1).reshape(channels, -1)
        return whole[:, :samples].T


def both_ways(run: Recursion, values: Values, edge: int) -> Values:
    """Forwards and then backwards, so that nothing is delayed; the ends are continued by `edge` samples, mirrored."""
    before, after = 2 * values[0] - values[edge:0:-1], 2 * values[-1] - values[-2 : -edge - 2 : -1]
    forwards = run.from_rest(np.concatenate([before, values, after]))
    return run.from_rest(forwards[::-1])[::-1][edge:-edge]


def _by_definition(sections: list[Section], values: Floats, states: Floats) -> tuple[Floats, Floats]:
    """Direct form II, transposed: the output float64[n, k], and the states after it."""
    out, states = values.copy(), states.copy()
    for row in out:
        for i, (b0, b1, b2, a1, a2) in enumerate(sections):
            x, (first, second) = row.copy(), states[2 * i : 2 * i + 2]
            row[:] = b0 * x + first
            first[:] = b1 * x - a1 * row + second
            second[:] = b2 * x - a2 * row
    return out, states

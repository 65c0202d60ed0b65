"""How floats become integers: each runtime's own QUANTIZE kernel, to the last bit.

They differ where a value lies halfway between two steps, or so near that it depends on how one divides by the scale
(docs/decisions/0031). What is given here takes float32, and leaves zero point and limits to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Quantize = Callable[[Any, Any], object]
"""Divides an array by the scale that it was made for, and rounds it, into a second one, which may be the same."""

_ONE = np.array(1, np.float32)
_ALMOST_HALF = np.nextafter(np.float32(0.5), np.float32(0))  # a half makes 1 of what is just below a half


class Rounding(NamedTuple):
    """A runtime's way with one scale for a tensor, and with a scale a channel."""

    one: Callable[[Any], Quantize]
    each: Callable[[Any], Quantize]


def product_to_even(scale: Any) -> Quantize:
    """Times the inverse of the scale; halves to the even neighbour."""
    inverse = np.asarray(_ONE / scale)  # of no dimension: to an operation NumPy's own scalars add 0.4 us

    def quantize(x: Any, out: Any) -> None:
        np.multiply(x, inverse, out)
        np.rint(out, out)

    return quantize


def quotient_to_even(scale: Any) -> Quantize:
    """Halves to the even neighbour."""

    def quantize(x: Any, out: Any) -> None:
        np.divide(x, scale, out)
        np.rint(out, out)

    return quantize


def quotient_away(scale: Any) -> Quantize:
    """Halves away from zero."""

    def quantize(x: Any, out: Any) -> None:
        np.divide(x, scale, out)
        np.add(out, np.copysign(_ALMOST_HALF, out), out)
        np.trunc(out, out)

    return quantize


def exact_quotient_away(scale: Any) -> Quantize:
    """The exact quotient; halves away from zero.

    The quotient of two float32 lies no nearer to a half of 16 bits than 2^-41 of it, unless it is one: what comes out
    larger by 2^-45 has those alone on its far side.
    """
    inverse = np.asarray((1 + 2**-45) / np.asarray(scale, np.float64))

    def quantize(x: Any, out: Any) -> None:
        exact = x.astype(np.float64)
        np.multiply(exact, inverse, exact)
        np.rint(exact, exact)
        out[...] = exact

    return quantize

"""From the figures of `edgeagent model bench` to what the config should say."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgeagent.agent.model_bench import Figures
from edgeagent.inference.threads import MUST_SAVE

MAY_LOSE = 0.01  # of accuracy, for being quicker


class Recommendation(msgspec.Struct, frozen=True):
    """`accelerator` and `threads` for the config's model: what it would run then, and why."""

    accelerator: str
    threads: int
    variant: str
    why: str


def recommend(figures: Iterable[Figures]) -> Recommendation | None:
    """The quickest of what a config can ask for, without losing accuracy; None if nothing runs.

    A config names the accelerator, and the bundle's order the variant: so of each accelerator the first counts. More
    threads must save a fifth, as with `threads: auto`.
    """
    sound = [one for one in figures if one.process is not None and not one.stray]
    first: dict[str, str] = {}
    for one in sound:
        first.setdefault(one.accelerator, one.variant)
    askable = [one for one in sound if first[one.accelerator] == one.variant]
    best_accuracy = max((one.accuracy for one in askable if one.accuracy is not None), default=0.0)
    right = [one for one in askable if one.accuracy is None or one.accuracy >= best_accuracy - MAY_LOSE]
    worth = [_worth(figures) for figures in _by_accelerator(right).values()]
    if not worth:
        return None
    chosen = min(worth, key=_p50)
    why = "; ".join(_told(one) for one in (chosen, *(other for other in askable if other is not chosen)))
    return Recommendation(chosen.accelerator, chosen.threads, chosen.variant, why)


def _by_accelerator(figures: list[Figures]) -> dict[str, list[Figures]]:
    found: dict[str, list[Figures]] = {}
    for one in figures:
        found.setdefault(one.accelerator, []).append(one)
    return found


def _worth(figures: list[Figures]) -> Figures:
    """The fewest threads but for those that save a fifth."""
    best, *more = sorted(figures, key=lambda one: one.threads)
    for one in more:
        if _p50(one) <= _p50(best) * (1 - MUST_SAVE):
            best = one
    return best


def _p50(one: Figures) -> float:
    assert one.process is not None
    return one.process.p50


def _told(one: Figures) -> str:
    threads = f"{one.threads} thread{'s' if one.threads > 1 else ''}"
    right = f" and is right in {one.accuracy:.1%}" if one.accuracy is not None else ""
    return f"{one.accelerator} with {threads} takes {spoken_us(_p50(one))}{right}"


def spoken_us(us: float) -> str:
    """`4.8 us`, `12.30 ms`."""
    return f"{us:.1f} us" if us < 1000 else f"{us / 1000:.2f} ms"

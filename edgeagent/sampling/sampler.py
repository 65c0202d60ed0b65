"""Decides of each window whether its raw samples are kept, by which policy and with what probability."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

from edgeagent.config import schema
from edgeagent.config.parts import find
from edgeagent.records import Prediction, Priority
from edgeagent.sampling.budget import ByteBudget


class Kept(NamedTuple):
    """Why a window was kept. `probability` is that of being kept by any policy (sampling/__init__.py)."""

    policy: str
    probability: float
    priority: Priority


class Sampler:
    """All the policies of a config under their budget.

    Args:
        sampling: As in the YAML; of several policies that draw a window, the first in its order has it,
            and it is worth what it is to the one that it is worth most to.
        seed: Names the stream of draws: device and run, since windows are counted from 0 in each run.
        spent_bytes: What of the budget was spent before this start (`ByteBudget`).
    """

    def __init__(self, sampling: schema.Sampling, seed: str, spent_bytes: int = 0) -> None:
        self._policies = [
            (name, find("sampling", part.file), part.options) for name, part in sampling.policies.items()
        ]
        self._seed = seed
        self._budget = ByteBudget(sampling.budget.per_day, spent_bytes)
        self._kept = dict.fromkeys(sampling.policies, 0)
        self._offered = self._refused = 0
        self._kept_weight = self._refused_weight = 0.0

    def draw(self, prediction: Prediction) -> Kept | None:
        """Whether to keep the window of a prediction, if the budget has room for it: `spend` says."""
        self._offered += 1
        chances = [module.probability(options, prediction) for _, module, options in self._policies]
        drawn = [
            (name, module.PRIORITY)
            for (name, module, _), chance in zip(self._policies, chances, strict=True)
            if self._draw(prediction, name) < chance
        ]
        if not drawn:
            return None
        return Kept(drawn[0][0], _any_of(chances), max(priority for _, priority in drawn))

    def spend(self, kept: Kept, size_bytes: int, now_ns: int) -> bool:
        """Take what a drawn window's records need out of the budget; False, and it is counted as refused, if it
        is not there.
        """
        if not self._budget.take(size_bytes, now_ns):
            self._refused += 1
            self._refused_weight += 1.0 / kept.probability
            return False
        self._kept[kept.policy] += 1
        self._kept_weight += 1.0 / kept.probability
        return True

    def counters(self) -> dict[str, int | float]:
        """For health: windows offered, kept by policy, refused for want of budget, and the weights of both.

        A weight is a sum of 1 / probability; `kept_weight + refused_weight` estimates `offered` without bias.
        """
        return {
            "offered": self._offered,
            **{f"kept.{name}": count for name, count in self._kept.items()},
            "refused": self._refused,
            "kept_weight": self._kept_weight,
            "refused_weight": self._refused_weight,
            "spent_bytes": self._budget.spent_bytes,
        }

    def _draw(self, prediction: Prediction, policy: str) -> float:
        """A number from [0, 1) that looks random and is always the same for this window and policy."""
        key = f"{self._seed}\0{prediction.pipeline}\0{prediction.window_seq}\0{policy}"
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) * 2.0**-53


def _any_of(chances: Iterable[float]) -> float:
    """The probability that at least one of independent draws succeeds; exact for a single one."""
    return reduce(lambda a, b: a + b - a * b, chances, 0.0)

"""A model in the agent's own process, for the smallest boards: 20 MB less, and no protection from a model's crash."""

from __future__ import annotations

from collections import defaultdict
from threading import Lock
from typing import TYPE_CHECKING

from edgeagent.inference.backends import open_model
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.choices import Choice
from edgeagent.inference.engine import Loaded, ModelEngine, signature
from edgeagent.inference.tensors import Scored
from edgeagent.inference.tflite import quiet_stderr

if TYPE_CHECKING:
    from edgeagent.records import Float32Array


_turns: defaultdict[str, Lock] = defaultdict(Lock)
"""By a delegate's library or a provider: its device computes for one model at a time, also while one is proved."""


class Inline(ModelEngine):
    """The engine of `isolation: inline`; its deadline is whatever the model takes."""

    def _make_runner(self, choice: Choice, threads: int) -> _Here:
        return _Here(self.bundle, choice, threads)


class _Here:
    pid = None

    def __init__(self, bundle: Bundle, choice: Choice, threads: int) -> None:
        variant = choice.variant
        silicon = choice.accelerator.library or choice.accelerator.provider
        self._turn = _turns[silicon] if silicon else None
        with quiet_stderr():
            self._model = open_model(
                variant.name, variant.read(), signature(bundle), threads, choice.accelerator
            )

    def is_ready(self) -> bool:
        return True

    def load(self) -> Loaded:
        return Loaded(self._model.backend, ["everything: the model runs in the agent's own process"])

    def predict(self, values: Float32Array, state: Float32Array | None) -> Scored:
        if self._turn is None:
            return self._model.predict(values, state)
        with self._turn:
            return self._model.predict(values, state)

    def abort(self) -> None:
        """A call into the runtime cannot be stopped."""

    def close(self) -> None:
        """The runtime frees itself."""

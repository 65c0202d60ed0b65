"""What both engines share: the order of variants, golden vectors, recovery, status.

`Supervisor` and `Inline` differ only in their `Runner`: a child process, or the runtime itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeagent.errors import Bug, BundleFault, ConfigFault, InferenceFault
from edgeagent.inference import Answer
from edgeagent.inference.bundle import Bundle, Variant
from edgeagent.inference.golden import check_golden
from edgeagent.inference.recovery import Recovery
from edgeagent.inference.tensors import Scored, Signature
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

ACCELERATORS = ("cpu",)


class Runner(Protocol):
    """One variant, in one place. A runner that failed is closed and never used again."""

    @property
    def pid(self) -> int | None: ...

    def load(self) -> str:
        """Wait until the model is there; the runtime's name. Raises BundleFault or InferenceFault."""
        ...

    def predict(self, values: Float32Array) -> Scored:
        """The answer to float32[samples, channels]. Raises InferenceFault."""
        ...

    def abort(self) -> None:
        """From any thread: let a `load` or `predict` under way fail now."""
        ...

    def close(self) -> None: ...


class ModelEngine(ABC):
    """An `Engine` over a chain of variants.

    Args:
        bundle: What to run.
        requested: The config's `accelerator`.
        clock: Times the back-off.

    Raises:
        ConfigFault: There is no such accelerator.
        BundleFault: The bundle has nothing for it.
    """

    def __init__(self, bundle: Bundle, requested: str, clock: Clock) -> None:
        self.bundle = bundle
        self._shape = (bundle.samples, len(bundle.layout.channels))
        self._variants = variants_for(bundle, requested)
        self._requested = requested
        self._clock = clock
        self._recovery = Recovery(len(self._variants))
        self._runner: Runner | None = None
        self._running: Variant | None = None
        self._lock = Lock()  # held by the lane while it uses the runner
        self._closed = False
        self._launches = 0
        self._backend = ""
        self._last_error = ""
        self._why = ""
        self._answers = 0
        self._clipped = 0.0  # the sum of each answer's share

    @abstractmethod
    def _make_runner(self, variant: Variant) -> Runner:
        """A runner that is not loaded yet. Raises BundleFault or InferenceFault."""

    def start(self) -> None:
        with self._lock:
            self._start()

    def predict(self, values: Float32Array) -> Answer:
        self._refuse_unfit(values)
        with self._lock:
            if self._running is None:
                self._refuse_unless_due()
                self._start()
            return self._ask(values)

    def status(self) -> dict[str, object]:
        running, runner = self._running, self._runner
        return {
            "asked": self._requested,
            "got": running.accelerator if running else None,
            "why": self._why,
            "state": self._recovery.state,
            "restarts": max(self._launches - 1, 0),
            "last_error": self._last_error,
            "clipped": self._clipped / max(self._answers, 1),
            "backend": self._backend,
            "pid": runner.pid if runner else None,
        }

    def close(self) -> None:
        self._closed = True
        runner = self._runner
        if runner is not None:
            runner.abort()
        with self._lock:
            self._drop()

    def _ask(self, values: Float32Array) -> Answer:
        assert self._runner is not None
        assert self._running is not None
        variant, asked_ns = self._running, self._clock.now_ns()
        try:
            scored = self._runner.predict(values)
        except InferenceFault as e:
            self._failed(variant, e)
            raise
        infer_ns = self._clock.now_ns() - asked_ns
        self._answers += 1
        self._clipped += scored.clipped
        return Answer(tuple(scored.scores.tolist()), variant.name, variant.accelerator, infer_ns)

    def _start(self) -> None:
        """Load the first variant that will, as far as the back-off allows."""
        while self._running is None:
            variant = self._variants[self._recovery.variant]
            try:
                self._load(variant)
            except (BundleFault, InferenceFault) as e:
                self._failed(variant, e)
                if not self._recovery.is_due(self._clock.now_ns()):
                    raise

    def _load(self, variant: Variant) -> None:
        self._launches += 1
        runner = self._runner = self._make_runner(variant)
        if self._closed:
            raise InferenceFault(f"model {self.bundle.name} is closed")
        self._backend = runner.load()
        check_golden(self.bundle, variant.name, lambda values: runner.predict(values).scores)
        self._why = f"{variant.name} is the first of the bundle's variants for {self._requested}"
        if variant is not self._variants[0]:
            self._why = f"{variant.name}, because {self._last_error}"
        self._running = variant
        self._recovery.loaded()

    def _failed(self, variant: Variant, fault: BundleFault | InferenceFault) -> None:
        self._drop()
        self._last_error = f"{variant.name}: {fault}"
        self._why = self._last_error
        self._recovery.failed(self._clock.now_ns(), hopeless=isinstance(fault, BundleFault))

    def _drop(self) -> None:
        runner, self._runner, self._running = self._runner, None, None
        if runner is not None:
            runner.close()

    def _refuse_unless_due(self) -> None:
        now_ns = self._clock.now_ns()
        if self._closed:
            raise InferenceFault(f"model {self.bundle.name} is closed")
        if not self._recovery.is_due(now_ns):
            left_s = (self._recovery.retry_ns - now_ns) / NS_PER_S
            raise InferenceFault(
                f"model {self.bundle.name} is {self._recovery.state} ({self._last_error})",
                hint=f"It is tried again in {left_s:.1f} s",
            )

    def _refuse_unfit(self, values: Float32Array) -> None:
        if values.shape != self._shape:
            raise Bug(
                f"a window of shape {values.shape} for model {self.bundle.name}, which takes {self._shape}"
            )
        if not np.isfinite(values).all():
            raise InferenceFault("a channel of the window has no sample at all, or one that is infinite")


def variants_for(bundle: Bundle, requested: str) -> tuple[Variant, ...]:
    """The variants to try, best first. Raises ConfigFault or BundleFault, saying what there is."""
    if requested not in ("auto", *ACCELERATORS):
        raise ConfigFault(
            f"accelerator {requested!r} is not known here",
            expected=f"auto or {' or '.join(ACCELERATORS)}",
            hint="auto takes the best that the bundle and the machine both have",
        )
    chosen = tuple(v for v in bundle.variants if v.accelerator in ACCELERATORS)
    if not chosen:
        has = ", ".join(v.accelerator for v in bundle.variants)
        raise BundleFault(
            f"bundle {bundle.name} has no variant for {' or '.join(ACCELERATORS)}; it has: {has}",
            where=str(bundle.folder / "bundle.yaml"),
            hint="Add the file from before it was compiled for the accelerator",
        )
    return chosen


def signature(bundle: Bundle) -> Signature:
    """What the runtime must know of a bundle."""
    columns = {channel.name: i for i, channel in enumerate(bundle.layout.channels)}
    return Signature(
        bundle.samples,
        len(columns),
        len(bundle.labels),
        bundle.scaling.mean,
        bundle.scaling.std,
        {tensor: [columns[name] for name in taken] for tensor, taken in bundle.input_tensors.items()},
        bundle.output_tensors,
    )

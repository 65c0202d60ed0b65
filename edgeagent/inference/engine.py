"""What both engines share: the order of variants, golden vectors, recovery, status.

`Supervisor` and `Inline` differ only in their `Runner`: a child process, or the runtime itself.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from edgeagent.errors import Bug, BundleFault, InferenceFault
from edgeagent.inference import Answer
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.choices import Choice, Requested, choices_for, spoken
from edgeagent.inference.faults import AcceleratorFault, Displaced, WorkerDied
from edgeagent.inference.golden import check_golden, load_golden
from edgeagent.inference.recovery import Recovery
from edgeagent.inference.tensors import Scored, Signature
from edgeagent.inference.threads import (
    MUST_SAVE,
    WORTH_NS,
    Found,
    Pin,
    Pins,
    Threads,
    board,
    in_turns,
    worth_trying,
)
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Clock

if TYPE_CHECKING:
    from edgeagent.records import Float32Array

PROBE_DEADLINE_NS = 60 * NS_PER_S
_ABORT_EVERY_S = 0.01
_BRIEF = 160  # characters of a reason that goes with each prediction


class Loaded(NamedTuple):
    """What a runner has to say of itself: the runtime's name, and what of its confinement could not be had."""

    backend: str
    unconfined: list[str]


class Runner(Protocol):
    """One choice, in one place. A runner that failed is closed and never used again."""

    @property
    def pid(self) -> int | None: ...

    def is_ready(self) -> bool:
        """Whether `load` would return, or raise, at once."""
        ...

    def load(self) -> Loaded:
        """Wait until the model is there. Raises BundleFault or InferenceFault."""
        ...

    def predict(self, values: Float32Array, state: Float32Array | None) -> Scored:
        """The answer to float32[samples, channels], as `backends.Model` has it. Raises InferenceFault."""
        ...

    def abort(self) -> None:
        """From any thread: let a `load` or `predict` under way fail now."""
        ...

    def close(self) -> None: ...


class _Stream(NamedTuple):
    """Where a pipeline's windows have come to, and what the model wants to be given with the next."""

    window_seq: int
    state: Float32Array


class _Fate(NamedTuple):
    """What became of a choice: all that is known, and in brief. Words: a fault holds on to all that it came through."""

    told: str
    brief: str


class _Probe(NamedTuple):
    """A better choice that is being loaded beside the one that serves."""

    choice: int
    runner: Runner
    began_ns: int


class ModelEngine(ABC):
    """An `Engine` over a chain of choices.

    Args:
        bundle: What to run.
        requested: The config's `accelerator`.
        clock: Times the back-off, and how many threads are quickest.
        threads: The runtime's, or `auto`.
        pins: What `auto` has found so far.

    Raises:
        ConfigFault: There is no such accelerator.
        BundleFault: The bundle has nothing for it.
    """

    def __init__(
        self,
        bundle: Bundle,
        requested: Requested,
        clock: Clock,
        threads: Threads = 1,
        pins: Pins | None = None,
    ) -> None:
        self.bundle = bundle
        self._shape, self._is_stateful = (bundle.rows, len(bundle.layout.channels)), bundle.is_stateful
        self._choices = choices_for(bundle, requested)
        self._requested = spoken(requested)
        self._clock = clock
        self._threads, self._pins = threads, pins or Pins()
        self._recovery = Recovery(len(self._choices))
        self._runner: Runner | None = None
        self._running: Choice | None = None
        self._probe: _Probe | None = None
        self._lock = Lock()  # held by the lane while it uses the runner
        self._closed = False
        self._restarts = 0
        self._loaded = Loaded("", [])
        self._last_error = ""
        self._why = ""
        self._fates: dict[int, _Fate] = {}  # by the number of a choice, what became of it last
        self._instead = ""  # of which better choice the one that serves takes the place, and why
        self._answers = 0
        self._clipped = 0.0  # the sum of each answer's share
        self._streams: dict[str, _Stream] = {}
        self._files: object = None  # what the bundle's files were when it came into quarantine

    @property
    def device(self) -> str:
        return self._choice.accelerator.name

    @property
    def _choice(self) -> Choice:
        """What serves, or is tried next."""
        return self._choices[self._recovery.choice]

    @abstractmethod
    def _make_runner(self, choice: Choice, threads: int) -> Runner:
        """A runner that has begun to load. Raises BundleFault or InferenceFault."""

    def start(self) -> None:
        with self._lock:
            self._start()

    def predict(
        self, values: Float32Array | tuple[bytes, ...], stream: str = "", window_seq: int = 0
    ) -> Answer:
        if isinstance(values, tuple):
            values = self._seen(values)
        else:
            self._refuse_unfit(values)
        with self._lock:
            if self._running is None:
                self._refuse_unless_due()
                self._start()
            answer = self._ask(values, stream, window_seq)
            if self._recovery.choice:
                self._try_better()
            return answer

    def status(self) -> dict[str, object]:
        running, runner, planned = self._running, self._runner, self._planned(self._choice)
        return {
            "asked": self._requested,
            "got": running.accelerator.name if running else None,
            "why": self._why,
            "state": self._recovery.state,
            "restarts": self._restarts,
            "last_error": self._last_error,
            "clipped": self._clipped / max(self._answers, 1),
            "backend": self._loaded.backend,
            "threads": planned.threads,
            "threads_why": planned.why,
            "unconfined": self._loaded.unconfined,
            "pid": runner.pid if runner else None,
        }

    def close(self) -> None:
        self._closed = True
        while not self._lock.acquire(timeout=_ABORT_EVERY_S):
            if self._runner is not None:  # another one, perhaps, than at the time before
                self._runner.abort()
        self._drop()
        self._drop_probe()
        self._lock.release()

    def _seen(self, pictures: tuple[bytes, ...]) -> Float32Array:
        """The pixels of pictures, float32[rows, 3] from 0 to 255. Raises DeviceFault for what is no picture."""
        from edgeagent.buses.camera.picture import decode  # Pillow, only where there are pictures

        height, width = self.bundle.layout.shape
        resize = self.bundle.resize
        pixels = [decode(picture, width, height, resize=resize).reshape(-1, 3) for picture in pictures]
        return np.concatenate(pixels, dtype=np.float32)

    def _ask(self, values: Float32Array, stream: str, window_seq: int) -> Answer:
        assert self._runner is not None
        assert self._running is not None
        (variant, accelerator), asked_ns = self._running, self._clock.now_ns()
        try:
            state = self._state(stream, window_seq) if self._is_stateful else None
            scored = self._measured(self._runner, values, state)
        except Displaced as e:
            self._displaced(e)
            return self._ask(values, stream, window_seq)
        except InferenceFault as e:
            self._restarts += 1
            self._failed(self._running, e)
            raise
        infer_ns = self._clock.now_ns() - asked_ns
        self._answers += 1
        self._clipped += scored.clipped
        if self._is_stateful:
            self._streams[stream] = _Stream(window_seq, scored.state)
        scores = tuple(scored.scores.tolist())
        return Answer(scores, variant.name, accelerator.name, infer_ns, self._instead)

    def _state(self, stream: str, window_seq: int) -> Float32Array | None:
        """What was handed on by the window before this one; None if that was lost, or not answered."""
        before = self._streams.pop(stream, None)
        return before.state if before is not None and before.window_seq == window_seq - 1 else None

    def _measured(self, runner: Runner, values: Float32Array, state: Float32Array | None) -> Scored:
        """From a window to the task's scores: what the bundle says before, and after, the model itself."""
        prepared = self.bundle.chain(values)
        outputs, clipped, after = runner.predict(prepared, state)
        return Scored(self.bundle.task.measure(outputs, prepared), clipped, after)

    def _check_golden(self, choice: Choice, runner: Runner) -> None:
        """The vectors of a model with a state are one stream, in their order."""
        state: Float32Array | None = None

        def predict(values: Float32Array) -> Float32Array:
            nonlocal state
            scored = self._measured(runner, values, state)
            state = scored.state if self._is_stateful else None
            return scored.scores

        check_golden(self.bundle, str(choice), predict)

    # --- loading, falling, climbing -------------------------------------------------------------------

    def _start(self) -> None:
        """Load the first choice that will, as far as the back-off allows."""
        while self._running is None:
            choice = self._choice
            try:
                self._runner = self._make_runner(choice, self._planned(choice).threads)
                if self._closed:
                    raise InferenceFault(f"model {self.bundle.name} is closed")
                self._serve_with(self._runner, self._recovery.choice)
                self._settle_threads(choice)
            except Displaced as e:
                self._drop()
                self._last_error = f"{choice}: {e}"
            except (BundleFault, InferenceFault) as e:
                self._failed(choice, e)
                if not self._recovery.is_due(self._clock.now_ns()):
                    raise

    def _serve_with(self, runner: Runner, index: int) -> None:
        """Let the runner serve, if it loads and passes its golden vectors. Raises BundleFault or InferenceFault."""
        choice = self._choices[index]
        self._loaded = runner.load()
        self._check_golden(choice, runner)
        self._streams.clear()
        self._why, self._instead = f"{choice} is the first of the bundle's variants for {self._requested}", ""
        if index:
            fate = self._fates[max(better for better in self._fates if better < index)]
            self._why, self._instead = f"{choice}, because {fate.told}", fate.brief
        self._runner, self._running = runner, choice
        self._recovery.loaded(index, self._clock.now_ns())

    def _displaced(self, fault: Displaced) -> None:
        """A neighbour took the worker with it: load the model again, which costs it nothing but the time."""
        self._restarts += 1
        self._last_error = f"{self._running}: {fault}"
        self._drop()
        self._start()

    def _failed(self, choice: Choice, fault: BundleFault | InferenceFault) -> None:
        self._drop()
        self._drop_probe()
        self._last_error = f"{choice}: {fault}"
        self._why = self._last_error
        self._fates[self._recovery.choice] = _Fate(self._why, f"{choice}: {fault.what}"[:_BRIEF])
        self._recovery.failed(
            self._clock.now_ns(),
            hopeless=isinstance(fault, BundleFault | AcceleratorFault),
            killed=isinstance(fault, WorkerDied),
        )
        if self._recovery.state == "quarantined":
            self._files = _stamps(self.bundle)

    def _try_better(self) -> None:
        """Climb back up the chain: load a better choice beside the one that serves, so that no window waits for it."""
        now_ns, probe = self._clock.now_ns(), self._probe
        if probe is None:
            self._begin_probe(now_ns)
        elif probe.runner.is_ready() or now_ns - probe.began_ns > PROBE_DEADLINE_NS:
            self._end_probe(probe)

    def _begin_probe(self, now_ns: int) -> None:
        index = self._recovery.probe(now_ns)
        if index is None:
            return
        choice = self._choices[index]
        try:
            self._probe = _Probe(index, self._make_runner(choice, self._planned(choice).threads), now_ns)
        except (BundleFault, InferenceFault) as e:
            self._last_error = f"{choice}: {e}"

    def _end_probe(self, probe: _Probe) -> None:
        served = self._runner
        try:
            if not probe.runner.is_ready():
                raise InferenceFault("it does not load")
            self._serve_with(probe.runner, probe.choice)
        except (BundleFault, InferenceFault) as e:
            self._drop_probe()
            self._last_error = f"{self._choices[probe.choice]}: {e}"
            self._recovery.probe_failed(probe.choice, killed=isinstance(e, WorkerDied))
        else:
            self._probe = None
            assert served is not None
            served.close()

    def _drop(self) -> None:
        runner, self._runner, self._running = self._runner, None, None
        if runner is not None:
            runner.close()

    def _drop_probe(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.runner.close()

    # --- threads --------------------------------------------------------------------------------------

    def _planned(self, choice: Choice) -> Found:
        """With how many threads a choice is loaded: as the config says, or as was found on this board."""
        if self._threads != "auto":
            return Found(self._threads, "the config says so")
        if not choice.accelerator.is_cpu:
            return Found(1, f"{choice.accelerator.name} computes it")
        pin = self._pins.find(choice.variant.sha256)
        return Found(pin.threads, pin.why) if pin is not None else Found(1, "not measured yet")

    def _settle_threads(self, choice: Choice) -> None:
        """With `auto` a model's first load on a board, or by another runtime, finds out how many are quickest."""
        sha256 = choice.variant.sha256
        if self._threads != "auto" or not choice.accelerator.is_cpu:
            return
        pin = self._pins.find(sha256)
        if pin is None:
            if (found := self._quickest(choice)) is not None:
                self._pins.keep(sha256, Pin(*found, self._loaded.backend, board()))
        elif pin.runtime != self._loaded.backend:
            self._pins.forget(sha256)
            self._drop()  # to be loaded anew, with one

    def _quickest(self, choice: Choice) -> Found | None:
        """Try more threads for as long as they pay. None by a clock that stands still."""
        assert self._runner is not None
        values, best = self.bundle.chain(load_golden(self.bundle).inputs[0]), 1
        (alone_ns,) = in_turns(self._timed(self._runner, values))
        if alone_ns == 0:
            return None
        if alone_ns < WORTH_NS:
            return Found(1, f"one takes {alone_ns / 1e6:.2f} ms, too little to share")
        told = [f"1: {alone_ns / 1e6:.1f} ms"]
        for threads in worth_trying()[1:]:
            pays, words = self._try_threads(choice, threads, values)
            told.append(f"{threads}: {words}")
            if not pays:
                break
            best = threads
        return Found(best, f"measured on this board, {', '.join(told)}")

    def _try_threads(self, choice: Choice, threads: int, values: Float32Array) -> tuple[bool, str]:
        """Whether more threads pay: then they serve from now on. And how long they take, or why they do not serve."""
        served, other = self._runner, None
        assert served is not None
        try:
            self._runner = other = self._make_runner(choice, threads)
            other.load()
            self._check_golden(choice, other)
            before_ns, taken_ns = in_turns(self._timed(served, values), self._timed(other, values))
            pays, words = taken_ns <= before_ns * (1 - MUST_SAVE), f"{taken_ns / 1e6:.1f} ms"
        except (BundleFault, InferenceFault) as e:
            pays, words = False, str(e)
        if not pays:
            self._runner, served = served, other
        if served is not None:
            served.close()
        return pays, words

    def _timed(self, runner: Runner, values: Float32Array) -> Callable[[], int]:
        """A call that says how long it took, in ns; of a model with a state, window after window."""
        state: Float32Array | None = None

        def call() -> int:
            nonlocal state
            began_ns = self._clock.now_ns()
            scored = runner.predict(values, state)
            state = scored.state if self._is_stateful else None
            return self._clock.now_ns() - began_ns

        return call

    # --- what is refused ------------------------------------------------------------------------------

    def _refuse_unless_due(self) -> None:
        now_ns, recovery = self._clock.now_ns(), self._recovery
        if self._closed:
            raise InferenceFault(f"model {self.bundle.name} is closed")
        if recovery.state == "quarantined" and _stamps(self.bundle) != self._files:
            self._recovery = Recovery(len(self._choices))
        elif not recovery.is_due(now_ns):
            when = "It is tried again once the config or a file of the bundle has changed"
            if recovery.retry_ns is not None:
                when = f"It is tried again in {(recovery.retry_ns - now_ns) / NS_PER_S:.1f} s"
            raise InferenceFault(
                f"model {self.bundle.name} is {recovery.state} ({self._last_error})", hint=when
            )

    def _refuse_unfit(self, values: Float32Array) -> None:
        if values.shape != self._shape:
            raise Bug(
                f"a window of shape {values.shape} for model {self.bundle.name}, which takes {self._shape}"
            )
        if False in np.isfinite(values).tobytes():  # .all() takes four times as long
            raise InferenceFault("a channel of the window has no sample at all, or one that is infinite")


def _stamps(bundle: Bundle) -> object:
    """What changes when someone changes a file of the bundle."""
    files = [bundle.folder / "bundle.yaml", bundle.golden.file, *(v.file for v in bundle.variants)]
    return [(s.st_mtime_ns, s.st_ino, s.st_size) if (s := _stat(file)) else None for file in files]


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None


def signature(bundle: Bundle) -> Signature:
    """What the runtime must know of a bundle."""
    columns = {channel.name: i for i, channel in enumerate(bundle.chain.form.channels)}
    return Signature(
        bundle.chain.rows,
        len(columns),
        bundle.task.outputs,
        bundle.scaling.mean,
        bundle.scaling.std,
        {tensor: [columns[name] for name in taken] for tensor, taken in bundle.input_tensors.items()},
        bundle.output_tensors,
        bundle.states,
        bundle.variables,
    )

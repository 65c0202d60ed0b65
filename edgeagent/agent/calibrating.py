"""`edgeagent model calibrate` in the running agent: hear a model's errors for a while, let a new threshold hold."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from edgeagent.agent.clock import RealClock
from edgeagent.agent.threads import Command, Inbox
from edgeagent.config.schema import Config
from edgeagent.errors import Fault
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.calibration import models_of, store_calibration, threshold_of
from edgeagent.inference.thresholds import Found
from edgeagent.pipeline import Arrival
from edgeagent.records import NS_PER_S
from edgeagent.timebase import Wall

log = logging.getLogger(__name__)

MOST_WINDOWS = 20_000
MOST_S = 86_400.0


class Listen(msgspec.Struct, frozen=True, tag="listen", tag_field="do", forbid_unknown_fields=True):
    """Hear the model's errors from now on; who listened before hears no more."""

    model: str
    seconds: Annotated[float, msgspec.Meta(gt=0, le=MOST_S)]


class Heard(msgspec.Struct, frozen=True, tag="heard", tag_field="do", forbid_unknown_fields=True):
    """What it has said since."""

    model: str


class Keep(msgspec.Struct, frozen=True, tag="keep", tag_field="do", forbid_unknown_fields=True):
    """Let another threshold hold, if it is still this training of the model that serves."""

    model: str
    models: list[str]
    found: Found
    source: str


def request(do: object, arguments: dict[str, Any]) -> Listen | Heard | Keep:
    """A request as it comes over the socket. Raises Fault if it is none."""
    try:
        asked: Listen | Heard | Keep = msgspec.convert({"do": do} | arguments, Listen | Heard | Keep)
    except msgspec.ValidationError as e:
        raise Fault(f"not a request about a calibration: {e}") from e
    return asked


class Board(Protocol):
    """What runs."""

    config: Config
    models: dict[str, Bundle]

    def recalibrate(self, key: str, bundle: Bundle) -> None:
        """Let another threshold hold for a model. In the core's thread."""
        ...


class Calibrator:
    """Listens in the core's thread; `keep` is called from another.

    Args:
        folder: Where calibrations are kept.
        board: What runs now. In the core's thread.
        tell: Takes the body of an audit record. In the core's thread.
        clock, inbox: What time it is, and the way to the core's thread.
    """

    def __init__(
        self,
        folder: Path,
        board: Callable[[], Board],
        tell: Callable[[dict[str, Any]], None],
        clock: RealClock,
        inbox: Inbox,
    ) -> None:
        self._folder, self._board, self._tell, self._clock, self._inbox = folder, board, tell, clock, inbox
        self._model = ""
        self._pipelines: frozenset[str] = frozenset()
        self._until_ns = 0
        self._errors: list[float] = []

    def hear(self, arrival: Arrival, now_ns: int) -> None:
        """Called for each answer of any model."""
        if arrival.pipeline in self._pipelines and arrival.scores and now_ns < self._until_ns:
            self._errors.append(arrival.scores[0])
            if len(self._errors) >= MOST_WINDOWS:
                self._until_ns = now_ns

    def answer(self, asked: Listen | Heard) -> dict[str, Any]:
        """Raises Fault if there is no such model, or nobody listens to it."""
        bundle = self._bundle(asked.model)
        match asked:
            case Listen(model, seconds):
                self._listen(model, seconds)
            case Heard(model) if model != self._model:
                raise Fault(f"nobody listens to model {model} any more", hint="Calibrate it again")
        return {
            "bundle": f"{bundle.name} {bundle.version}",
            "models": models_of(bundle),
            "threshold": threshold_of(bundle),
            "errors": self._errors,
            "left_s": max(self._until_ns - self._clock.now_ns(), 0) / NS_PER_S,
        }

    def _listen(self, model: str, seconds: float) -> None:
        pipelines = self._board().config.pipelines
        asking = frozenset(name for name, one in pipelines.items() if one.model == model)
        if not asking:
            raise Fault(f"no pipeline asks model {model}", hint="Let one, under `pipelines:` in the config")
        self._model, self._pipelines, self._errors = model, asking, []
        self._until_ns = self._clock.now_ns() + round(seconds * NS_PER_S)

    def keep(self, asked: Keep) -> str:
        """Write it down, then let it hold; told upstream either way. Raises Fault."""
        try:
            bundle = self._in_core(lambda: self._bundle(asked.model))
            if models_of(bundle) != asked.models:
                raise Fault(
                    f"another model serves for {asked.model} now than was measured", hint="Calibrate it again"
                )
            new = store_calibration(
                self._folder, bundle, asked.found, asked.source, utc(self._clock.now_ns(), self._clock.wall())
            )
        except Fault as fault:
            refused = {"type": "calibration", "model": asked.model, "outcome": "refused", "why": str(fault)}
            self._in_core(lambda: self._tell(refused))
            raise
        self._in_core(lambda: self._adopt(asked.model, new))
        log.info("model %s: the threshold is %g now", asked.model, asked.found.threshold)
        return f"{new.name} {new.version}"

    def _adopt(self, model: str, new: Bundle) -> None:
        """For each model that is this very bundle."""
        board = self._board()
        for key, bundle in board.models.items():
            if (bundle.name, bundle.version, models_of(bundle)) == (new.name, new.version, models_of(new)):
                board.recalibrate(key, new)
        self._tell(audit(model, new))

    def _bundle(self, model: str) -> Bundle:
        """In the core's thread. Raises Fault."""
        models = self._board().models
        if model not in models:
            there = ", ".join(models) or "there are none"
            raise Fault(f"there is no model {model!r}", expected=f"one of `models:` in the config: {there}")
        threshold_of(models[model])
        return models[model]

    def _in_core(self, run: Callable[[], Any]) -> Any:
        """Let the core's thread do something, and wait for it."""
        reply: Future[Any] = Future()

        def answer() -> None:
            try:
                reply.set_result(run())
            except Fault as fault:
                reply.set_exception(fault)

        self._inbox.put(Command(answer))
        return reply.result()


def audit(model: str, bundle: Bundle) -> dict[str, Any]:
    """The body of the record that tells of a new threshold."""
    assert bundle.calibration is not None
    whose = {"model": model, "name": bundle.name, "version": bundle.version}
    told: dict[str, Any] = msgspec.to_builtins(bundle.calibration)
    return {"type": "calibration", "outcome": "done"} | whose | told


def utc(now_ns: int, wall: Wall) -> str | None:
    """`2026-11-22T12:00:00Z`; None while the clock is not set."""
    if not wall.synced:
        return None
    return datetime.fromtimestamp((now_ns + wall.offset_ns) // NS_PER_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

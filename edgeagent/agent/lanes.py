"""The loops between the core and the models, and the desk at which their requests are put in order."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from threading import Lock
from typing import Any, NamedTuple

from edgeagent.agent.schedule import Schedule, Terms
from edgeagent.agent.threads import Inbox
from edgeagent.errors import BundleFault, DeviceFault, InferenceFault
from edgeagent.inference import Engine
from edgeagent.pipeline import Arrival, ModelPlan, Request
from edgeagent.records import Skipped
from edgeagent.timebase import Clock

log = logging.getLogger(__name__)

_ROUND_S = 1.0  # how often an idle lane says that it lives


class Serving(NamedTuple):
    """What answers for a model, and how the core is to read the answers."""

    engine: Engine
    plan: ModelPlan


class _Switch(NamedTuple):
    """What is to answer from now on; `taken` is done once it does."""

    serving: Serving
    taken: Future[None]


class Lanes:
    """The lanes of all models, and the schedule that they share: who is free takes what is next.

    Args:
        serving: By the model's key.
        terms: By pipeline.
        clock, inbox: What requests grow old by, and where each of them arrives.
    """

    def __init__(
        self, serving: Mapping[str, Serving], terms: Mapping[str, Terms], clock: Clock, inbox: Inbox
    ) -> None:
        self.by_model = {key: Lane(key, one, self._free, inbox) for key, one in serving.items()}
        self._schedule, self._lock = Schedule(terms), Lock()
        self._clock, self._inbox = clock, inbox

    def submit(self, request: Request) -> None:
        """Never waits. What has waited too long, or is one too many, goes unanswered."""
        with self._lock:
            self._give_up(self._schedule.put(request, self._clock.now_ns()))
            self._hand_out()

    def _free(self, lane: Lane) -> None:
        """A lane has nothing to do."""
        with self._lock:
            self._schedule.free(lane.model, lane.serving.engine.device)
            self._give_up(self._schedule.expire(self._clock.now_ns()))
            self._hand_out()

    def _hand_out(self) -> None:
        while (request := self._schedule.take()) is not None:
            self.by_model[request.model].hand(request)

    def _give_up(self, requests: Iterable[Request]) -> None:
        for request in requests:
            self.by_model[request.model].stale += 1
            self._inbox.put(Arrival(request.pipeline, request.window_seq, skipped="stale"))


class Lane:
    """The thread of one model: a request in, an arrival out; exactly one arrival a request.

    Args:
        model: Its key.
        serving: What answers.
        free: Called when there is nothing to do; `hand` may come from in there already.
        inbox: Where arrivals go.
    """

    def __init__(self, model: str, serving: Serving, free: Callable[[Lane], None], inbox: Inbox) -> None:
        self.model, self.serving = model, serving
        self._free, self._inbox = free, inbox
        self._requests: queue.SimpleQueue[Request | _Switch | ModelPlan | None] = queue.SimpleQueue()
        self._well = True
        self.started = False
        self.stopped = False
        self.stale = 0

    def hand(self, request: Request) -> None:
        """The next one to answer, when `free` was said."""
        self._requests.put(request)

    def switch(self, serving: Serving) -> Future[None]:
        """Let another engine answer from the next request on, and let go of the one that does now.

        Done when it has: until then the one before may still be answering, and `status` tells of that.
        """
        taken: Future[None] = Future()
        self._requests.put(_Switch(serving, taken))
        return taken

    def replan(self, plan: ModelPlan) -> None:
        """Let the answers be read in another way from the next request on."""
        self._requests.put(plan)

    def run(self, alive: Callable[[], None]) -> None:
        try:
            self.serving.engine.start()
        except (InferenceFault, BundleFault) as fault:
            self._note(str(fault))  # the engine goes on trying by itself
        self.started = True
        self._free(self)
        while not self.stopped:
            alive()
            try:
                self._do(self._requests.get(timeout=_ROUND_S))
            except queue.Empty:
                continue
        self.serving.engine.close()

    def stop(self) -> None:
        """End the worker, whatever it does, and the thread; what is still asked gets no answer."""
        self.stopped = True
        self._requests.put(None)
        self.serving.engine.close()

    def status(self) -> dict[str, Any]:
        plan = self.serving.plan
        names = {"bundle": plan.name, "version": plan.version, "stale": self.stale}
        return self.serving.engine.status() | names

    def _do(self, asked: Request | _Switch | ModelPlan | None) -> None:
        match asked:
            case Request():
                arrival = ask_engine(self.serving.engine, asked)
                self._note(arrival.error)
                self._inbox.put(arrival._replace(model=self.serving.plan))
                self._free(self)
            case _Switch(serving, taken):
                before, self.serving = self.serving, serving
                taken.set_result(None)
                before.engine.close()
            case ModelPlan():
                self.serving = self.serving._replace(plan=asked)

    def _note(self, trouble: str) -> None:
        """Say once that the model fails, and once that it answers again."""
        if self._well == (not trouble) or self.stopped:
            return
        self._well = not trouble
        if trouble:
            log.warning("model %s: %s", self.model, trouble)
        else:
            log.info("model %s answers again", self.model)


def ask_engine(engine: Engine, request: Request) -> Arrival:
    """Run the model once; a failure is an arrival too."""
    try:
        answer = engine.predict(request.pictures or request.values, request.pipeline, request.window_seq)
    except DeviceFault as fault:  # what the camera sent is no picture
        return Arrival(request.pipeline, request.window_seq, skipped="missing", error=str(fault))
    except (InferenceFault, BundleFault) as fault:
        skipped: Skipped = "quarantined" if engine.status()["state"] == "quarantined" else "worker"
        return Arrival(request.pipeline, request.window_seq, skipped=skipped, error=str(fault))
    scores, variant, accelerator, _, why = answer
    return Arrival(request.pipeline, request.window_seq, scores, variant, accelerator, why=why)

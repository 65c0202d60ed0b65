"""The loop between the core and one model's worker."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable
from contextlib import suppress

from edgeagent.agent.threads import Inbox
from edgeagent.errors import BundleFault, DeviceFault, InferenceFault
from edgeagent.inference import Engine
from edgeagent.pipeline import Arrival, Request
from edgeagent.records import Skipped

log = logging.getLogger(__name__)

LANE_REQUESTS = 4
_ROUND_S = 1.0  # how often an idle lane says that it lives


class Lane:
    """The thread of one model: requests in, arrivals out; exactly one arrival a request."""

    def __init__(self, model: str, engine: Engine, inbox: Inbox) -> None:
        self.model, self.engine = model, engine
        self._inbox = inbox
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._well = True
        self.started = False
        self.stopped = False
        self.stale = 0

    def submit(self, request: Request) -> None:
        """Never waits: when the model is slower than its windows, the oldest request goes unanswered.

        Of a pipeline's pictures only the newest waits: what stands before a camera is of interest now.
        """
        waiting = self._taken_back()
        for n, earlier in enumerate(waiting):
            replaced = bool(request.pictures) and earlier.pipeline == request.pipeline
            if replaced or len(waiting) - n >= LANE_REQUESTS:
                self.stale += 1
                self._inbox.put(Arrival(earlier.pipeline, earlier.window_seq, skipped="stale"))
            else:
                self._requests.put(earlier)
        self._requests.put(request)

    def _taken_back(self) -> list[Request]:
        """All that waits, out of the queue."""
        waiting: list[Request | None] = []
        with suppress(queue.Empty):
            while True:
                waiting.append(self._requests.get_nowait())
        return [request for request in waiting if request is not None]

    def run(self, alive: Callable[[], None]) -> None:
        try:
            self.engine.start()
        except (InferenceFault, BundleFault) as fault:
            self._note(str(fault))  # the engine goes on trying by itself
        self.started = True
        while not self.stopped:
            alive()
            try:
                request = self._requests.get(timeout=_ROUND_S)
            except queue.Empty:
                continue
            if request is not None:
                arrival = ask_engine(self.engine, request)
                self._note(arrival.error)
                self._inbox.put(arrival)

    def stop(self) -> None:
        """End the worker, whatever it does, and the thread; what is still asked gets no answer."""
        self.stopped = True
        self._requests.put(None)
        self.engine.close()

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
        answer = engine.predict(request.pictures or request.values)
    except DeviceFault as fault:  # what the camera sent is no picture
        return Arrival(request.pipeline, request.window_seq, skipped="missing", error=str(fault))
    except (InferenceFault, BundleFault) as fault:
        skipped: Skipped = "quarantined" if engine.status()["state"] == "quarantined" else "worker"
        return Arrival(request.pipeline, request.window_seq, skipped=skipped, error=str(fault))
    return Arrival(request.pipeline, request.window_seq, answer.scores, answer.variant, answer.accelerator)

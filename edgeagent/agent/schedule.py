"""Which request is computed next, on which device: no I/O, no thread, no clock, only `now`.

A device computes one request at a time. Among those that could run on it the one of the highest rank is next: its
pipeline's `priority`, and one more for each time that the pipeline was passed over while it waited. So what is urgent
goes first, and nothing waits for ever: a pipeline is passed over at most as often as priorities differ, and once by
each of the others.

A late result is worth less than the next one: what has waited past its deadline is given up, the oldest first, if
there is a newer one. Of a pipeline's pictures only the newest waits: what stands before a camera is of interest now.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from edgeagent.pipeline import Request

MOST_WAITING = 16  # of one pipeline: a sensor's burst may close several windows at once


class Terms(NamedTuple):
    """What a pipeline may ask: how urgent it is, and how long a request may keep a newer one waiting."""

    priority: int
    deadline_ns: int


class _Waiting(NamedTuple):
    request: Request
    due_ns: int


class Schedule:
    """The requests of all pipelines, and the lanes and devices that are free.

    Args:
        terms: By pipeline.
    """

    def __init__(self, terms: Mapping[str, Terms]) -> None:
        self._terms = terms
        self._waiting: dict[str, deque[_Waiting]] = {name: deque() for name in terms}
        self._passed_over = dict.fromkeys(terms, 0)
        self._free: dict[str, str] = {}  # by model: on which device it would run
        self._running: dict[str, str] = {}  # by model: on which it does

    def put(self, request: Request, now_ns: int) -> list[Request]:
        """Take a request in. Returns those that are given up for it."""
        waiting = self._waiting[request.pipeline]
        waiting.append(_Waiting(request, now_ns + self._terms[request.pipeline].deadline_ns))
        stale = self.expire(now_ns)
        while len(waiting) > (1 if request.pictures else MOST_WAITING):
            stale.append(waiting.popleft().request)
        return stale

    def expire(self, now_ns: int) -> list[Request]:
        """Give up what has waited too long: of each pipeline all but the newest."""
        stale = []
        for waiting in self._waiting.values():
            while len(waiting) > 1 and waiting[0].due_ns < now_ns:
                stale.append(waiting.popleft().request)
        return stale

    def free(self, model: str, device: str) -> None:
        """The model's lane is idle, and the device that it used is, too; its next request would run on this one."""
        self._running.pop(model, None)
        self._free[model] = device

    def take(self) -> Request | None:
        """A request that can run now; its lane and its device are busy with it until `free`."""
        ready = dict(self._ready())
        if not ready:
            return None
        best = min(ready, key=self._rank)
        for name, device in ready.items():
            self._passed_over[name] += device == ready[best]
        self._passed_over[best] = 0
        request = self._waiting[best].popleft().request
        self._running[request.model] = self._free.pop(request.model)
        return request

    def _ready(self) -> Iterator[tuple[str, str]]:
        """The pipelines whose next request could run now, and on which device."""
        busy = set(self._running.values())
        for name, waiting in self._waiting.items():
            device = self._free.get(waiting[0].request.model) if waiting else None
            if device is not None and device not in busy:
                yield name, device

    def _rank(self, pipeline: str) -> tuple[int, int]:
        """The lowest is next: the most urgent, and among equals the one that is due first."""
        urgency = self._terms[pipeline].priority + self._passed_over[pipeline]
        return -urgency, self._waiting[pipeline][0].due_ns

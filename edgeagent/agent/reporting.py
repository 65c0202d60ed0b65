"""What the world is told unasked: the status file, and to the service manager READY, STATUS and the watchdog's food."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeagent.agent.state import write_status
from edgeagent.health.notify import Notifier, watchdog_period_ns
from edgeagent.health.progress import Progress
from edgeagent.records import NS_PER_S

log = logging.getLogger(__name__)

_STATUS_NS = NS_PER_S


class Reporter:
    """Called by the core's thread alone.

    Args:
        run: The run folder.
        progress: Who must move for the watchdog to be fed. The core is not among them: it does the feeding.
        status: The agent's, `summary` in it.
        now_ns: When it starts.
    """

    def __init__(
        self, run: Path, progress: Progress, status: Callable[[], dict[str, Any]], now_ns: int
    ) -> None:
        self._run, self._progress, self._status = run, progress, status
        self._notifier = Notifier()
        self._ready = False
        self._next_status_ns = self._next_watchdog_ns = now_ns
        self._watchdog_ns = watchdog_period_ns()

    def tick(self, now_ns: int, *, settled: bool) -> bool:
        """Say what is due: READY as soon as all is `settled`, the status each second; whether it was that."""
        self._feed_watchdog(now_ns)
        if settled and not self._ready:
            self._ready = True
            self._notifier.ready(self._status()["summary"])
        if now_ns < self._next_status_ns:
            return False
        self._next_status_ns = now_ns + _STATUS_NS
        status = self._status()
        write_status(self._run, status)
        if self._ready:
            self._notifier.status(status["summary"])
        return True

    def _feed_watchdog(self, now_ns: int) -> None:
        if self._watchdog_ns is None or now_ns < self._next_watchdog_ns:
            return
        self._next_watchdog_ns = now_ns + self._watchdog_ns
        alive, why = self._progress.alive(now_ns)
        if alive:
            self._notifier.watchdog()
        else:
            log.error("the watchdog is not fed: %s", why)

    def reloading(self) -> None:
        self._notifier.reloading()

    def refused(self) -> None:
        """The reload is over, and nothing has changed."""
        if self._ready:
            self._notifier.ready(self._status()["summary"])

    def reloaded(self) -> None:
        """Everything is new: READY comes when it is settled."""
        self._ready = False

    def stopping(self) -> None:
        self._notifier.stopping()

    def close(self) -> None:
        """The last word, after all is down."""
        write_status(self._run, self._status() | {"state": "stopped"})
        self._notifier.close()

"""When a model that failed is tried again, and which of its choices: no I/O, no clock, only `now`.

A choice that dies is tried again at once, then after 0.2 s, 0.4 s, 0.8 s; after five failures, or at once if there is
no hope (an altered file, an accelerator that is not there), the next one has its turn. While that serves, a better
one is probed beside it after 1 min, 2 min, 4 min ... 1 h. When none is left the model is in quarantine: it is tried
again from the first, every five minutes. A choice that crashed its worker five times is not tried any more at all.
"""

from __future__ import annotations

from typing import Literal

from edgeagent.records import NS_PER_MS, NS_PER_S

State = Literal["starting", "ok", "restarting", "quarantined"]

PAUSES_NS = (0, 200 * NS_PER_MS, 400 * NS_PER_MS, 800 * NS_PER_MS)
FAILURES_A_CHOICE = len(PAUSES_NS) + 1
CALM_NS = 60 * NS_PER_S  # a failure this long after the last one is the first of its row
QUARANTINE_NS = 300 * NS_PER_S
FIRST_PROBE_NS = 60 * NS_PER_S
LONGEST_PROBE_NS = 3600 * NS_PER_S


class Recovery:
    """The state of a model over its choices, the preferred one first."""

    def __init__(self, choices: int) -> None:
        self.state: State = "starting"
        self.choice = 0
        self.retry_ns: int | None = 0
        """When a model that fails is tried again; None: never, it killed its worker too often."""
        self._failures = 0
        self._last_failure_ns = 0
        self._deaths = [0] * choices
        self._probes = 0
        self._probe_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether `choice` may be tried now."""
        return self.state == "starting" or (self.retry_ns is not None and now_ns >= self.retry_ns)

    def loaded(self, choice: int, now_ns: int) -> None:
        """The choice is there and passed its golden vectors."""
        if choice < self.choice or self.state != "ok":
            self._probe_ns = now_ns + self._probe_pause_ns()
        self.choice, self.state = choice, "ok"

    def failed(self, now_ns: int, *, hopeless: bool, killed: bool) -> None:
        """The choice did not load, died or hung.

        Args:
            hopeless: It would do the same again.
            killed: It took its worker with it.
        """
        if now_ns - self._last_failure_ns > CALM_NS:
            self._failures = self._deaths[self.choice] = 0
        if now_ns - self._last_failure_ns > LONGEST_PROBE_NS:
            self._probes = 0
        self._failures += 1
        self._deaths[self.choice] += killed
        self._last_failure_ns = now_ns
        self.state = "restarting"
        if hopeless or self._failures >= FAILURES_A_CHOICE:
            self._fall(now_ns)
        else:
            self.retry_ns = now_ns + PAUSES_NS[self._failures - 1]

    def probe(self, now_ns: int) -> int | None:
        """The better choice that is to be tried beside the one that serves, if it is time for one."""
        better = [i for i in range(self.choice) if not self._is_barred(i)]
        if not better or now_ns < self._probe_ns:
            return None
        choice = better[self._probes % len(better)]
        self._probes += 1
        self._probe_ns = now_ns + self._probe_pause_ns()
        return choice

    def probe_failed(self, choice: int, *, killed: bool) -> None:
        """It is still no good."""
        self._deaths[choice] += killed

    def _probe_pause_ns(self) -> int:
        doublings: int = 2**self._probes
        return min(FIRST_PROBE_NS * doublings, LONGEST_PROBE_NS)

    def _is_barred(self, choice: int) -> bool:
        return self._deaths[choice] >= FAILURES_A_CHOICE

    def _fall(self, now_ns: int) -> None:
        """To the next choice that may be tried; if there is none, to the first, after the quarantine."""
        self._failures = 0
        left = [i for i in range(len(self._deaths)) if not self._is_barred(i)]
        later = [i for i in left if i > self.choice]
        self.retry_ns = now_ns
        if not later:
            self.state = "quarantined"
            self.retry_ns = now_ns + QUARANTINE_NS if left else None
        self.choice = (later or left or [0])[0]

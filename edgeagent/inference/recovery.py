"""When a model that failed is tried again, and which of its variants: no I/O, no clock, only `now`.

A variant that dies is tried again after 0.2 s, 0.4 s, 0.8 s ...; after five failures, or at once if there is no hope
(an altered file, a missing operator), the next variant has its turn. When none is left the model is in quarantine:
it is tried again from the first, every five minutes.
"""

from __future__ import annotations

from typing import Literal

from edgeagent.records import NS_PER_MS, NS_PER_S

State = Literal["starting", "ok", "restarting", "quarantined"]

FIRST_PAUSE_NS = 200 * NS_PER_MS
FAILURES_A_VARIANT = 5
CALM_NS = 60 * NS_PER_S  # a failure this long after the last one is the first of its row
QUARANTINE_NS = 300 * NS_PER_S


class Recovery:
    """The state of a model over a chain of variants, the preferred one first."""

    def __init__(self, variants: int) -> None:
        self.state: State = "starting"
        self.variant = 0
        self.retry_ns = 0
        self._variants = variants
        self._failures = 0
        self._last_failure_ns = 0

    def is_due(self, now_ns: int) -> bool:
        """Whether `variant` may be tried now."""
        return self.state == "starting" or now_ns >= self.retry_ns

    def loaded(self) -> None:
        """The variant is there and passed its golden vectors."""
        self.state = "ok"

    def failed(self, now_ns: int, *, hopeless: bool) -> None:
        """The variant did not load, died or hung; `hopeless`: it would do the same again."""
        if now_ns - self._last_failure_ns > CALM_NS:
            self._failures = 0
        self._failures += 1
        self._last_failure_ns = now_ns
        self.state = "restarting"
        if hopeless or self._failures >= FAILURES_A_VARIANT:
            self._fall(now_ns)
        else:
            self.retry_ns = now_ns + FIRST_PAUSE_NS * 2 ** (self._failures - 1)

    def _fall(self, now_ns: int) -> None:
        self._failures = 0
        self.variant += 1
        self.retry_ns = now_ns
        if self.variant == self._variants:
            self.variant = 0
            self.state = "quarantined"
            self.retry_ns = now_ns + QUARANTINE_NS

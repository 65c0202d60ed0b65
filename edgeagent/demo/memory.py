"""What the view remembers from moment to moment; all else it reads from the agent's status."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from edgeagent.demo.scene import Moment

SHOWN_S = 40.0  # how far back the sparklines reach
_FRAMES = 1000
_EVENTS = 8


class Said(NamedTuple):
    """A rule's message, and when in the demo it came."""

    elapsed_s: float
    text: str


class Memory:
    """The last moment, and of those before it: values, messages, kills, and how the outage went."""

    def __init__(self) -> None:
        self.moment = Moment(0.0, 0.0, network_up=True, outage_s=0.0, restarts=0, agent={}, over=False)
        self.agent: Mapping[str, Any] = {}
        self.kills_s: list[float] = []
        self.said: deque[Said] = deque(maxlen=_EVENTS)
        self.network: Literal["up", "away", "draining", "drained"] = "up"
        self.backlog = 0
        self._times_s: deque[float] = deque(maxlen=_FRAMES)
        self._values: deque[Mapping[str, Any]] = deque(maxlen=_FRAMES)
        self._fired: Mapping[str, int] = {}

    def see(self, moment: Moment) -> None:
        """Take in the next moment."""
        self.kills_s += [moment.elapsed_s] * (moment.restarts - self.moment.restarts)
        self.moment = moment
        if moment.agent:
            if moment.agent["run"] != self.agent.get("run"):
                self._fired = {}
            self.agent = moment.agent
            self._listen()
        self._watch_network()
        self._times_s.append(moment.elapsed_s)
        self._values.append(self._now() if moment.agent else {})

    def find(self, *keys: str) -> Any:
        """What the agent's status has at this path; None if it has not come to that yet."""
        found: Any = self.agent
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return found

    def trace(self, name: str, columns: int) -> list[float | None]:
        """A value over the last 40 s, oldest first; None where it was not known."""
        if not self._times_s:
            return [None] * columns
        end_s, step_s = self._times_s[-1], SHOWN_S / columns
        times_s = list(self._times_s)
        found = [bisect_right(times_s, end_s - back * step_s) - 1 for back in reversed(range(columns))]
        return [self._values[at].get(name) if at >= 0 else None for at in found]

    def _now(self) -> dict[str, Any]:
        return {**(self.find("values") or {}), "waiting": self.find("outbox", "waiting")}

    def _listen(self) -> None:
        """Note what each rule that has fired since the last look has said."""
        fired = self.find("counts", "rules_fired") or {}
        for rule, times in fired.items():
            if times > self._fired.get(rule, 0) and (text := self.find("rules", rule, "said")):
                self.said.append(Said(self.moment.elapsed_s, text))
        self._fired = dict(fired)

    def _watch_network(self) -> None:
        waiting = self.find("outbox", "waiting") or 0
        if not self.moment.network_up:
            self.network = "away"
        elif self.network == "away":
            self.network = "draining"
        elif self.network == "draining" and self.moment.agent and not waiting:
            self.network = "drained"
        if self.network in ("away", "draining"):
            self.backlog = max(self.backlog, waiting)

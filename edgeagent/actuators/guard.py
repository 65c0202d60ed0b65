"""Who may drive an output, and for how long. No I/O; `now_ns` is passed in.

An output has its safe value at the start, at the stop and at a reload, when `max_on` has run out, and when
the rule that drove it has lost its input: the agent must never have to be clever for the machine to be safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from edgeagent.actuators import Level
from edgeagent.config.schema import ActuatorEntry
from edgeagent.records import NS_PER_S


class Setting(NamedTuple):
    """Set an output. `why` is the rule's name, or the reason that the guard had."""

    actuator: str
    value: Level
    why: str


class _Held(NamedTuple):
    rule: str
    since_ns: int


class Guard:
    """The state of every output as far as rules have driven it."""

    def __init__(self, entries: Mapping[str, ActuatorEntry]) -> None:
        self._entries = entries
        self._held: dict[str, _Held] = {}

    def ask(self, actuator: str, value: Level, rule: str, now_ns: int) -> Setting:
        """A rule wants a value; driving the same output anew starts its `max_on` again."""
        if value == self._entries[actuator].safe:
            self._held.pop(actuator, None)
        else:
            self._held[actuator] = _Held(rule, now_ns)
        return Setting(actuator, value, rule)

    def due(self, now_ns: int) -> list[Setting]:
        """The outputs whose `max_on` has run out."""
        return [
            self._safe(name, f"max_on of {entry.max_on:g} s has run out")
            for name, entry in self._entries.items()
            if entry.max_on is not None
            and name in self._held
            and now_ns - self._held[name].since_ns >= entry.max_on * NS_PER_S
        ]

    def lost_input(self, rule: str) -> list[Setting]:
        """The outputs that a rule drove whose input is now missing or stale."""
        return [
            self._safe(name, f"rule {rule} has lost its input")
            for name, held in list(self._held.items())
            if held.rule == rule
        ]

    def all_safe(self, why: str) -> list[Setting]:
        """Every output, held or not: for the start, the stop and a reload."""
        return [self._safe(name, why) for name in self._entries]

    def _safe(self, actuator: str, why: str) -> Setting:
        self._held.pop(actuator, None)
        return Setting(actuator, self._entries[actuator].safe, why)

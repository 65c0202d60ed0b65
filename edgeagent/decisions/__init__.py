"""What follows from a prediction or a reading: rules, and their actions, one a file.

A rule's `do:` is a list of actions; `event: {...}` is `edgeagent/decisions/event.py`. An action file has four names:

    Options                                                       # its keys in the YAML (config/quantities.py)
    def faults(options, known: Known) -> Iterator[Found]: ...     # what `check` says of what it names
    def build(rule, options, sensors) -> Action: ...              # `sensors`: those that the rule's inputs come from
    def describe(options) -> str: ...                             # a few words for the Decision

An action does nothing itself: it says as plain data (`Effect`) what the pipeline is to do. Nothing in this folder
reads a clock: `now_ns` is an argument, so that a replay decides the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from edgeagent.errors import ConfigFault

Value = float | str | bool
Level = bool | float
Severity = Literal["info", "warning", "critical"]


class Fact(NamedTuple):
    """What is known under a name such as `motor.current`: a plain value, when it was so, how often it comes."""

    value: Value
    t_ns: int
    period_ns: int


class Event(NamedTuple):
    """Say this upstream."""

    rule: str
    severity: Severity
    message: str


class Drive(NamedTuple):
    """Drive an actuator to a value."""

    actuator: str
    value: Level
    rule: str


class Capture(NamedTuple):
    """Keep the raw samples of these sensors from `t_ns - before_ns` to `t_ns + after_ns`."""

    rule: str
    sensors: tuple[str, ...]
    t_ns: int
    before_ns: int
    after_ns: int


Effect = Event | Drive | Capture


class Occasion(NamedTuple):
    """What an action is handed when its rule activates; `value` gives a fact that is known and fresh, else None."""

    now_ns: int
    value: Callable[[str], Value | None]


Action = Callable[[Occasion], tuple[Effect, ...]]


class Known(NamedTuple):
    """What a rule may name: facts in `when`, facts and constants (`device.id`) in messages, and parts."""

    facts: frozenset[str]
    constants: frozenset[str]
    sensors: frozenset[str]
    actuators: frozenset[str]


class Found(NamedTuple):
    """A fault, and the YAML keys that lead to it from the rule (or the action) on."""

    path: tuple[str | int, ...]
    fault: ConfigFault

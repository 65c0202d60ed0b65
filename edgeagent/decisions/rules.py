"""Rules: when what is known answers a question with yes for long enough, something is to be done.

    quiet --- `when` has held over `for`, and `cooldown` is over ---> active   (a Decision, and the actions)
    active -- `when` no longer holds -------------------------------> quiet    (a Decision, no actions)

While an input is missing (NaN too), older than three of its periods, or cannot be computed with, the rule is
*unknown*: it stays where it is, and its `for` stands still, to go on from there when the inputs are back.
`for` counts from the step that first saw `when` hold; `cooldown` counts from the last activation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from edgeagent.config import schema
from edgeagent.config.parts import find
from edgeagent.decisions import Effect, Fact, Occasion, Value
from edgeagent.decisions.expressions import compile_expression
from edgeagent.records import NS_PER_S, Decision

STALE_PERIODS = 3


class Outcome(NamedTuple):
    """A rule's change of state, and what the pipeline is to do about it."""

    decision: Decision
    effects: tuple[Effect, ...]


class Rules:
    """All the rules of a config.

    Args:
        rules: As in the YAML, in its order, which is the order of their outcomes.
        sources: The sensors behind each first word of a name: {"motion": ("imu",), "motor": ("motor",)}.
        constants: What messages may name beside facts: {"device.id": "press-07"}.
    """

    def __init__(
        self,
        rules: Mapping[str, schema.Rule],
        sources: Mapping[str, tuple[str, ...]],
        constants: Mapping[str, str],
    ) -> None:
        self._rules = [_Rule(name, rule, sources, constants) for name, rule in rules.items()]
        self._names = tuple(dict.fromkeys(name for rule in self._rules for name in rule.inputs))
        self._fresh: dict[str, Value | None] = {}

    def step(self, facts: Mapping[str, Fact], now_ns: int) -> list[Outcome]:
        """Take what is known now; called on every block, prediction and tick. Never raises for an input."""
        before, fresh = self._fresh, {name: _fresh(facts.get(name), now_ns) for name in self._names}
        changed = {name for name, value in fresh.items() if name not in before or value != before[name]}
        self._fresh = fresh
        outcomes = []
        for rule in self._rules:
            if not changed.isdisjoint(rule.inputs):
                rule.ask(fresh)
            outcome = rule.step(facts, now_ns)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def unknown(self) -> list[str]:
        """The rules that lack an input now: what they drove is not theirs to hold any longer."""
        return [rule.name for rule in self._rules if rule.state == "unknown"]

    def counters(self) -> dict[str, dict[str, int]]:
        """Per rule: activations, evaluations, and errors (evaluations without an answer)."""
        return {
            rule.name: {
                "activations": rule.activations,
                "evaluations": rule.evaluations,
                "errors": rule.errors,
            }
            for rule in self._rules
        }

    def status(self) -> dict[str, dict[str, object]]:
        """Per rule: state (active, clear, unknown), since_ns (of that state; None before the first step), why."""
        return {
            rule.name: {"state": rule.state, "since_ns": rule.since_ns, "why": rule.why}
            for rule in self._rules
        }


class _Rule:
    """One rule and its state."""

    def __init__(
        self,
        name: str,
        rule: schema.Rule,
        sources: Mapping[str, tuple[str, ...]],
        constants: Mapping[str, str],
    ) -> None:
        self.name = name
        self.activations = self.evaluations = self.errors = 0
        self.state: Literal["active", "clear", "unknown"] = "unknown"
        self.since_ns: int | None = None
        self.why = ""
        self._expression = compile_expression(rule.when)
        self.inputs = tuple(self._expression.names)
        self._sha256 = hashlib.sha256(msgspec.json.encode([name, rule], order="sorted")).hexdigest()
        self._hold_ns = round(rule.hold * NS_PER_S)
        self._cooldown_ns = round(rule.cooldown * NS_PER_S)
        self._constants = constants
        modules = [(find("decisions", part.file), part.options) for part in rule.do]
        sensors = tuple(dict.fromkeys(s for n in self.inputs for s in sources[n.partition(".")[0]]))
        self._actions = [module.build(name, options, sensors) for module, options in modules]
        self._described = tuple(module.describe(options) for module, options in modules)
        self._answer: bool | None = None
        self._active = False
        self._activated_ns: int | None = None
        self._held_ns = 0
        self._counting_ns: int | None = None  # up to when `_held_ns` counts; None while it stands still
        self._fresh_until_ns = 0

    def ask(self, fresh: Mapping[str, Value | None]) -> None:
        """Compute the answer to `when` again; called when an input has changed, come or gone."""
        self._answer, self.why = None, ""
        values = {name: value for name in self.inputs if (value := fresh[name]) is not None}
        if len(values) < len(self.inputs):
            self.why = f"{next(n for n in self.inputs if n not in values)} is missing or too old"
            return
        self.evaluations += 1
        try:
            self._answer = self._expression.evaluate(values)
        except ValueError as e:
            self.errors += 1
            self.why = str(e)

    def step(self, facts: Mapping[str, Fact], now_ns: int) -> Outcome | None:
        outcome = None
        if self._answer is None:
            self._counting_ns = None
        elif self._answer is False:
            self._held_ns, self._counting_ns = 0, None
            if self._active:
                outcome = self._clear(facts, now_ns)
        elif not self._active:
            if self._hold_ns:
                self._hold(facts, now_ns)
            if self._held_ns >= self._hold_ns and self._cool(now_ns):
                outcome = self._activate(facts, now_ns)
        self._note(now_ns)
        return outcome

    def _hold(self, facts: Mapping[str, Fact], now_ns: int) -> None:
        """Count the time since the last step, as far as the inputs were fresh in it."""
        if self._counting_ns is not None:
            self._held_ns += max(min(now_ns, self._fresh_until_ns) - self._counting_ns, 0)
        self._counting_ns = now_ns
        self._fresh_until_ns = min(_stale_ns(facts[n]) for n in self.inputs)

    def _cool(self, now_ns: int) -> bool:
        return self._activated_ns is None or now_ns - self._activated_ns >= self._cooldown_ns

    def _activate(self, facts: Mapping[str, Fact], now_ns: int) -> Outcome:
        def value(name: str) -> Value | None:
            return self._constants[name] if name in self._constants else _fresh(facts.get(name), now_ns)

        self._active = True
        self._activated_ns = now_ns
        self.activations += 1
        debounce = (
            f"held {_seconds(self._held_ns)} of {_seconds(self._hold_ns)}" if self._hold_ns else "at once"
        )
        decision = self._decision("active", facts, now_ns, debounce, self._described)
        occasion = Occasion(now_ns, value)
        return Outcome(decision, tuple(effect for act in self._actions for effect in act(occasion)))

    def _clear(self, facts: Mapping[str, Fact], now_ns: int) -> Outcome:
        self._active = False
        return Outcome(self._decision("clear", facts, now_ns, "at once", ()), ())

    def _decision(
        self,
        state: Literal["active", "clear"],
        facts: Mapping[str, Fact],
        now_ns: int,
        debounce: str,
        actions: tuple[str, ...],
    ) -> Decision:
        inputs = {n: (facts[n].value, now_ns - facts[n].t_ns) for n in self.inputs}
        return Decision(self.name, self._sha256, now_ns, state, inputs, debounce, actions)

    def _note(self, now_ns: int) -> None:
        state: Literal["active", "clear", "unknown"] = "unknown"
        if self._answer is not None:
            state = "active" if self._active else "clear"
        if state != self.state or self.since_ns is None:
            self.state, self.since_ns = state, now_ns


def _stale_ns(fact: Fact) -> int:
    return fact.t_ns + STALE_PERIODS * fact.period_ns


def _fresh(fact: Fact | None, now_ns: int) -> Value | None:
    """The fact's value; None if it is missing, NaN or older than three of its periods."""
    if fact is None or now_ns > _stale_ns(fact) or fact.value != fact.value:  # NaN differs from itself
        return None
    return fact.value


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / NS_PER_S:g} s"

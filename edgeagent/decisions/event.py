"""`event: {severity: warning, message: "overload on {device.id}: {motor.current:.1f} A"}`: says so upstream."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from edgeagent.config.template import compile_template
from edgeagent.decisions import Action, Event, Found, Known, Occasion, Severity
from edgeagent.decisions.expressions import check_names
from edgeagent.errors import ConfigFault


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`message` may hold names and formats (config/template.py)."""

    message: str
    severity: Severity = "warning"


def faults(options: Options, known: Known) -> Iterator[Found]:
    try:
        template = compile_template(options.message)
    except ConfigFault as fault:
        yield Found(("message",), fault)
        return
    for unknown in check_names(template, known.facts | known.constants):
        yield Found(("message",), unknown)


def build(rule: str, options: Options, sensors: tuple[str, ...]) -> Action:
    del sensors
    template = compile_template(options.message)

    def act(occasion: Occasion) -> tuple[Event, ...]:
        return (Event(rule, options.severity, template.render(occasion.value)),)

    return act


def describe(options: Options) -> str:
    return f"event {options.severity}"

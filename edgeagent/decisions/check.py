"""What `check` says of a rule: everything that it names must be there. Opens nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from edgeagent.config import schema
from edgeagent.config.parts import find
from edgeagent.decisions import Found, Known
from edgeagent.decisions.expressions import check_names, compile_expression
from edgeagent.errors import ConfigFault


def labels_asked(rule: schema.Rule) -> Iterator[tuple[str, str]]:
    """Which names of a sound `when` are compared with which words: ("motion.label", "running")."""
    with suppress(ConfigFault):
        yield from compile_expression(rule.when).compared()


def check_rule(rule: schema.Rule, known: Known) -> Iterator[Found]:
    """All faults of one rule, each with the YAML keys that lead to it: ("do", 0, "event", "message")."""
    try:
        expression = compile_expression(rule.when)
    except ConfigFault as fault:
        yield Found(("when",), fault)
    else:
        for unknown in check_names(expression, known.facts):
            yield Found(("when",), unknown)
    for i, part in enumerate(rule.do):
        for found in find("decisions", part.file).faults(part.options, known):
            yield Found(("do", i, part.file, *found.path), found.fault)

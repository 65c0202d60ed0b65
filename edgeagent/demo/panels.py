"""What the demo's screen says of each of the four: senses, thinks, decides, sends.

Each function yields lines no wider than the space, made of the agent's status and what the view remembers.
Colour never stands alone: a symbol or a word says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.text import Text

from edgeagent.demo.charts import area, bar, large, spark
from edgeagent.demo.memory import Memory

OVERLOAD_A = 3.5
"""The threshold of the rule `overload` in edgeagent.yaml; it lies two thirds up the current's chart."""

RULES = {
    "overload": "motor above 3.5 A for 1 s: switch the relay",
    "arm_work": "an exercise, more than 90 % sure, for 2 s",
}
"""The rules of edgeagent.yaml in words."""

_AXES = ("x", "y", "z")
_LEAST_ACC, _LEAST_GYRO = 10.0, 3.0  # what a sparkline reaches at least: noise stays small
_LEAST_BACKLOG = 8
_LEFT, _RIGHT = 7, 12  # beside a chart: its name; a value and its unit
_NAME = 10


class Space(NamedTuple):
    """What there is to fill: characters across, and whether there is room to be generous."""

    width: int
    roomy: bool


def spread(left: Text, right: Text, width: int) -> Text:
    """Left and right on one line."""
    return Text.assemble(left, " " * max(width - left.cell_len - right.cell_len, 1), right)


# --- 1 senses -------------------------------------------------------------------------------------------


def senses(seen: Memory, space: Space) -> Iterator[Text]:
    """Six axes of the IMU, the motor's current against its threshold, and what was counted."""
    for axis in _AXES:
        yield _axis(seen, f"acc {axis}", f"imu.acc_{axis}", "m/s²", _LEAST_ACC, space.width)
    for axis in _AXES:
        yield _axis(seen, f"gyro {axis}", f"imu.gyro_{axis}", "rad/s", _LEAST_GYRO, space.width)
    if space.roomy:
        yield Text()
    yield from _current(seen, space)
    if space.roomy:
        yield Text()
        what, how = Text("the last 40 s", "dim"), Text("50 Hz over I2C, 20 Hz over serial", "dim")
        yield spread(what, how, space.width)
    yield _samples(seen, space)


def _axis(seen: Memory, label: str, name: str, unit: str, least: float, width: int) -> Text:
    values = seen.trace(name, width - _LEFT - _RIGHT)
    reach = max(least, *(abs(v) for v in values if v is not None), 0.0)
    line = spark(values, -reach, reach)
    return Text.assemble((f"{label:<{_LEFT}}", "dim"), (line, "cyan"), _reading(seen, name, unit))


def _reading(seen: Memory, name: str, unit: str) -> str:
    value = seen.find("values", name)
    return ("-" if value is None else f"{value:.1f}").rjust(6) + f" {unit:<5}"


def _current(seen: Memory, space: Space) -> Iterator[Text]:
    """An area; the third above the threshold is red, and stands on a line."""
    rows = 6 if space.roomy else 3
    above = rows // 3
    values = seen.trace("motor.current", space.width - _LEFT - _RIGHT)
    beside = {
        above - 1: f"> {OVERLOAD_A} A".rjust(8),
        above: _reading(seen, "motor.current", "A"),
        rows - 1: _reading(seen, "motor.temperature", "°C"),
    }
    for row, line in enumerate(area(values, OVERLOAD_A * 1.5, rows)):
        label = ("motor" if row == 0 else "").ljust(_LEFT)
        drawn = line.replace(" ", "_") if row == above - 1 else line
        style = "red" if row < above else "cyan"
        yield Text.assemble(
            (label, "dim"), (drawn, style), (beside.get(row, ""), "red" if row < above else "")
        )


def _samples(seen: Memory, space: Space) -> Text:
    counted, missing = seen.find("counts", "samples"), seen.find("counts", "samples_missing")
    if not counted:
        return Text("waiting for the first samples", "dim")
    gone = sum((missing or {}).values())
    verdict = Text(f"✘ {gone} missing", "bold red") if gone else Text("✔ 0 missing", "green")
    return spread(Text(f"{sum(counted.values())} samples"), verdict, space.width)


# --- 2 thinks -------------------------------------------------------------------------------------------


def thinks(seen: Memory, space: Space) -> Iterator[Text]:
    """The label, what is really so, the scores, and how good and fast it has been."""
    scores = seen.find("pipelines", "motion", "scores")
    if not scores:
        yield Text("waiting for the first window of 2 s", "dim")
        return
    label, truth = (seen.find("pipelines", "motion", key) for key in ("label", "truth"))
    yield from _label(label, f"{scores[label]:.0%} sure", space)
    yield _verdict(label, truth)
    if space.roomy:
        yield Text()
    for name, score in scores.items():
        weight = "bold " if name == label else ""
        drawn = bar(score, space.width - _NAME - _RIGHT)
        mark = (" ◂ true", "green") if name == truth else ""
        yield Text.assemble((f"{name:<{_NAME}}", weight), (drawn, f"{weight}magenta"), f"{score:>5.0%}", mark)
    if space.roomy:
        yield Text()
        backend = seen.find("models", "activity", "backend")
        yield Text(f"int8 model on {backend}, in its own process", "dim")
    yield _record(seen, space)


def _label(label: str, sure: str, space: Space) -> Iterator[Text]:
    if not space.roomy:
        spaced = f" {' '.join(label.upper())} "
        yield spread(Text(spaced, "bold reverse magenta"), Text(sure, "bold"), space.width)
        return
    yield Text()
    for row, line in enumerate(large(label)):
        yield spread(Text(line, "bold magenta"), Text(sure if row == 1 else "", "bold"), space.width)


def _verdict(label: str, truth: str | None) -> Text:
    if truth is None:
        return Text("◌ between two exercises: not scored", "dim")
    if truth == label:
        return Text("✔ right: the recording says so too", "green")
    return Text(f"✘ wrong: it really is {truth}", "red")


def _record(seen: Memory, space: Space) -> Text:
    scored, correct = (seen.find("counts", key) for key in ("scored", "correct"))
    share = f"{correct} of {scored} right: {correct / scored:.0%}" if scored else "none scored yet"
    p99 = milliseconds(seen.find("counts", "latency_ms", "p99"))
    return spread(Text(share), Text(f"{'read to decision ' if space.roomy else ''}p99 {p99}"), space.width)


def milliseconds(value: float | None) -> str:
    """1.4 ms, 569 ms."""
    return "-" if value is None else f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms"


# --- 3 decides ------------------------------------------------------------------------------------------

_STATES = {
    "active": ("● ACTIVE", "bold yellow"),
    "clear": ("○ clear", ""),
    "unknown": ("? no input", "dim"),
}


def decides(seen: Memory, space: Space) -> Iterator[Text]:
    """Each rule's state, the relay as the board reports it, and what the rules said last."""
    rules = seen.find("rules")
    if not rules:
        yield Text("waiting for the first decision", "dim")
        return
    for rule, state in rules.items():
        fired = seen.find("counts", "rules_fired", rule) or 0
        left = Text.assemble((f"{rule:<{_NAME}}", "bold"), _STATES[state["state"]])
        yield spread(left, Text(f"fired {times(fired)}"), space.width)
        if space.roomy:
            yield Text(f"{'':<{_NAME}}{RULES.get(rule, '')}", "dim")
    yield _relay(seen, space)
    if space.roomy:
        yield Text()
    for said in list(reversed(seen.said))[: 4 if space.roomy else 3]:
        yield Text.assemble((f"{said.elapsed_s:>3.0f} s ", "dim"), said.text)


def _relay(seen: Memory, space: Space) -> Text:
    reported, changes = (seen.find("actuators", "relay", key) for key in ("reported", "changes"))
    name = (f"{'relay':<{_NAME}}", "bold")
    if reported is None:
        return Text.assemble(name, ("? no word from the board", "dim"))
    left = Text.assemble(name, ("■ ON ", "bold reverse red") if reported else "□ off")
    source = "the board says: " if space.roomy else ""
    return spread(left, Text(f"{source}switched {times(changes)}"), space.width)


def times(count: int) -> str:
    """0 times, once, 2 times."""
    return "once" if count == 1 else f"{count} times"


# --- 4 sends --------------------------------------------------------------------------------------------


def sends(seen: Memory, space: Space) -> Iterator[Text]:
    """The network, the records made, delivered and waiting, and how many waited when."""
    made, delivered, waiting = (seen.find("outbox", key) for key in ("made", "delivered", "waiting"))
    yield from _network(seen, waiting or 0, space.width)
    if space.roomy:
        yield Text()
    if not made:
        yield Text("no record has been made yet", "dim")
        return
    gone = round(delivered / made * space.width)
    yield Text.assemble(("█" * gone, "green"), ("▒" * (space.width - gone), "yellow"))
    counts = Text.assemble((f"█ {delivered} delivered", "green"), (f"  ▒ {waiting} wait", "yellow"))
    yield spread(Text(f"{made} made"), counts, space.width)
    if space.roomy:
        yield _kinds(seen)
    yield from _backlog(seen, space)
    bytes_sent = sum(u["bytes_sent"] for u in (seen.find("upstream") or {}).values())
    yield spread(Text("HTTP to the collector"), Text(f"{bytes_sent / 1000:.1f} kB"), space.width)


def _network(seen: Memory, waiting: int, width: int) -> Iterator[Text]:
    """Two lines: a banner while the network is away and until what waited has gone."""
    away_s, most = f"{seen.moment.outage_s:.0f} s", seen.backlog
    said = {
        "up": ("✔ network up", "what is made leaves at once"),
        "away": (f"✘ NETWORK AWAY {away_s}", f"nothing is lost, {waiting} records wait"),
        "draining": ("▲ NETWORK BACK", f"{most} waited, {waiting} still to go"),
        "drained": ("✔ network up", f"the {most} that waited have arrived"),
    }
    style = {"away": "bold white on red", "draining": "bold black on yellow"}.get(seen.network, "green")
    first, second = said[seen.network]
    yield Text(f" {first}".ljust(width), style)
    yield Text(f"   {second}".ljust(width), style)


def _kinds(seen: Memory) -> Text:
    kinds = (seen.find("outbox", "by_kind") or {}).items()
    return Text("  ".join(f"{counts['made']} {kind}" for kind, counts in kinds if counts["made"]), "dim")


def _backlog(seen: Memory, space: Space) -> Iterator[Text]:
    rows = 3 if space.roomy else 1
    values = seen.trace("waiting", space.width - _LEFT - _RIGHT // 2)
    high = max((v for v in values if v is not None), default=0)
    for row, line in enumerate(area(values, max(high, _LEAST_BACKLOG), rows)):
        label = ("waiting" if row == rows - 1 else "").ljust(_LEFT)
        most = f"{high:>{_RIGHT // 2}}" if row == 0 else ""
        yield Text.assemble((label, "dim"), (line, "yellow"), (most, "dim"))

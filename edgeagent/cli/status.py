"""What the running agent does and how it fares; exit 0 healthy, 3 degraded, 4 not running."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeagent.agent.control import Refused, ask
from edgeagent.agent.state import run_folder, state_folder
from edgeagent.cli import DEGRADED, NOT_RUNNING, OK
from edgeagent.config.load import load
from edgeagent.errors import ConfigFault, StorageFault

if TYPE_CHECKING:
    from rich.table import Table

SERVICE = Path("/run/edgeagent")  # `RuntimeDirectory=` of the service, which only the service is told

_WORTH_TELLING = 0.0005  # of all values: 0.1 % as it is shown
ROOMY = 30  # lines of a terminal; on a smaller one there is no room for empty ones


@click.command(name="status")
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="The agent's YAML file, for its `state:`."
)
@click.option("--json", "as_json", is_flag=True, help="Everything, as one JSON object.")
def command(config: Path | None, as_json: bool) -> int:
    """What the running agent does and how it fares; exit 0 healthy, 3 degraded, 4 not running."""
    places = places_of(config)
    try:
        found = answering(places, config)
    except Refused as fault:
        print(f"edgeagent: {fault}", file=sys.stderr)
        return DEGRADED
    if found is None:
        print(json.dumps({"state": "not running"}) if as_json else _nobody(places, config))
        return NOT_RUNNING
    _, status = found
    if as_json:
        print(json.dumps(status))
    else:
        show(status)
    return DEGRADED if status["degraded"] else OK


def _nobody(places: list[Path], config: Path | None) -> str:
    where, of = " or ".join(map(str, places)), f" -c {config}" if config else ""
    advice = f"Start it: sudo systemctl start edgeagent, or by hand: edgeagent run{of}."
    if config is None:
        advice += "\nOne whose config has a `state:` of its own is found by: edgeagent status -c FILE"
    return f"no agent runs on {where}. {advice}"


def places_of(config: Path | None) -> list[Path]:
    """Where an agent may listen. Raises ConfigFault if the config cannot be read."""
    if config is None:
        return [run_folder(state_folder(None)), SERVICE]
    loaded = load(config)
    if loaded.draft is None:
        raise ConfigFault("\n".join(map(str, loaded.findings)))
    return [run_folder(state_folder(loaded.draft.state)), SERVICE]


def answering(places: list[Path], config: Path | None) -> tuple[Path, dict[str, Any]] | None:
    """Where the first agent answers, of this config if one was named; and its status."""
    for place in places:
        try:
            status: dict[str, Any] = ask(place, "status")
        except StorageFault:
            continue
        if config is None or Path(status["config"]).resolve() == config.resolve():
            return place, status
    return None


def show(status: dict[str, Any]) -> None:
    """For people: one table a section, what is wrong first."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False, markup=False)

    def say(text: str, style: str) -> None:
        console.print(
            Padding(Text(text, style), (0, 0, 0, 2), expand=False)
        )  # what is wrapped stays under its beginning

    colour = "green" if not status["degraded"] else "yellow"
    head = f"  up {span(status['uptime_s'])}, pid {status['pid']}, edgeagent {status['version']}"
    console.print(Text.assemble((status["device"], "bold"), "  ", (status["state"], colour), head))
    for reason in status["degraded"]:
        say(reason, "yellow")
    say(status["config"], "dim")
    if not status["clock"]["synced"]:
        say("the clock is not set: records get their time once it is", "dim")
    for line in _calibrated(status["models"]):
        console.print(line, style="dim")
    for section, columns, rows in _sections(status):
        if rows:
            if console.height > ROOMY:
                console.print()
            console.print(_table(section, columns, rows))
            for name, why in _whys(columns, rows):
                say(f"{name}: {why}", "dim")
    if _is_news(status["last_error"], status["degraded"]):
        console.print(Text(f"last warning: {status['last_error']}", "dim"))


def span(seconds: float) -> str:
    """`42 s`, `5 min 3 s`, `3 h 20 min`, `12 d 4 h`: the two units that matter."""
    left, told = int(seconds), list[str]()
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        n, left = divmod(left, size_s)
        if n or told:
            told.append(f"{n} {unit}" if n else "")
    return " ".join(filter(None, told[:2])) or "0 s"


def _table(section: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    """As low as can be: all of it is to stand on a screen of 24 lines. A reason has a line of its own, below."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(section, style="bold", header_style="bold underline")
    shown = [column for column in columns if column != "why"]
    for column in shown:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row[: 1 + len(shown)]))
    return table


def _whys(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[tuple[str, str]]:
    """What the last column says of whom, if that is a reason."""
    return [(row[0], row[-1]) for row in rows if row[-1]] if columns[-1] == "why" else []


def _is_news(last_error: str, degraded: list[str]) -> bool:
    """Whether what was logged last is not what is said at the top already."""
    told = (reason.partition(": ")[2] or reason for reason in degraded)
    return bool(last_error) and not any(last_error.endswith(reason) for reason in told)


def _unpredicted(pipeline: dict[str, Any]) -> str:
    """How many windows, and why: `5: 3 stale, 2 worker`."""
    causes = ", ".join(f"{n} {cause}" for cause, n in pipeline["causes"].items())
    return f"{pipeline['unpredicted']}: {causes}" if causes else "0"


def _last(pipeline: dict[str, Any]) -> str | None:
    """What its model said last: `running 0.93`, `anomaly 4.1`, `flow 3.2`."""
    told = [pipeline["label"]] if pipeline["label"] else []
    told += [f"{pipeline[key]:.3g}" for key in ("score", "anomaly") if pipeline[key] is not None]
    told += [f"{name} {value:.4g}" for name, value in pipeline["values"].items()]
    return " ".join(told) or None


def _level(level: Any) -> Any:
    """As people write it in the config: `on` and `off`, a number else."""
    return {1: "on", 0: "off"}.get(level, level)  # 1 is True and 1.0 too


def _sections(status: dict[str, Any]) -> list[tuple[str, tuple[str, ...], list[tuple[Any, ...]]]]:
    counts, outbox = status["counts"], status["outbox"]
    latency = counts["latency_ms"]
    return [
        (
            "sensor",
            ("state", "samples", "missing", "rate", "trouble"),
            [
                (
                    name,
                    _state(s),
                    counts["samples"].get(name, 0),
                    counts["samples_missing"].get(name, 0),
                    _rate(s),
                    _trouble(s),
                )
                for name, s in status["sensors"].items()
            ],
        ),
        (
            "pipeline",
            ("windows", "unpredicted", "last", "latency p50 / p99"),
            [
                (
                    name,
                    p["windows"],
                    _unpredicted(p),
                    p["skipped"] or _last(p),
                    f"{latency['p50']:.2f} / {latency['p99']:.2f} ms" if latency else None,
                )
                for name, p in status["pipelines"].items()
            ],
        ),
        (
            "model",
            ("state", "version", "asked", "got", "backend", "restarts", "why"),
            [
                (name, m["state"], _version(m), m["asked"], m["got"], m["backend"], m["restarts"], _why(m))
                for name, m in status["models"].items()
            ],
        ),
        (
            "rule",
            ("state", "fired", "why"),
            [
                (name, r["state"], counts["rules_fired"].get(name, 0), r["why"])
                for name, r in status["rules"].items()
            ],
        ),
        (
            "output",
            ("asked", "reported", "changes"),
            [
                (name, _level(a["asked"]), _level(a["reported"]), a["changes"])
                for name, a in status["actuators"].items()
            ],
        ),
        (
            "outbox",
            ("made", "waiting", "evicted", "dropped", "size"),
            [
                (
                    "fails" if outbox.get("trouble") else "ok",
                    outbox.get("made"),
                    outbox.get("waiting"),
                    outbox.get("evicted"),
                    sum(outbox.get("dropped", {}).values()),
                    f"{outbox.get('used_bytes', 0) / 1e6:.1f} MB",
                )
            ],
        ),
        (
            "upstream",
            ("state", "delivered", "waiting", "sent"),
            [
                (
                    name,
                    "away" if u["trouble"] else u["held"] or "ok",
                    u["delivered"],
                    u["waiting"],
                    _sent(u),
                )
                for name, u in status["upstream"].items()
            ],
        ),
    ]


def _why(model: dict[str, Any]) -> str:
    """Why it runs where it does, with so many threads, and what of its input and its confinement is amiss."""
    if not model["got"]:
        return str(model["why"])
    threads = model["threads"]
    told = [model["why"], f"{threads} thread{'s' if threads > 1 else ''}: {model['threads_why']}"]
    if model["clipped"] >= _WORTH_TELLING:
        told.append(f"{model['clipped']:.1%} of what it was given lies beyond its range, and was clipped")
    if model["unconfined"]:
        told.append(f"not confined: {', '.join(model['unconfined'])}")
    return "; ".join(told)


def _sent(upstream: dict[str, Any]) -> str:
    """All that went over its link, or, where a month has a budget, what of it is spent: `38.2 of 200 MB this month`."""
    if budget_bytes := upstream["budget_bytes"]:
        return f"{upstream['bytes_this_month'] / 1e6:.1f} of {budget_bytes / 1e6:g} MB this month"
    return f"{upstream['bytes_sent'] / 1000:.0f} kB"


def _version(model: dict[str, Any]) -> str:
    """What serves, and what `edgeagent model rollback` would bring back: `1.1.0, before activity 1.0.0`."""
    version, previous = model["version"], model["previous"]
    return f"{version}, before {previous}" if previous else str(version)


def _calibrated(models: dict[str, Any]) -> Iterator[str]:
    """Of each threshold that was found on this device: when, and what it is."""
    for name, model in models.items():
        if found := model["calibrated"]:
            day = (found["time"] or "").partition("T")[0]
            when = f"on {day}" if day else "while the clock was not set"
            yield f"  {name} was calibrated {when}: above {found['found']['threshold']:g} is an anomaly"


def _state(sensor: dict[str, Any]) -> str:
    """`ok`, or since when it is not: `gone for 1 min 30 s`."""
    state: str = sensor["state"]
    return state if state == "ok" else f"{state} for {span(sensor['for_s'])}"


def _rate(sensor: dict[str, Any]) -> str:
    """What it really gives beside what it is to give: `49.81 of 50 Hz`."""
    if "measured_hz" in sensor:  # nobody has stated one
        return f"{sensor['measured_hz']:g} Hz, none stated" if sensor["measured_hz"] else "rate unknown yet"
    wanted_hz, true_hz = sensor["rate_hz"], sensor.get("true_rate_hz")
    if not wanted_hz:
        return ""
    return f"{true_hz:.2f} of {wanted_hz:g} Hz" if true_hz else f"{wanted_hz:g} Hz"


def _trouble(sensor: dict[str, Any]) -> str:
    """What a sensor has counted, but for what is no trouble: `2 bad frames, 1 resets`; then what its filters took."""
    counted = {key: n for key, n in sensor.items() if type(n) is int and n and key not in _NO_TROUBLE}
    told = [f"{n} {key.replace('_', ' ')}" for key, n in counted.items()]
    return ", ".join(told + [f"{n} times {why}" for why, n in sensor["filtered"].items()])


_NO_TROUBLE = ("good_frames", "logs")

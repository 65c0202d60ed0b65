"""List the sensor drivers (`sensors list`), or watch one sensor of a config live (`sensors read NAME`)."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from edgeagent.agent.clock import RealClock
from edgeagent.agent.watch import Series, Watch
from edgeagent.buses import Buses
from edgeagent.cli import FAULTS, OK, Duration, config_option
from edgeagent.cli._attached import draft_of, refuse_if_an_agent_has, sensor_of
from edgeagent.config import parts
from edgeagent.config.catalogue import Driver, sensor_drivers
from edgeagent.config.findings import listed, nearest
from edgeagent.errors import ConfigFault
from edgeagent.records import Channel
from edgeagent.sensors import Context

if TYPE_CHECKING:
    from rich.console import Group

REFRESH_S = 0.25
CURVE_BUCKETS, CURVE_BUCKETS_LEAST = 32, 8
GAP = 2  # between columns
SHOWN_CHANGES = 5


@click.group(name="sensors", help=__doc__)
def command() -> None:
    """The group."""


# --- list ---------------------------------------------------------------------------------------------


@command.command(name="list")
@click.argument("drivers", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a driver, in a list.")
def list_(drivers: tuple[str, ...], as_json: bool) -> int:
    """Every driver that `driver:` may name: what it reads, its channels and units, its options."""
    there = {driver.name: driver for driver in sensor_drivers()}
    for name in drivers:
        if name not in there:
            raise ConfigFault(
                f"there is no sensor driver {name!r}", expected=listed(there), hint=nearest(name, list(there))
            )
    chosen = [driver for name, driver in there.items() if not drivers or name in drivers]
    if as_json:
        print(msgspec.json.encode(chosen).decode())
    else:
        click.echo("\n\n".join("\n".join(_described(driver)) for driver in chosen))
    return OK


def _described(driver: Driver) -> Iterator[str]:
    yield click.style(driver.name, bold=True) + (f"  {driver.summary}" if driver.summary else "")
    if driver.trouble:
        yield f"  {driver.trouble}"
        return
    yield f"  channels: {_by_unit(driver.channels) or f'as {driver.channels_from} says'}"
    width = max((len(option.key) for option in driver.options), default=0)
    for option in driver.options:
        wanted = "required" if option.default is None else f"default {option.default}"
        yield f"  {option.key:<{width}}  {option.takes}; {wanted}"


def _by_unit(channels: tuple[Channel, ...]) -> str:
    """`acc_x acc_y acc_z (m/s2), temperature (degC)`."""
    groups = ((unit, [c.name for c in group]) for unit, group in groupby(channels, key=lambda c: c.unit))
    return ", ".join(" ".join(names) + (f" ({unit})" if unit else "") for unit, names in groups)


# --- read ---------------------------------------------------------------------------------------------


@command.command()
@click.argument("name")
@config_option()
@click.option("--for", "for_s", type=Duration(), help='Stop after this time ("10s"); otherwise at Ctrl-C.')
@click.option("--json", "as_json", is_flag=True, help="Print nothing but a summary at the end, as JSON.")
def read(name: str, config: Path, for_s: float | None, as_json: bool) -> int:
    """Watch one sensor: its values with range, rate, errors and a curve. Unplug it and plug it in again.

    Exit code 1 if it gave nothing, or is not well at the end.
    """
    draft = draft_of(config)
    part = sensor_of(draft, name, config)
    refuse_if_an_agent_has(draft, name, config)
    clock = RealClock()
    sensor = parts.find("sensors", part.file).build(name, part.options, Context(clock, Buses(clock)))
    watch = Watch(name, sensor, clock)
    try:
        with suppress(KeyboardInterrupt):
            if as_json or not sys.stdout.isatty():
                _plainly(watch, for_s, quiet=as_json)
            else:
                _live(watch, for_s)
        if as_json:
            print(json.dumps(watch.summary()))
        return OK if watch.state == "ok" and watch.samples else FAULTS
    finally:
        watch.close()


def _steps(watch: Watch, for_s: float | None) -> Iterator[None]:
    """Read until the time is over; once at least, however slowly this program came up."""
    while True:
        watch.step()
        yield
        if for_s is not None and watch.elapsed_s >= for_s:
            return


def _plainly(watch: Watch, for_s: float | None, *, quiet: bool) -> None:
    """For a file or a pipe: a line a second, and none if `quiet`."""
    next_s = 1.0
    for _ in _steps(watch, for_s):
        if not quiet and watch.elapsed_s >= next_s:
            next_s = int(watch.elapsed_s) + 1.0
            values = "  ".join(f"{s.name} {_number(s.last)} {_unit(s)}".rstrip() for s in watch.series)
            print(f"{watch.elapsed_s:8.1f} s  {watch.state:<12} {watch.reason or values}", flush=True)


def _live(watch: Watch, for_s: float | None) -> None:
    """For a terminal: one screen that changes."""
    from rich.live import Live

    shown_s = 0.0
    logging.disable(logging.WARNING)  # a line in between would tear the screen, which tells the same
    with Live(auto_refresh=False) as live:
        for _ in _steps(watch, for_s):
            if watch.elapsed_s - shown_s >= REFRESH_S:
                shown_s = watch.elapsed_s
                live.update(_view(watch, live.console.width), refresh=True)
        live.update(_view(watch, live.console.width), refresh=True)


def _view(watch: Watch, width: int) -> Group:
    """The newest of each curve is always shown: on a narrow terminal it begins later."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    rows = [(s.name, _unit(s), *map(_number, (s.last, s.low, s.high))) for s in watch.series]
    heads = ("channel", "unit", "now", "least", "most")
    taken = sum(GAP + max(map(len, cells)) for cells in zip(heads, *rows, strict=True))
    buckets = max(CURVE_BUCKETS_LEAST, min(CURVE_BUCKETS, width - taken))
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for i, head in enumerate(heads):
        table.add_column(
            head, justify="left" if i < 2 else "right", style="bold" if i == 0 else "", no_wrap=True
        )
    table.add_column(f"the last {buckets * watch.bucket_s:g} s", style="cyan", no_wrap=True)
    for cells, s in zip(rows, watch.series, strict=True):
        table.add_row(*map(Text, cells), Text(_curve(watch.recent(s)[-buckets:])))
    errors = ", ".join(f"{cause} {n}" for cause, n in watch.errors().items() if n and isinstance(n, int))
    lines = [Text(f"errors: {errors}", style="yellow")] if errors else []
    lines += [
        Text(f"{at_s:8.1f} s  {state}  {why}", style="dim")
        for at_s, state, why in watch.changes[-SHOWN_CHANGES:]
    ]
    return Group(Text.assemble(*_head(watch)), Text(), *([table] if rows else []), *lines)


def _head(watch: Watch) -> Iterator[tuple[str, str]]:
    yield watch.name, "bold"
    yield f"  {watch.state}", "green" if watch.state == "ok" else "yellow"
    rate = f"{watch.rate_hz():.4g} Hz"
    if "measured_hz" in watch.errors():
        rate += " (no `rate:` is stated)"
    elif watch.layout is not None:
        rate += f" of {watch.layout.rate_hz:g}"
    yield f"  {watch.elapsed_s:.0f} s, {watch.samples} samples, {rate}{_jitter(watch.errors())}", ""
    if watch.missing or watch.lost:
        yield f", {watch.missing} missing, {watch.lost} lost", "yellow"


def _jitter(counted: dict[str, int | float]) -> str:
    """How regularly it comes: a sensor that is asked knows how late it was, others how far from where expected."""
    jitter_ms = counted.get("late_p99_ms", counted.get("jitter_ms"))
    return f", jitter {jitter_ms:.2g} ms" if jitter_ms is not None else ""


def _curve(values: list[float | None]) -> str:
    """A space where nothing came: an unplugged cable is a hole in the curve."""
    from edgeagent.demo.charts import spark

    there = [value for value in values if value is not None]
    low, high = min(there, default=0.0), max(there, default=0.0)
    middle = high - low <= abs(high) * 1e-6  # a steady value is a line half way up
    return spark(values, low - 0.5 if middle else low, high + 0.5 if middle else high)


def _number(value: float) -> str:
    """A place to 10 m, a pressure to the pascal; of what is below 1, six digits are noise that jumps about."""
    return "-" if isnan(value) else f"{value:.{6 if abs(value) >= 1 else 4}g}"


def _unit(series: Series) -> str:
    """A count's unit is 1, which is not shown to people."""
    return "" if series.unit == "1" else series.unit

"""`edgeagent model bench`: what a bundle costs on this board, and what the config should say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from edgeagent.agent.clock import RealClock
from edgeagent.agent.model_bench import Figures, bench, cases
from edgeagent.agent.recommend import Recommendation, recommend, spoken_us
from edgeagent.cli import FAULTS, OK
from edgeagent.config.edit import set_keys
from edgeagent.config.load import load, require
from edgeagent.config.schema import Config, External
from edgeagent.errors import ConfigFault
from edgeagent.inference.bundle import Bundle, load_bundle
from edgeagent.inference.threads import board, worth_trying


def run(
    folder: Path,
    *,
    threads: list[int] | None,
    calls: int,
    beside: tuple[Path, ...],
    config: Path | None,
    write: bool,
    as_json: bool,
) -> int:
    """Measure, show, and write what is asked for."""
    bundle = load_bundle(folder)
    models = _models(config, folder) if config is not None else {}
    asked = [one for one in models.values() if isinstance(one, External) or one.startswith("edgetpu:")]
    counts = threads or worth_trying()
    if not as_json:
        click.echo(_head(bundle, calls))
    figures: list[Figures] = []
    for one in bench(cases(bundle, asked, beside), counts, calls, RealClock()):
        if not as_json:
            click.echo("\n".join(_shown(one, figures[-1] if figures else None)))
        figures.append(one)
    found = recommend(figures)
    if as_json:
        report = {"bundle": bundle.name, "board": board(), "figures": figures, "recommendation": found}
        print(msgspec.json.encode(report).decode())
    else:
        click.echo("\n".join(_conclusion(figures, found)))
    if found is None:
        return FAULTS
    if write and config is not None:
        _write(config, models, found)
        click.echo(f"{config}: {', '.join(models)} {_keys(found)}", err=as_json)
    return OK


def _models(config: Path, folder: Path) -> dict[str, str | External]:
    """The config's models of this bundle, each with its accelerator. Raises ConfigFault if there is none."""
    from edgeagent.agent.fit import load_model

    read: Config = require(load(config))
    found = {
        key: model.accelerator
        for key, model in read.models.items()
        if load_model(model, read, config).folder.resolve() == folder.resolve()
    }
    if not found:
        there = ", ".join(f"{key} ({model.bundle})" for key, model in read.models.items()) or "none"
        raise ConfigFault(
            f"no model of it is the bundle in {folder}",
            where=str(config),
            expected=f"one of its models: {there}",
            hint="Name that bundle, or add it to `models:`",
        )
    return found


def _write(config: Path, models: dict[str, str | External], found: Recommendation) -> None:
    """Of an external accelerator the config's own words stand."""
    changes: dict[tuple[str, ...], str] = {}
    for key in models:
        if not found.accelerator.startswith("external:"):
            changes["models", key, "accelerator"] = found.accelerator
        changes["models", key, "threads"] = str(found.threads)
    set_keys(config, changes)


def _keys(found: Recommendation) -> str:
    return f"accelerator: {found.accelerator}, threads: {found.threads}"


# --- the screen ---------------------------------------------------------------------------------------


def _head(bundle: Bundle, calls: int) -> str:
    title = click.style(f"{bundle.name} {bundle.version}", bold=True)
    return f"{title}  on {board()}; up to {calls} calls of each way, in turns"


def _shown(one: Figures, before: Figures | None) -> Iterator[str]:
    if before is None or (one.variant, one.accelerator) != (before.variant, before.accelerator):
        yield from ("", _title(one))
        if not one.trouble:
            yield click.style(f"  {'threads':<9}{'way':<10}{'p50':>11}{'p90':>11}{'p99':>11}", dim=True)
    if one.trouble:
        yield click.style(f"  {one.threads:<9}{one.trouble}", fg="yellow")
        return
    threads: int | str = one.threads
    for way, latency in (("raw", one.raw), ("inline", one.inline), ("process", one.process)):
        if latency is not None:
            times = "".join(f"{spoken_us(us):>11}" for us in msgspec.structs.astuple(latency))
            yield f"  {threads:<9}{way:<10}{times}"
            threads = ""
    yield f"  {'':<9}{', '.join(_more(one))}"


def _title(one: Figures) -> str:
    facts = [one.quantization, f"{one.size_bytes / 1000:.0f} kB" if one.size_bytes else "", one.backend]
    told = ", ".join(filter(None, facts))
    name = click.style(f"{one.variant} on {one.accelerator}", bold=True)
    return f"{name}{'  ' if told else ''}{told}{', not of the bundle' if one.stray else ''}"


def _more(one: Figures) -> Iterator[str]:
    if one.memory_bytes is not None:
        yield f"worker {one.memory_bytes / 1e6:.1f} MB"
    if one.accuracy is not None:
        yield f"right {one.accuracy:.1%} of {one.windows} windows of its held-out data"
    if one.golden_off is not None:
        yield f"off golden {one.golden_off:.4f}"


def _conclusion(figures: list[Figures], found: Recommendation | None) -> Iterator[str]:
    yield ""
    yield from _float_against_int8(figures)
    if found is None:
        yield click.style("nothing of it runs on this board", fg="red")
        return
    yield f"recommended: {click.style(_keys(found), bold=True)}"
    yield f"  {found.why}"


def _float_against_int8(figures: list[Figures]) -> Iterator[str]:
    """In a sentence, where both were measured, on the CPU with as many threads."""
    cpu = [one for one in figures if one.accelerator == "cpu" and one.process is not None]
    for small in (one for one in cpu if "int8" in one.quantization):
        for large in cpu:
            if large.quantization == "float32" and large.threads == small.threads:
                yield _compared(small, large)


def _compared(small: Figures, large: Figures) -> str:
    assert small.process is not None
    assert large.process is not None
    told = [f"{large.process.p50 / small.process.p50:.2f} times as quick"]
    if small.size_bytes and large.size_bytes:
        told.append(f"{large.size_bytes / small.size_bytes:.1f} times smaller")
    if small.accuracy is not None and large.accuracy is not None:
        told.append(f"{(small.accuracy - large.accuracy) * 100:+.1f} points of accuracy")
    s = "s" if small.threads > 1 else ""
    return f"{small.variant} against {large.variant}, {small.threads} thread{s}: {', '.join(told)}"

"""Model bundles: check one, look into it, make one from a .tflite file, pack it into one file and unpack it.

A BUNDLE is a folder, or the name of a bundle in `models/` here, in the state folder, or shipped with edgeagent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from edgeagent.agent.clock import RealClock
from edgeagent.agent.control import BEGUN_PATIENCE_S, ask
from edgeagent.agent.state import state_folder
from edgeagent.cli import FAULTS, OK
from edgeagent.cli._calibrate import calibrate
from edgeagent.cli._new import new
from edgeagent.cli.status import answering, places_of
from edgeagent.config.jsonschema import json_schema
from edgeagent.errors import StorageFault
from edgeagent.inference.archive import archive_name, pack, unpack
from edgeagent.inference.bundle import Bundle, BundleKeys, find_bundle, load_bundle, own_bundles, read_keys
from edgeagent.inference.checkup import check_bundle
from edgeagent.inference.describe import describe_variant
from edgeagent.inference.facts import ModelFacts
from edgeagent.inference.listing import rows, write_table
from edgeagent.inference.supervisor import Supervisor

_COLOURS = {"ok": "green", "fault": "red", "skipped": "yellow"}

_bundle = click.argument("bundle")
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")


class Counts(click.ParamType[list[int]]):
    """`1,2,4`."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        words = [word.strip() for word in value.split(",")]
        if not all(word.isdecimal() and int(word) > 0 for word in words):
            self.fail(f"{value!r}: expected numbers from 1, by commas", param, ctx)
        return [int(word) for word in words]


@click.group(name="model", help=__doc__)
def command() -> None:
    """The group."""


command.add_command(calibrate)
command.add_command(new)


def _folder(bundle: str) -> Path:
    if os.path.isfile(Path(bundle) / "bundle.yaml"):
        return Path(bundle)
    return find_bundle(bundle, places=_places())


def _places() -> list[Path]:
    return [Path("models"), state_folder(None) / "models", own_bundles()]


# --- check --------------------------------------------------------------------------------------------


@command.command()
@_bundle
@_json
def check(bundle: str, as_json: bool) -> int:
    """Files, hashes, shapes, channels, and the golden vectors on every variant that runs on this machine.

    A variant that this machine has no accelerator for is passed over, and said so. Exit code 1 if there is a fault.
    """
    folder, clock = _folder(bundle), RealClock()
    steps = []
    for step in check_bundle(folder, lambda one: Supervisor(one, "auto", clock)):
        steps.append(step)
        if not as_json:
            click.echo(
                f"{click.style(f'{step.result:<7}', fg=_COLOURS[step.result])}  {step.what}: {step.detail}"
            )
    is_ok = all(step.result != "fault" for step in steps)
    if as_json:
        print(_encoded({"bundle": folder, "ok": is_ok, "steps": steps}))
    return OK if is_ok else FAULTS


# --- list ---------------------------------------------------------------------------------------------


@command.command(name="list")
@click.argument("folder", type=click.Path(path_type=Path), required=False)
@_json
@click.option(
    "--write", "page", type=click.Path(path_type=Path), help="Put the table into this page of Markdown."
)
def list_(folder: Path | None, as_json: bool, page: Path | None) -> int:
    """The bundles of a folder; without one, of each place where a bundle is sought by name."""
    if page is not None:
        write_table(page, folder or page.parent)
        return OK
    places = [folder] if folder else dict.fromkeys(place.resolve() for place in _places())
    found = {str(place): rows(place) for place in places}
    if as_json:
        print(_encoded(found))
        return OK
    for place, table in found.items():
        click.echo(f"{place}: {len(table) or 'none that this user can see'}")
        for row in table:
            name, tells, takes, gives, size, _ = row.cells()
            click.echo(f"  {click.style(name, bold=True)}  {tells or 'no card'}: {takes}; {gives}, {size}")
    return OK


# --- show ---------------------------------------------------------------------------------------------


@command.command()
@_bundle
@_json
def show(bundle: str, as_json: bool) -> int:
    """What goes in and comes out, and of each variant: tensors, operators, size, quantization."""
    folder = _folder(bundle)
    keys, loaded = read_keys(folder), load_bundle(folder)
    facts = {variant.name: describe_variant(variant) for variant in loaded.variants}
    if as_json:
        print(_encoded({"bundle": folder, "keys": _as_written(keys), "models": facts}))
        return OK
    click.echo("\n".join(_shown(folder, keys, loaded, facts)))
    return OK


def _as_written(keys: BundleKeys) -> dict[str, Any]:
    """The keys as they stand in the file."""
    written: dict[str, Any] = msgspec.to_builtins(keys, enc_hook=str)
    written |= {"task": keys.task.file, **written["task"]["options"]}
    written["input"]["preprocess"] = [
        {step["file"]: step["options"]} for step in written["input"]["preprocess"]
    ]
    return written


def _shown(folder: Path, keys: BundleKeys, loaded: Bundle, facts: dict[str, ModelFacts]) -> Iterator[str]:
    yield click.style(f"{keys.name} {keys.version}", bold=True) + f"  {keys.task.file}  {folder}"
    taken = keys.input
    yield f"  window    {taken.window:g} s at {taken.rate:g} Hz, a new one every {taken.hop:g} s"
    yield f"  missing   at most {taken.max_missing:.0%} of a window"
    if taken.preprocess:
        yield f"  channels  {', '.join(f'{one.name} ({one.unit})' for one in taken.channels)}"
    for step in taken.preprocess:
        yield f"  step      {step.file}: {_in_words(msgspec.to_builtins(step.options))}"
    scaling, made = loaded.scaling, loaded.chain.form.channels
    for one, mean, std in zip(made, scaling.mean, scaling.std, strict=True):
        yield f"  channel   {one.name} ({one.unit}), less {mean:g}, divided by {std:g}"
    yield f"  gives     {loaded.task.gives}{': ' if loaded.task.names else ''}{', '.join(loaded.task.names)}"
    for variant in keys.variants:
        yield from _variant(variant.file, variant.accelerator, facts[variant.file])
    for what, value in (("licence", keys.licence), ("data", keys.data), ("metrics", keys.metrics)):
        if value is not None:
            yield f"  {what:<9} {_in_words(value)}"
    card = folder / "README.md"
    yield f"  card      {card if card.is_file() else 'none: write README.md, with data, licence, split and limits'}"


def _variant(file: str, accelerator: str, facts: ModelFacts) -> Iterator[str]:
    yield f"  variant   {file}, for {accelerator}: {facts.size_bytes} bytes, {facts.quantization}"
    for tensor in facts.inputs:
        yield f"            in   {tensor}"
    for tensor in facts.outputs:
        yield f"            out  {tensor}"
    yield f"            ops  {', '.join(f'{n} x {name}' for name, n in facts.operators.items())}"


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_in_words(v)}" for key, v in value.items())
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)


# --- bench --------------------------------------------------------------------------------------------


@command.command(name="bench")
@_bundle
@click.option("--threads", type=Counts(), help='How many, each in turn: "1,2"; default: as the cores allow.')
@click.option("--calls", type=click.IntRange(min=10), default=1000, show_default=True, help="Of each way.")
@click.option(
    "--beside",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A .tflite file to compare with, such as the float model that this one was made of.",
)
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="A config: its accelerators are measured too."
)
@click.option("--write", is_flag=True, help="Write what is recommended into that config; comments stay.")
@_json
def bench_(
    bundle: str,
    threads: list[int] | None,
    calls: int,
    beside: tuple[Path, ...],
    config: Path | None,
    *,
    write: bool,
    as_json: bool,
) -> int:
    """Latency by variant, threads and accelerator on this board, memory, and accuracy on data that the bundle carries.

    That is its recording/, or its pictures/ by name: brick-3.jpg is one of brick.

    raw is the bare runtime, inline and process are the two kinds of isolation. What is recommended is the quickest
    that a config can ask for, without losing accuracy; more threads must save a fifth.
    """
    from edgeagent.cli._bench import run

    if write and config is None:
        raise click.UsageError("--write needs a config: -c FILE")
    return run(
        _folder(bundle),
        threads=threads,
        calls=calls,
        beside=beside,
        config=config,
        write=write,
        as_json=as_json,
    )


# --- schema -------------------------------------------------------------------------------------------


@command.command()
def schema() -> int:
    """Print the JSON Schema of bundle.yaml, for an editor or another tool."""
    print(
        msgspec.json.format(msgspec.json.encode(json_schema(BundleKeys, "bundle.yaml of edgeagent"))).decode()
    )
    return OK


# --- pack, unpack -------------------------------------------------------------------------------------


@command.command(name="pack")
@_bundle
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The file; default NAME-VERSION.tar here."
)
def pack_(bundle: str, output: Path | None) -> int:
    """Write a bundle into one file: a plain tar, the same bytes each time."""
    folder = _folder(bundle)
    archive = output or Path(archive_name(load_bundle(folder)))
    pack(folder, archive)
    print(f"{archive}: {archive.stat().st_size} bytes")
    return OK


@command.command(name="unpack")
@click.argument("archive", type=click.Path(path_type=Path))
@click.option("--into", type=click.Path(path_type=Path), default=Path("models"), show_default=True)
def unpack_(archive: Path, into: Path) -> int:
    """Make the bundle's folder again, whole or not at all; nothing in it can land elsewhere."""
    bundle = unpack(archive, into)
    print(f"{bundle.folder}: {bundle.name} {bundle.version}")
    return OK


# --- swap, rollback -----------------------------------------------------------------------------------

_config = click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="The agent's YAML file, for its `state:`."
)


@command.command()
@click.argument("name")
@_bundle
@_config
def swap(name: str, bundle: str, config: Path | None) -> int:
    """Let another BUNDLE, or archive of `pack`, serve for the model NAME of the running agent, now and after restarts.

    It is loaded and must pass its golden vectors beside the old one, which serves until then, and on if it does not.
    """
    source = Path(bundle) if Path(bundle).is_file() else _folder(bundle)
    print(_told(config, "swap", model=name, bundle=str(source.resolve())))
    return OK


@command.command()
@click.argument("name")
@_config
def rollback(name: str, config: Path | None) -> int:
    """Let the bundle that served for the model NAME before its last swap serve again."""
    print(_told(config, "rollback", model=name))
    return OK


def _told(config: Path | None, command: str, **arguments: str) -> str:
    """The running agent's answer. Raises Fault with its reason if it refuses, StorageFault if none runs."""
    places = places_of(config)
    found = answering(places, config)
    if found is None:
        where = " or ".join(map(str, places))
        raise StorageFault("no agent runs", where=where, hint="Start it, or name its config with -c")
    return str(ask(found[0], command, 2 * BEGUN_PATIENCE_S, **arguments))


def _encoded(report: dict[str, Any]) -> str:
    return msgspec.json.encode(report, enc_hook=str).decode()

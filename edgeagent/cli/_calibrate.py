"""`edgeagent model calibrate`: a threshold from what is normal on this device."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import msgspec

from edgeagent.agent.calibrating import MOST_S, audit, utc
from edgeagent.agent.clock import RealClock
from edgeagent.agent.control import BEGUN_PATIENCE_S, ask
from edgeagent.agent.state import Lock, state_folder
from edgeagent.cli import OK, Duration, config_option
from edgeagent.cli.status import answering, places_of
from edgeagent.config.schema import Config
from edgeagent.errors import ConfigFault, StorageFault
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.calibration import calibration_folder, models_of, store_calibration, threshold_of
from edgeagent.inference.tasks.anomaly import NORMAL
from edgeagent.inference.thresholds import Found, find_threshold
from edgeagent.recording import Label, Recording, label_between
from edgeagent.records import Draft, Priority

_ASK_EVERY_S = 1.0


@click.command()
@click.argument("name")
@config_option()
@click.option(
    "--for", "for_s", type=Duration(), default="10 min", show_default=True, help="How long to listen."
)
@click.option("--recording", type=click.Path(path_type=Path), help="Measure on this recording instead.")
@click.option(
    "--percentile",
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    default=99.0,
    show_default=True,
    help="So many of a hundred normal windows are to stay below the threshold.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
def calibrate(
    name: str, config: Path, for_s: float, recording: Path | None, percentile: float, *, dry_run: bool
) -> int:
    """Find the threshold of the anomaly model NAME from what is normal on this device, and let it hold.

    The running agent is listened to: let the machine do all that is normal meanwhile, and nothing else. Or a recording
    of that is taken (`edgeagent run --journal`); where it has labels, only what is called normal counts.
    """
    if for_s > MOST_S:
        raise click.UsageError("--for: expected a day at most")
    agent = answering(places_of(config), config)
    place = agent[0] if agent is not None else None
    if recording is None:
        if place is None:
            raise StorageFault(
                "no agent runs that could be listened to",
                where=str(config),
                hint="Start it, or give a --recording",
            )
        heard, source = _listen(place, name, for_s), f"{for_s:g} s of the running agent"
    else:
        heard, source = _measured(recording, config, name), f"the recording {recording}"
    found = find_threshold(heard["errors"], percentile, heard["threshold"])
    click.echo("\n".join(_told(heard, found)))
    if dry_run:
        click.echo("Nothing was changed.")
        return OK
    if place is not None:
        arguments = {"model": name, "models": heard["models"], "found": msgspec.to_builtins(found)}
        whose = ask(place, "calibrate", 2 * BEGUN_PATIENCE_S, do="keep", source=source, **arguments)
        click.echo(f"The agent goes by it from now on, and after restarts, as long as {whose} serves.")
    else:
        folder = _keep(config, name, found, source)
        click.echo(f"Kept in {folder}: the agent goes by it from its next start on.")
    return OK


def _told(heard: dict[str, Any], found: Found) -> Iterator[str]:
    errors = heard["errors"]
    middle = statistics.median(errors)
    yield f"{click.style(heard['bundle'], bold=True)}  {found.windows} windows, all taken for normal"
    yield f"  error         {min(errors):.4g} to {max(errors):.4g}, half of them below {middle:.4g}"
    yield f"  threshold     {found.before:.4g} before, {found.threshold:.4g} now: percentile {found.percentile:g}"
    yield f"  false alarms  {found.alarms_before:.1%} of these windows before, {found.alarms:.1%} now"
    if found.wanders:
        yield (
            f"  But the first half of them would have put it where {found.alarms_later:.1%} of the second half are "
            "alarms:\n  normal has changed meanwhile. Measure for longer, over all that is normal here."
        )


# --- from the running agent ---------------------------------------------------------------------------


def _listen(place: Path, name: str, for_s: float) -> dict[str, Any]:
    """What a model has said for so long. Ctrl-C leaves everything as it was."""
    clock, on_terminal = RealClock(), sys.stderr.isatty()
    heard: dict[str, Any] = ask(place, "calibrate", do="listen", model=name, seconds=for_s)
    if not on_terminal:
        print(f"listening to {heard['bundle']} for {for_s:g} s ...", file=sys.stderr)
    while heard["left_s"] > 0:
        clock.sleep_s(min(_ASK_EVERY_S, heard["left_s"]))
        heard = ask(place, "calibrate", do="heard", model=name)
        if on_terminal:
            left = f"{heard['bundle']}: {len(heard['errors'])} windows, {heard['left_s']:.0f} s to go"
            print(f"\r\033[K{left}", end="" if heard["left_s"] > 0 else "\n", file=sys.stderr, flush=True)
    return heard


# --- from a recording ---------------------------------------------------------------------------------


def _measured(folder: Path, path: Path, name: str) -> dict[str, Any]:
    """The same from a recording, by the config's own pipelines."""
    recording = Recording(folder)
    config, bundle = _model(path, name)
    errors = list(_errors(recording, _only(config, name), path))
    return {
        "bundle": f"{bundle.name} {bundle.version}",
        "models": models_of(bundle),
        "threshold": threshold_of(bundle),
        "errors": errors,
    }


def _model(path: Path, name: str) -> tuple[Config, Bundle]:
    """The config's own bundle: what was swapped in for it can be measured only while it serves."""
    from edgeagent.agent.compose import bundles
    from edgeagent.agent.fit import check
    from edgeagent.config.load import require

    config = require(check(path))
    if name not in config.models:
        there = ", ".join(config.models) or "there are none"
        raise ConfigFault(
            f"there is no model {name!r}", where=str(path), expected=f"one of `models:`: {there}"
        )
    bundle = bundles(config, path)[name]
    threshold_of(bundle)
    return config, bundle


def _only(config: Config, name: str) -> Config:
    """The pipelines that ask the model, each of their predictions told; and nothing else that makes records."""
    pipelines = {
        key: msgspec.structs.replace(one, report="all")
        for key, one in config.pipelines.items()
        if one.model == name
    }
    if not pipelines:
        raise ConfigFault(f"no pipeline asks model {name}", expected="one under `pipelines:`")
    models = {name: config.models[name]}
    return msgspec.structs.replace(config, pipelines=pipelines, models=models, rules={}, actuators={})


def _errors(recording: Recording, config: Config, path: Path) -> Iterator[float]:
    from edgeagent.cli.replay import replay_of
    from edgeagent.counts import Counts

    with ExitStack() as closing:
        for draft in replay_of(recording, config, path, "", Counts(), closing).drafts():
            body = draft.body
            told = draft.kind == "prediction" and body["anomaly"] is not None
            if told and _is_normal(recording.header.labels, body["t_start_ns"], body["t_end_ns"]):
                yield body["anomaly"]


def _is_normal(labels: tuple[Label, ...], t_start_ns: int, t_end_ns: int) -> bool:
    return not labels or label_between(labels, t_start_ns, t_end_ns) == NORMAL


def _keep(path: Path, name: str, found: Found, source: str) -> Path:
    """Without an agent: write it down, and tell it upstream at the next chance."""
    from edgeagent.agent.outgoing import open_outbox
    from edgeagent.timebase import new_run

    config, bundle = _model(path, name)
    state, clock = state_folder(config.state), RealClock()
    if not (state / "outbox").is_dir():
        raise StorageFault(
            "there is no outbox", where=str(state), hint="Has the agent ever run on this config?"
        )
    lock, folder = Lock(state), calibration_folder(state)
    outbox = open_outbox(config, new_run(), 1)
    try:
        new = store_calibration(folder, bundle, found, source, utc(clock.now_ns(), clock.wall()))
        outbox.append([Draft("audit", clock.now_ns(), Priority.EVENT, audit(name, new))], clock.wall())
    finally:
        outbox.close()
        lock.release()
    return folder

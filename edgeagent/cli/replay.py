"""Hand a recording to the pipeline again, on virtual time: the same decisions and records, bit for bit."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec

from edgeagent.agent import compose
from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.agent.fit import check
from edgeagent.agent.replay import Replay
from edgeagent.cli import FAULTS, OK, config_option
from edgeagent.config.schema import Config
from edgeagent.counts import Counts
from edgeagent.errors import StorageFault
from edgeagent.inference.inline import Inline
from edgeagent.recording import Recording, label_between
from edgeagent.records import NS_PER_S, Draft, Record


@click.command(name="replay")
@click.argument("folder", type=click.Path(path_type=Path))
@config_option()
@click.option("--records", type=click.File("w"), help="Write every record as a line of JSON (- is stdout).")
def command(folder: Path, config: Path, records: TextIO | None) -> int:
    """Hand a recording to the pipeline again, on virtual time: the same decisions and records, bit for bit."""
    loaded = check(config)
    for finding in loaded.findings:
        print(finding, file=sys.stderr)
    if loaded.config is None:
        return FAULTS
    recording = Recording(folder)
    if recording.header.config_sha256 not in ("", loaded.sha256):
        print(f"{folder} was recorded with another config: its decisions may differ", file=sys.stderr)
    run = recording.sha256[:12]
    counts, clock = Counts(), RealClock()
    with ExitStack() as closing:
        replay = replay_of(recording, loaded.config, config, run, counts, closing)
        began_ns = clock.now_ns()
        made = decisions = 0
        for draft in replay.drafts():
            made += 1
            decisions += draft.body.get("type") == "decision"
            if records is not None:
                records.write(_line(draft, loaded.config.device.id, run, made) + "\n")
        took_s = (clock.now_ns() - began_ns) / NS_PER_S
    length_s = (replay.now_ns - (replay.start_ns or 0)) / NS_PER_S
    print(
        f"{length_s:.1f} s in {took_s:.2f} s ({length_s / took_s:.0f} x): {counts.windows.total()} windows, "
        f"{counts.windows_unpredicted.total()} unpredicted, {decisions} decisions, {made} records"
        + (f", accuracy {counts.correct / counts.scored:.3f}" if counts.scored else ""),
        file=sys.stderr,
    )
    return OK


def replay_of(
    recording: Recording, config: Config, path: Path, run: str, counts: Counts, closing: ExitStack
) -> Replay:
    """A recording, ready to be handed to the pipelines of a config. Raises Fault if it is none for them."""
    missing = set(recording.header.sensors) - set(config.sensors)
    if missing:
        raise StorageFault(
            f"the recording is of sensor {', '.join(sorted(missing))}",
            where=str(recording.folder),
            expected=f"sensors of the config: {', '.join(config.sensors) or 'there are none'}",
        )
    models = compose.bundles(config, path)
    engines = {key: Inline(b, config.models[key].accelerator, VirtualClock()) for key, b in models.items()}
    for engine in engines.values():
        engine.start()
        closing.callback(engine.close)
    labels = recording.header.labels
    truths = dict.fromkeys(config.sensors, partial(label_between, labels)) if labels else {}
    return Replay(recording, compose.core(config, models, truths, run, counts), engines)


def _line(draft: Draft, device: str, run: str, seq: int) -> str:
    """A record as the outbox would make it; what depends on this machine's speed is left out."""
    body = _timeless(draft.body)
    if "prediction" in body:
        body["prediction"] = _timeless(body["prediction"])
    record = Record(
        id=f"{device}/{run}/{seq}",
        kind=draft.kind,
        run=run,
        boot_id="",
        mono_ns=draft.mono_ns,
        time=None,
        clock="unsynced",
        priority=draft.priority,
        body=body,
    )
    return msgspec.json.encode(record).decode()


def _timeless(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "latency_ns"}

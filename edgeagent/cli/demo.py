"""The whole job on virtual hardware, through the real drivers, with a network that fails."""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

import click
import msgspec

from edgeagent.agent.clock import RealClock, SharedClock
from edgeagent.collector.dataset import summary as dataset_summary
from edgeagent.demo.scene import Moment, Scene
from edgeagent.demo.summary import faults, summarise
from edgeagent.demo.view import View

_FRAME_S = 0.25


@click.command(name="demo")
@click.option(
    "--seconds",
    type=click.IntRange(min=40),
    default=60,
    show_default=True,
    help="How long, in the demo's time.",
)
@click.option("--fast", is_flag=True, help="Agent, board and fakes on one clock that runs faster.")
@click.option(
    "--speed", type=click.FloatRange(1, 20), default=10.0, show_default=True, help="How much faster."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Only the summary, as one JSON object on the last line."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="An empty folder for state, dataset and log (default: a new one).",
)
def command(seconds: int, fast: bool, speed: float, as_json: bool, data: Path | None) -> int:
    """The whole job on virtual hardware, through the real drivers, with a network that fails."""
    folder = data or Path(tempfile.mkdtemp(prefix="edgeagent-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    clock = RealClock()
    if fast:
        clock = SharedClock(speed, clock.now_ns(), folder.absolute() / "clock")
    with Scene(folder.absolute(), seconds, clock) as scene, View(quiet=as_json) as view:
        signal.signal(signal.SIGINT, lambda *_: scene.stop())
        moment = _play(scene, view)
    held = dataset_summary(scene.dataset)
    summary = summarise(moment, held.records, scene.dataset)
    wrong = faults(summary)
    view.show_summary(summary, wrong)
    if as_json:
        for fault in wrong.values():
            print(f"edgeagent demo: {fault}", file=sys.stderr)
        print(msgspec.json.encode(summary).decode())
    return 1 if wrong else 0


def _play(scene: Scene, view: View) -> Moment:
    pause = RealClock()
    while not (moment := scene.step()).over:
        view.show(moment)
        pause.sleep_s(_FRAME_S)
    return moment

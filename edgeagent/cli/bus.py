"""Record what goes over the bus or line of sensors, as test cases that run without the devices (`bus record`)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from edgeagent.agent.clock import RealClock
from edgeagent.agent.traffic import Recorder
from edgeagent.cli import FAULTS, OK, Duration, config_option
from edgeagent.cli._attached import draft_of, refuse_if_an_agent_has, sensor_of
from edgeagent.config.schema import Part
from edgeagent.errors import ConfigFault


@click.group(name="bus", help=__doc__)
def command() -> None:
    """The group."""


@command.command()
@click.argument("sensors", nargs=-1)
@config_option()
@click.option("--for", "for_s", type=Duration(), default="10s", show_default=True, help="For each sensor.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("recorded"),
    show_default=True,
    help="Gets a folder a sensor.",
)
def record(sensors: tuple[str, ...], config: Path, for_s: float, out: Path) -> int:
    """Read sensors one after the other (all of them, if none is named), and keep every transfer and every byte.

    What comes of it is a folder a sensor for tests/testcases/: its config, the traffic, and what the driver made of it.
    Make the fault happen meanwhile: pull the cable, let the motor start. Ctrl-C ends a recording early, and keeps it.
    Exit code 1 if a sensor has no bus or line, or nothing went over it.
    """
    draft = draft_of(config)
    chosen = {name: sensor_of(draft, name, config) for name in sensors or draft.sensors}
    found = OK
    for name, part in chosen.items():
        refuse_if_an_agent_has(draft, name, config)
        if not _record(name, part, config, for_s, out / name):
            found = FAULTS
    return found


def _record(name: str, part: Part, config: Path, for_s: float, folder: Path) -> bool:
    """Whether there was anything to record."""
    if folder.exists():
        raise ConfigFault("is there already", where=str(folder), hint="Move it away, or give another --out.")
    recorder = Recorder(name, part, RealClock())
    if not recorder.has_line:
        print(f"{name}: hangs on no I2C bus, serial line or connection; nothing to record")
        return False
    with suppress(KeyboardInterrupt):
        recorder.run(for_s)
    recorder.stop()
    recorder.write(folder, config)
    heard = recorder.heard
    state = heard.state + (f" ({heard.reason})" if heard.reason else "")
    print(
        f"{name}: {recorder.traffic} transfers, {heard.rows} samples in {recorder.elapsed_s:.1f} s, {state}; {folder}"
    )
    return recorder.traffic > 0

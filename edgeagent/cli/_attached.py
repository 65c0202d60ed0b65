"""What the commands share that read a device of a config themselves, without an agent."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeagent.agent.control import Refused, ask
from edgeagent.agent.state import run_folder, state_folder
from edgeagent.cli.status import SERVICE
from edgeagent.config import load
from edgeagent.config.findings import listed, nearest
from edgeagent.config.schema import Config, Part
from edgeagent.errors import ConfigFault, DeviceFault, StorageFault


def draft_of(config: Path) -> Config:
    """What could be read of the file: a fault in another section does not keep one from reading a sensor."""
    loaded = load.load(config)
    if loaded.draft is None:
        raise ConfigFault("\n".join(map(str, loaded.findings)))
    for finding in loaded.findings:
        if finding.severity == "fault":
            print(finding, file=sys.stderr)
    return loaded.draft


def sensor_of(draft: Config, name: str, config: Path) -> Part:
    if name not in draft.sensors:
        raise ConfigFault(
            f"there is no sensor {name!r} that could be read",
            where=str(config),
            expected=listed(draft.sensors) or "one under `sensors:`",
            hint=nearest(name, list(draft.sensors)),
        )
    return draft.sensors[name].part


def refuse_if_an_agent_has(draft: Config, name: str, config: Path) -> None:
    """Two that read one device take each other's samples. Raises DeviceFault."""
    for place in (run_folder(state_folder(draft.state)), SERVICE):
        try:
            status = ask(place, "status")
        except (StorageFault, Refused):
            continue
        if name in status["sensors"] and Path(status["config"]).resolve() == config.resolve():
            raise DeviceFault(
                f"the agent (pid {status['pid']}) reads this sensor",
                where=name,
                hint="See `edgeagent status`, or stop the agent first: `sudo systemctl stop edgeagent`.",
            )

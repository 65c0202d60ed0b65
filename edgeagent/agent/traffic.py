"""A sensor's bus traffic as a test case: recorded while the device is there, run again without it.

A case is a folder: `config.yaml` with the one sensor, `traffic.jsonl` with what went over its bus or line and when
(buses/spy.py), `expected.json` with the layout and the rows that its driver made of that.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from edgeagent.agent.alone import Alone
from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.threads import Announced
from edgeagent.buses.spy import EndOfTraffic, Played, Spy, read_traffic, write_traffic
from edgeagent.config import parts
from edgeagent.config.excerpt import sensor_alone
from edgeagent.config.load import load, require
from edgeagent.config.schema import Part
from edgeagent.errors import StorageFault
from edgeagent.records import NS_PER_S, Block, Layout
from edgeagent.sensors import Context, Sensor
from edgeagent.timebase import Clock


class Listener(Alone):
    """A sensor, and all that it gave."""

    def __init__(self, name: str, sensor: Sensor, clock: Clock) -> None:
        super().__init__(name, sensor, clock)
        self.layout: Layout | None = None
        self.blocks: list[Block] = []

    @property
    def rows(self) -> int:
        return sum(len(block.values) for block in self.blocks)

    def step(self, until_ns: int) -> None:
        """Read once, when it is due; or let the time pass if that is later."""
        for message in self.heard(until_ns):
            match message:
                case Announced():
                    self.layout = message.layout
                case Block():
                    self.blocks.append(message)


class Recorder:
    """One sensor of a config, recorded step by step."""

    def __init__(self, name: str, part: Part, clock: Clock) -> None:
        self._name, self._clock = name, clock
        self._spy = Spy(clock)
        sensor = parts.find("sensors", part.file).build(name, part.options, Context(clock, self._spy))
        self.heard = Listener(name, sensor, clock)
        self._began_ns = clock.now_ns()

    @property
    def elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._began_ns) / NS_PER_S

    @property
    def has_line(self) -> bool:
        """Whether it hangs on a bus or a line at all."""
        return self._spy.is_used

    @property
    def traffic(self) -> int:
        """How many transfers, reads and writes there were."""
        return sum(event.what != "end" for event in self._spy.events)

    def run(self, seconds: float | None) -> None:
        """For so long, or until it is interrupted."""
        end_ns = self._began_ns + round(seconds * NS_PER_S) if seconds is not None else 1 << 62
        while self._clock.now_ns() < end_ns:
            self.heard.step(end_ns)

    def stop(self) -> None:
        """The recording is over; what the driver says in closing is no part of it."""
        self._spy.note("end")
        self._spy.deafen()
        self.heard.close()

    def write(self, folder: Path, config: Path) -> None:
        """Make the case. Raises StorageFault; a folder that is there is left as it is."""
        try:
            folder.mkdir(parents=True)
            (folder / "config.yaml").write_text(sensor_alone(config, self._name))
            write_traffic(folder / "traffic.jsonl", self._spy.events)
            (folder / "expected.json").write_text(_expected(self.heard, rerun(folder)))
        except FileExistsError as e:
            raise StorageFault(
                "is there already", where=str(folder), hint="Move it away, or give another `--out`."
            ) from e
        except OSError as e:
            raise StorageFault(f"cannot be written ({e.strerror})", where=str(folder)) from e


def rerun(folder: Path) -> Listener:
    """What the driver of today makes of a case's traffic.

    Raises ConfigFault if the config cannot be used, or the driver asks a chip for something else than it did then.
    """
    ((name, sensor),) = require(load(folder / "config.yaml")).sensors.items()
    clock = VirtualClock()
    buses = Played(clock, read_traffic(folder / "traffic.jsonl"))
    module = parts.find("sensors", sensor.part.file)
    heard = Listener(name, module.build(name, sensor.part.options, Context(clock, buses)), clock)
    try:
        while True:
            heard.step(1 << 62)
    except EndOfTraffic:
        return heard


def _expected(heard: Listener, again: Listener) -> str:
    """As the cases of tests/contract have it; a row a line. What a busy board missed is no part of the traffic."""
    rows = [
        [None if math.isnan(v) else v for v in row] for block in heard.blocks for row in block.values.tolist()
    ]
    layout = heard.layout
    head = {
        "why": "recorded",
        "rate_hz": layout.rate_hz if layout else None,
        "channels": {c.name: c.unit for c in layout.channels} if layout else {},
        "lost": sum(block.lost for block in again.blocks),
    }
    lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    return f'{json.dumps(head, indent=2)[:-2]},\n  "rows": [\n{lines}\n  ]\n}}\n'

"""All that one config stands for while it runs: devices and their readers, lanes, outputs, and the core.

A reload makes new parts. A port whose sensors are unchanged keeps its reader, so that its device is not disturbed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from threading import Thread
from typing import Any

from edgeagent.actuators.guard import Setting
from edgeagent.agent import compose
from edgeagent.agent.lanes import Lane
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox, spawn
from edgeagent.buses import Buses
from edgeagent.config.schema import Config, Part
from edgeagent.health.progress import Progress
from edgeagent.inference.bundle import Bundle
from edgeagent.pipeline import Core, Effects
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context, Sensor
from edgeagent.timebase import Clock

_LANE_BOUND_S = 10.0  # beside the model's deadline: loading a model may take this long
_STOP_S = 1.0


class Parts:
    """The parts of one config. `previous` lends the readers of ports that did not change; `dry_run` drives nothing."""

    def __init__(
        self,
        config: Config,
        models: Mapping[str, Bundle],
        clock: Clock,
        inbox: Inbox,
        run: str,
        progress: Progress,
        previous: Parts | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        self.config = config
        self._dry_run = dry_run
        self._clock, self._inbox, self._progress = clock, inbox, progress
        built = compose.sensors(config, Context(clock, Buses(clock)))
        self._ports = _ports(config, built)
        self._kept = _same_ports(self._ports, previous)
        self.readers: dict[str, Reader] = {}
        self._threads: dict[str, Thread] = {}
        for port, sensors in self._ports.items():
            if previous is not None and port in self._kept:
                self.readers[port], self._threads[port] = previous.readers[port], previous._threads[port]
            else:
                devices = [Device(name, built[name], clock, inbox) for name in sensors]
                self.readers[port] = Reader(devices, clock)
        self.devices = {d.name: d for reader in self.readers.values() for d in reader.devices}
        sensors_now = {name: device.sensor for name, device in self.devices.items()}
        self.actuators = compose.actuators(config, sensors_now)
        truths = {name: s.truth for name, s in sensors_now.items() if s.truth is not None}
        counts = previous.core.counts if previous is not None else None
        self.core: Core = compose.core(config, models, truths, run, counts)
        self._models = models
        self.lanes = {key: self._lane(key, bundle) for key, bundle in models.items()}

    def _lane(self, key: str, bundle: Bundle) -> Lane:
        bound_s = _LANE_BOUND_S + self.config.inference.deadline
        made = self._progress.watch(f"model {key}", bound_s, self._clock.now_ns())
        engine = compose.engine(self.config, key, bundle, self._clock)
        return Lane(key, engine, self._inbox, lambda: made(self._clock.now_ns()))

    def start(self) -> None:
        """Outputs safe first; then the threads. A kept reader has announced its layouts before: once more."""
        self.all_safe("start")
        for lane in self.lanes.values():
            spawn(f"model {lane.model}", lane.run, self._inbox)
        for port, reader in self.readers.items():
            if port in self._kept:
                for device in reader.devices:
                    device.announce_again()
            else:
                self._threads[port] = spawn(f"reader {port}", reader.run, self._inbox)

    def all_safe(self, why: str) -> None:
        self._drive(self.core.all_safe(why))

    def apply(self, effects: Effects) -> None:
        """Do outside what a step of the core asked for; the drafts are the caller's."""
        for request in effects.requests:
            self.lanes[request.model].submit(request)
        self._drive(effects.settings)

    def _drive(self, settings: list[Setting]) -> None:
        for setting in settings:
            if not self._dry_run:
                self.actuators[setting.actuator].drive(setting.value)

    def stop_readers(self, successor: Parts | None = None) -> None:
        """Stop those that `successor` has not taken over, and wait until they have let go of their devices."""
        kept = successor._kept if successor is not None else set()
        ending = [port for port in self.readers if port not in kept]
        for port in ending:
            self.readers[port].stop()
        deadline_ns = self._clock.now_ns() + round(_STOP_S * NS_PER_S)
        for port in ending:
            if thread := self._threads.get(port):
                thread.join(max(self._clock.real_s(deadline_ns - self._clock.now_ns()), 0.05))

    def stop_lanes(self) -> None:
        for lane in self.lanes.values():
            self._progress.forget(f"model {lane.model}")
            lane.stop()
        for actuator in self.actuators.values():
            actuator.close()

    @property
    def settled(self) -> bool:
        """Every model has been tried once: before that, nothing is known."""
        return all(lane.started for lane in self.lanes.values())

    def status(self) -> dict[str, Any]:
        """Sensors, pipelines, models, rules and outputs as they stand."""
        speed = getattr(self._clock, "speed", 1.0)
        counts = self.core.counts
        return {
            "sensors": {name: device.status() for name, device in self.devices.items()},
            "pipelines": {name: self._pipeline_status(name) for name in self.config.pipelines},
            "models": {key: lane.engine.status() | {"stale": lane.stale} for key, lane in self.lanes.items()},
            "rules": self.core.rule_status(),
            "actuators": {name: actuator.state() for name, actuator in self.actuators.items()},
            "values": self.core.values(),
            "sampling": self.core.sampling_counters(),
            "counts": counts.as_dict(speed),
        }

    def _pipeline_status(self, name: str) -> dict[str, Any]:
        counts, last = self.core.counts, self.core.counts.last.get(name)
        return {
            "windows": counts.windows[name],
            "unpredicted": counts.windows_unpredicted[name],
            "label": last.label if last else None,
            "score": last.score if last else None,
            "skipped": last.skipped if last else None,
            "scores": dict(zip(self._labels(name), last.scores, strict=False)) if last else {},
            "truth": counts.last_truth.get(name),
        }

    def _labels(self, pipeline: str) -> tuple[str, ...]:
        model = self.config.pipelines[pipeline].model
        return self._models[model].labels if model is not None else ()


Ports = dict[str, dict[str, Part]]


def _ports(config: Config, built: Mapping[str, Sensor]) -> Ports:
    """By port, the sensors that hang on it and what the config says of them."""
    ports: Ports = defaultdict(dict)
    for name, sensor in built.items():
        ports[sensor.port][name] = config.sensors[name]
    return ports


def _same_ports(ports: Ports, previous: Parts | None) -> set[str]:
    before = previous._ports if previous is not None else {}
    return {port for port, sensors in ports.items() if before.get(port) == sensors}

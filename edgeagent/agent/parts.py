"""All that one config stands for while it runs: devices and their readers, lanes, outputs, and the core.

A reload makes new parts. A sensor that is unchanged keeps its device, open as it is, and its samples go on.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Any

from edgeagent.actuators.guard import Setting
from edgeagent.agent import compose
from edgeagent.agent.clock import RealClock
from edgeagent.agent.lanes import Lane, Lanes, Serving
from edgeagent.agent.readers import Device, Reader
from edgeagent.agent.threads import Inbox, join_all, spawn
from edgeagent.buses import Buses
from edgeagent.config.schema import Config
from edgeagent.health.progress import Progress
from edgeagent.inference import Engine
from edgeagent.inference.bundle import Bundle
from edgeagent.pipeline import Core, Effects
from edgeagent.sensors import Context

_LANE_BOUND_S = 120.0  # beside the deadline: the engine's own time-outs (60 s for loading) are to be first
_STOP_S = 0.5


class Parts:
    """The parts of one config.

    Args:
        config, models: What to make, and the bundles it names.
        clock, inbox, run, progress: What all of it hangs on.
        previous: The parts before a reload, which hand on what did not change.
        spent_bytes: What of the sampling budget was spent before there were any.
        dry_run: Drive nothing.

    Raises Fault if something cannot be made; nothing is opened or started yet, and `previous` runs on.
    """

    def __init__(
        self,
        config: Config,
        models: dict[str, Bundle],
        clock: RealClock,
        inbox: Inbox,
        run: str,
        progress: Progress,
        previous: Parts | None = None,
        *,
        spent_bytes: int = 0,
        dry_run: bool = False,
    ) -> None:
        self.config = config
        self._clock, self._inbox, self._progress = clock, inbox, progress
        self._driving = not dry_run
        self.models = models
        kept = _unchanged(config, previous)
        self._buses: Buses = previous._buses if previous is not None else Buses(clock)
        built = compose.sensors(config, Context(clock, self._buses))
        self.devices = {
            name: kept.get(name) or Device(name, sensor, clock, inbox) for name, sensor in built.items()
        }
        self.readers = self._make_readers(previous)
        sensors = {name: device.sensor for name, device in self.devices.items()}
        self.actuators = compose.actuators(config, sensors)
        truths = {name: s.truth for name, s in sensors.items() if s.truth is not None}
        counts = None
        if previous is not None:
            counts, spent_bytes = previous.core.counts, previous.spent_bytes
        self.core: Core = compose.core(config, models, truths, run, counts, spent_bytes)
        if previous is not None:
            for name, layout in previous.core.layouts().items():
                if name in kept:
                    self.core.layout(name, layout, clock.now_ns())
        self._make_engine = compose.engine_maker(config, clock)
        serving = {
            key: Serving(self._make_engine(key, bundle), compose.model_plan(config, key, bundle))
            for key, bundle in models.items()
        }
        self.lanes = Lanes(serving, compose.terms(config, models), clock, inbox)

    def _make_readers(self, previous: Parts | None) -> dict[str, Reader]:
        """A reader a port; one whose devices are the same as before is taken over as it runs."""
        ports: dict[str, list[Device]] = {}
        for device in self.devices.values():
            ports.setdefault(device.sensor.port, []).append(device)
        before = previous.readers if previous is not None else {}
        return {
            port: before[port]
            if port in before and before[port].devices == devices
            else Reader(port, devices, self._clock, self._inbox, after=before.get(port))
            for port, devices in ports.items()
        }

    def start(self) -> None:
        """Outputs safe first; then the threads."""
        self._drive(self.core.all_safe("start"))
        for lane in self.lanes.by_model.values():
            self._start_lane(lane)
        for reader in self.readers.values():
            reader.start()

    def _start_lane(self, lane: Lane) -> None:
        name, bound_s = f"model {lane.model}", _LANE_BOUND_S + self.config.inference.deadline
        made = self._progress.watch(name, bound_s, self._clock.now_ns())
        spawn(name, partial(lane.run, lambda: made(self._clock.now_ns())), self._inbox)

    def apply(self, effects: Effects) -> None:
        """Do outside what a step of the core asked for; the drafts are the caller's."""
        for request in effects.requests:
            self.lanes.submit(request)
        self._drive(effects.settings)

    def _drive(self, settings: list[Setting]) -> None:
        if self._driving:
            for setting in settings:
                self.actuators[setting.actuator].drive(setting.value)

    # --- another model --------------------------------------------------------------------------------

    def engine_beside(self, key: str, bundle: Bundle) -> Engine:
        """Another engine for a model, not started; apart from the one that serves, if that can be."""
        return self._make_engine(key, bundle, apart=True)

    def switch(self, key: str, bundle: Bundle, engine: Engine) -> Future[None]:
        """Let another bundle serve for a model from the next request on; done when it does."""
        plan = compose.model_plan(self.config, key, bundle)
        self.models[key] = bundle
        self.core.swap(plan)
        return self.lanes.by_model[key].switch(Serving(engine, plan))

    def recalibrate(self, key: str, bundle: Bundle) -> None:
        """Let another threshold hold for a model that goes on serving."""
        plan = compose.model_plan(self.config, key, bundle)
        self.models[key] = bundle
        self.core.swap(plan)
        self.lanes.by_model[key].replan(plan)

    # --- the end --------------------------------------------------------------------------------------

    def release(self, why: str) -> None:
        """Every output to its safe value; whatever the core still decides drives nothing any more."""
        self._drive(self.core.all_safe(why))
        self._driving = False

    def stop_readers(self) -> None:
        """Stop reading, and wait a moment until the devices are let go: on the way out they are told of the outputs."""
        readers, self.readers = self.readers, {}
        for reader in readers.values():
            reader.stop()
        join_all([reader.thread for reader in readers.values() if reader.thread is not None], _STOP_S)

    def hand_over(self, successor: Parts) -> None:
        """For a reload: outputs safe, and everything ends that the successor has not taken over. Waits for nothing."""
        self.release("reload")
        for port, reader in self.readers.items():
            if successor.readers.get(port) is not reader:
                reader.stop(handed_on=successor.devices.values())
        self.readers = {}
        self.close()

    def close(self) -> None:
        """End the models, and let go of the outputs."""
        for key, lane in self.lanes.by_model.items():
            self._progress.forget(f"model {key}")
            lane.stop()
        for actuator in self.actuators.values():
            actuator.close()

    # --- what there is to say -------------------------------------------------------------------------

    @property
    def settled(self) -> bool:
        """Every model has been tried once: before that, nothing is known."""
        return all(lane.started for lane in self.lanes.by_model.values())

    @property
    def spent_bytes(self) -> int:
        """What of the sampling budget is spent."""
        return int(self.core.sampling_counters()["spent_bytes"])

    def status(self) -> dict[str, Any]:
        """Sensors, pipelines, models, rules and outputs as they stand."""
        counts = self.core.counts
        return {
            "sensors": {name: self._sensor_status(name, device) for name, device in self.devices.items()},
            "pipelines": {name: self._pipeline_status(name) for name in self.config.pipelines},
            "models": {key: lane.status() for key, lane in self.lanes.by_model.items()},
            "rules": self.core.rule_status(),
            "actuators": {name: actuator.state() for name, actuator in self.actuators.items()},
            "values": self.core.values(),
            "sampling": self.core.sampling_counters(),
            "counts": counts.as_dict(self._clock.speed),
        }

    def _sensor_status(self, name: str, device: Device) -> dict[str, Any]:
        return device.status() | {
            "unfit": self.core.unfit.get(name, ""),
            "filtered": self.core.filtered(name),
        }

    def _pipeline_status(self, name: str) -> dict[str, Any]:
        counts, last = self.core.counts, self.core.counts.last.get(name)
        return {
            "windows": counts.windows[name],
            "unpredicted": counts.windows_unpredicted[name],
            "causes": dict(counts.skipped.get(name, {})),
            "unfit": self.core.unfit.get(name, ""),
            "label": last.label if last else None,
            "score": last.score if last else None,
            "skipped": last.skipped if last else None,
            "values": {one.name: one.value for one in last.values} if last else {},
            "anomaly": last.anomaly if last else None,
            "scores": last.top or dict(zip(self._names(name), last.scores, strict=False)) if last else {},
            "truth": counts.last_truth.get(name),
        }

    def _names(self, pipeline: str) -> tuple[str, ...]:
        model = self.config.pipelines[pipeline].model
        return self.models[model].task.names if model is not None else ()


def _unchanged(config: Config, previous: Parts | None) -> dict[str, Device]:
    """The devices of sensors of which the config says what it said before; the filters are the core's."""
    if previous is None:
        return {}
    before = previous.config.sensors
    return {
        name: previous.devices[name]
        for name, entry in config.sensors.items()
        if name in before and before[name].part == entry.part
    }

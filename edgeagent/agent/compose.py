"""From a config to parts: what each name in the YAML stands for. Nothing here opens a device or starts a thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from edgeagent.actuators import Actuator, Limited
from edgeagent.actuators.guard import Guard
from edgeagent.agent.fit import load_model
from edgeagent.agent.schedule import Terms
from edgeagent.agent.state import state_folder
from edgeagent.agent.swaps import Swaps
from edgeagent.config.parts import find
from edgeagent.config.schema import Config, Pipeline
from edgeagent.counts import Counts
from edgeagent.decisions import capture
from edgeagent.decisions.rules import Rules
from edgeagent.inference import Engine
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.calibration import calibrated, calibration_folder
from edgeagent.inference.choices import spoken
from edgeagent.inference.threads import Pins, Threads
from edgeagent.pipeline import BURST_NS, Core, ModelPlan, PipelinePlan, Truth
from edgeagent.records import NS_PER_S
from edgeagent.sampling.report import Report
from edgeagent.sampling.sampler import Sampler
from edgeagent.sensors import Context, Sensor
from edgeagent.timebase import Clock


def bundles(config: Config, config_path: Path, swaps: Swaps | None = None) -> dict[str, Bundle]:
    """Every model's bundle, by the model's key: the config's, or what was swapped in for it. Raises BundleFault."""
    own = {key: load_model(model, config, config_path) for key, model in config.models.items()}
    if swaps is None:
        return own
    folder = calibration_folder(state_folder(config.state))
    return {key: calibrated(bundle, folder) for key, bundle in swaps.serving(config, own).items()}


def sensors(config: Config, context: Context) -> dict[str, Sensor]:
    """Every sensor, unopened."""
    return {
        name: find("sensors", entry.part.file).build(name, entry.part.options, context)
        for name, entry in config.sensors.items()
    }


def actuators(config: Config, built: Mapping[str, Sensor]) -> dict[str, Actuator]:
    """Every output; one that hangs on a sensor's port (the bridge) finds it in `built`."""
    outputs: dict[str, Actuator] = {}
    for name, entry in config.actuators.items():
        output = find("actuators", entry.part.file).build(name, entry.part.options, built)
        if entry.max_on is not None and isinstance(output, Limited):
            output.limit(entry.max_on)
        outputs[name] = output
    return outputs


class MakeEngine(Protocol):
    """Makes the engine of the config's model `key`, not started; `apart`: not among the others, if that can be."""

    def __call__(self, key: str, bundle: Bundle, *, apart: bool = False) -> Engine: ...


def engine_maker(config: Config, clock: Clock) -> MakeEngine:
    """For engines that share child processes, or (`isolation: inline`) run in this one."""
    settings = config.inference
    pins = Pins(state_folder(config.state) / "threads.json")
    if settings.isolation == "inline":
        from edgeagent.inference.inline import Inline

        def inline(key: str, bundle: Bundle, *, apart: bool = False) -> Engine:
            del apart
            return Inline(bundle, config.models[key].accelerator, clock, _threads(config, key), pins)

        return inline
    from edgeagent.inference.supervisor import Supervisor, Workers

    workers = Workers()

    def supervised(key: str, bundle: Bundle, *, apart: bool = False) -> Engine:
        return Supervisor(
            bundle,
            config.models[key].accelerator,
            clock,
            deadline_s=settings.deadline,
            threads=_threads(config, key),
            memory_bytes=settings.memory,
            workers=workers,
            pins=pins,
            apart=apart,
        )

    return supervised


def _threads(config: Config, key: str) -> Threads:
    own = config.models[key].threads
    return config.inference.threads if own is None else own


def core(
    config: Config,
    models: Mapping[str, Bundle],
    truths: Mapping[str, Truth],
    run: str,
    counts: Counts | None = None,
    spent_bytes: int = 0,
) -> Core:
    """The pipelines, rules, sampling and guard of a config, with nothing in them yet.

    A rule that was active before a reload is not so any more: its outputs went safe, and it has to find anew that
    they must not be.
    """
    plans = [_plan(config, name, pipeline, models) for name, pipeline in config.pipelines.items()]
    sources = {p.name: p.sensors for p in plans} | {s: (s,) for s in config.sensors}
    constants = {"device.id": config.device.id}
    constants |= {f"device.{key}": value for key, value in config.device.labels.items()}
    return Core(
        plans,
        Rules(config.rules, sources, constants),
        Sampler(config.sampling, f"{config.device.id}/{run}", spent_bytes),
        Guard(config.actuators),
        _longest_capture_s(config),
        truths,
        {name: entry.condition for name, entry in config.sensors.items()},
        counts,
    )


def _plan(config: Config, name: str, pipeline: Pipeline, models: Mapping[str, Bundle]) -> PipelinePlan:
    report = Report(pipeline.report)
    if pipeline.model is None:
        length_s = pipeline.window.length or 0.0
        hop_s = pipeline.window.hop or length_s
        return PipelinePlan(name, pipeline.inputs, None, length_s, hop_s, report, None)
    bundle = models[pipeline.model]
    hop_s = pipeline.window.hop or bundle.hop_s
    model = model_plan(config, pipeline.model, bundle)
    return PipelinePlan(
        name, pipeline.inputs, bundle.layout, bundle.window_s, hop_s, report, model, pipeline.max_rate
    )


def model_plan(config: Config, key: str, bundle: Bundle) -> ModelPlan:
    """What the core must know of a model whose bundle this is."""
    return ModelPlan(
        key=key,
        name=bundle.name,
        version=bundle.version,
        sha256={variant.name: variant.sha256 for variant in bundle.variants},
        requested=spoken(config.models[key].accelerator),
        read=bundle.task.read,
        max_missing=bundle.max_missing,
    )


def terms(config: Config, models: Mapping[str, Bundle]) -> dict[str, Terms]:
    """What each pipeline with a model may ask of it. Samples come in bursts: no window is late before the next one."""
    found = {}
    for name, pipeline in config.pipelines.items():
        if pipeline.model is not None:
            hop_s = pipeline.window.hop or models[pipeline.model].hop_s
            default_ns = max(round(hop_s * NS_PER_S), BURST_NS)
            deadline_ns = default_ns if pipeline.deadline is None else round(pipeline.deadline * NS_PER_S)
            found[name] = Terms(pipeline.priority, deadline_ns)
    return found


def _longest_capture_s(config: Config) -> float:
    options = [part.options for rule in config.rules.values() for part in rule.do if part.file == "capture"]
    return max((o.before + o.after for o in options if isinstance(o, capture.Options)), default=0.0)

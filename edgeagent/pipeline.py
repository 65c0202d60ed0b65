"""A block's way to the outbox, as a sentence. Synchronous, no I/O, and every step is told what time it is.

    block -> filters -> ring -> windows -> request ... arrival -> prediction -> rules -> drives, samples, records

The agent's loop, a replay and a test call the same four steps (`layout`, `block`, `arrival`, `tick`); what
they want done outside comes back as `Effects`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from edgeagent.actuators.guard import Guard, Setting
from edgeagent.conditioning.chain import Conditioner, Conditions
from edgeagent.counts import Counts
from edgeagent.decisions import Capture, Drive, Event, Fact
from edgeagent.decisions.rules import Outcome, Rules
from edgeagent.errors import ConfigFault
from edgeagent.joined import JoinedWindows, join, keep_s, sensors_of
from edgeagent.records import (
    NS_PER_S,
    Block,
    Draft,
    Float32Array,
    Layout,
    Prediction,
    Priority,
    Reading,
    Skipped,
    Window,
    facts,
)
from edgeagent.sampling.captures import Captures, Pending, raw_bodies, sent_bytes
from edgeagent.sampling.report import Report
from edgeagent.sampling.sampler import Sampler
from edgeagent.windows import Ring, Windows, fit

BURST_NS = NS_PER_S // 4  # a fast sensor's samples come in bursts: this is the shortest period of a fact
_GAP_EVERY_NS = 10 * NS_PER_S  # losses are summed up this long before they become a gap record
_GAP_REASONS = 5

Truth = Callable[[int, int], str | None]


class ModelPlan(NamedTuple):
    """What the core must know of a model; the bundle and the worker know the rest.

    `sha256` has each variant's, by the variant's name; `read` says what the scores mean.
    """

    key: str
    name: str
    version: str
    sha256: Mapping[str, str]
    requested: str
    read: Callable[[Sequence[float]], Reading]
    max_missing: float


class PipelinePlan(NamedTuple):
    """One pipeline, ready to run; `wanted` is None where no model says which channels and rate it wants."""

    name: str
    inputs: tuple[str, ...]
    wanted: Layout | None
    length_s: float
    hop_s: float
    report: Report
    model: ModelPlan | None
    max_rate_hz: float | None = None

    @property
    def sensors(self) -> tuple[str, ...]:
        return sensors_of(self.inputs)

    @property
    def period_s(self) -> float:
        """How far apart its predictions are."""
        return self.hop_s if self.max_rate_hz is None else max(self.hop_s, 1 / self.max_rate_hz)

    @property
    def keep_s(self) -> float:
        """How far back the rings of its sensors must reach."""
        return self.length_s if _is_one_sensor(self.inputs) else keep_s(self.length_s)


class Request(NamedTuple):
    """Run this model on float32[n, channels], or on pictures; exactly one `Arrival` answers it."""

    model: str
    pipeline: str
    window_seq: int
    values: Float32Array
    pictures: tuple[bytes, ...] = ()


class Arrival(NamedTuple):
    """A model's scores, or (`skipped`) why there are none; `model` is the one that gave them, if not the plan's.

    `why` it is this variant, on this accelerator, where that is not the first for what was asked.
    """

    pipeline: str
    window_seq: int
    scores: tuple[float, ...] = ()
    variant: str = ""
    accelerator: str = ""
    skipped: Skipped | None = None
    error: str = ""
    model: ModelPlan | None = None
    why: str = ""


class Effects(NamedTuple):
    """What a step wants done outside the core."""

    requests: list[Request]
    settings: list[Setting]
    drafts: list[Draft]


class _Gap:
    """The samples that a sensor lost since a time, and the first reasons that were given."""

    def __init__(self, since_ns: int) -> None:
        self.since_ns = since_ns
        self.lost = 0
        self.reasons: list[str] = []

    def add(self, lost: int, reasons: tuple[str, ...]) -> None:
        self.lost += lost
        self.reasons = list(dict.fromkeys([*self.reasons, *reasons]))[:_GAP_REASONS]


class Core:
    """The state between a block and the outbox.

    Args:
        pipelines: What to cut and to ask.
        rules, sampler, guard: The decisions, what raw data to keep, and the outputs.
        capture_s: The longest `before` + `after` of any capture: how far back the rings reach.
        truths: By sensor, what really happened between two times, where a fake knows it.
        conditions: By sensor, the filters that its blocks pass first of all.
        counts: Those of the core before a reload, to go on from.
    """

    def __init__(
        self,
        pipelines: list[PipelinePlan],
        rules: Rules,
        sampler: Sampler,
        guard: Guard,
        capture_s: float,
        truths: Mapping[str, Truth],
        conditions: Mapping[str, Conditions],
        counts: Counts | None = None,
    ) -> None:
        self._pipelines = {p.name: p for p in pipelines}
        self._rules, self._sampler, self._guard = rules, sampler, guard
        self._capture_s, self._truths = capture_s, truths
        self._conditions = conditions
        self._conditioners: dict[str, Conditioner] = {}
        self._rings: dict[str, Ring] = {}
        self._windows: dict[str, Windows | JoinedWindows] = {}
        self._waiting: dict[tuple[str, int], Window] = {}
        self._next_ns: dict[str, int] = {}  # by pipeline: the end of the next window that `max_rate` allows
        self._facts: dict[str, Fact] = {}
        self._captures = Captures()
        self._gaps: dict[str, _Gap] = {}
        self.unfit: dict[str, str] = {}
        """Why a sensor or a pipeline stands still: what was announced does not serve its filters, or its model."""
        self.counts = counts or Counts()

    # --- the four steps -------------------------------------------------------------------------------

    def layout(self, sensor: str, layout: Layout, now_ns: int) -> Effects:
        """A sensor says what its blocks hold; a change starts its ring and its windows anew."""
        del now_ns
        before = self._conditioners.pop(sensor, None)
        if before is not None and before.given == layout:
            self._conditioners[sensor] = before
            return Effects([], [], [])
        self.unfit.pop(sensor, None)
        try:
            conditioner = self._conditioners[sensor] = Conditioner(self._conditions.get(sensor, {}), layout)
        except ConfigFault as fault:
            self.unfit[sensor] = f"what {sensor} gives does not fit its filters: {fault}"
            self._rings.pop(sensor, None)
            for plan in self._served_by(sensor):
                self._windows.pop(plan.name, None)
        else:
            self._begin(sensor, conditioner.layout)
        return Effects([], [], [])

    def _begin(self, sensor: str, layout: Layout) -> None:
        """A new ring, and new windows on it."""
        served = self._served_by(sensor)
        self._rings[sensor] = Ring(layout, max([self._capture_s, *(p.keep_s for p in served)]))
        for plan in served:
            if all(one in self._rings for one in plan.sensors):
                self._serve(plan)

    def _served_by(self, sensor: str) -> list[PipelinePlan]:
        return [plan for plan in self._pipelines.values() if sensor in plan.sensors]

    def _serve(self, plan: PipelinePlan) -> None:
        """Begin to cut a pipeline's windows; `check` cannot know what a board says of itself only when it is there."""
        self._windows.pop(plan.name, None)
        self.unfit.pop(plan.name, None)
        try:
            self._windows[plan.name] = _windows(plan, self._rings, self.counts.windows[plan.name])
        except ConfigFault as fault:
            self.unfit[plan.name] = f"{' with '.join(plan.inputs)} does not fit its model: {fault}"

    def block(self, block: Block, now_ns: int) -> Effects:
        """Samples arrived: lay them down, cut windows, ask the models, let the rules see the new values."""
        effects = Effects([], [], [])
        conditioner = self._conditioners.get(block.sensor)
        if conditioner is None:  # unfit; or on its way while a reload let go of its sensor
            return effects
        block, ring = conditioner.block(block), self._rings[block.sensor]
        missing = ring.add(block)
        self.counts.samples_seen(block.sensor, len(block.values), missing)
        if missing:
            self._gaps.setdefault(block.sensor, _Gap(now_ns)).add(missing, block.reasons)
        self._see_values(block, ring.layout)
        for plan in self._served_by(block.sensor):
            if plan.name in self._windows:
                self._cut(plan, block.t_read_ns, now_ns, effects)
        self._decide(now_ns, effects)
        effects.drafts.extend(self._captures.due(self._rings, now_ns))
        return effects

    def arrival(self, arrival: Arrival, now_ns: int) -> Effects:
        """A model answered: make the prediction, decide, keep what is worth keeping."""
        effects = Effects([], [], [])
        window = self._waiting.pop((arrival.pipeline, arrival.window_seq), None)
        if window is not None:  # None: asked before a reload
            self._predict(self._pipelines[arrival.pipeline], window, arrival, now_ns, effects)
            self._decide(now_ns, effects)
        return effects

    def tick(self, now_ns: int) -> Effects:
        """Time passed: `for:` and `max_on` run out, inputs grow stale, captures and gap records fall due."""
        effects = Effects([], [], [])
        self._decide(now_ns, effects)
        for setting in self._guard.due(now_ns):
            self._set(setting, now_ns, effects)
        effects.drafts.extend(self._captures.due(self._rings, now_ns))
        effects.drafts.extend(self._gap_drafts(now_ns))
        return effects

    def swap(self, model: ModelPlan) -> None:
        """Another bundle serves for a model; answers of the old one that are still on their way say so themselves."""
        for name, plan in self._pipelines.items():
            if plan.model is not None and plan.model.key == model.key:
                self._pipelines[name] = plan._replace(model=model)

    def all_safe(self, why: str) -> list[Setting]:
        """Every output to its safe value: for the start, the stop and a reload."""
        return self._guard.all_safe(why)

    def end(self, now_ns: int) -> list[Draft]:
        """What is under way, as far as it came: for a stop or a reload."""
        for p, _ in self._waiting:
            self.counts.unpredicted(p, "ended")
        self._waiting.clear()
        drafts = self._captures.due(self._rings, now_ns, ending=True)
        return drafts + self._gap_drafts(now_ns, ending=True)

    @property
    def waiting(self) -> int:
        """Requests without an answer yet."""
        return len(self._waiting)

    def layouts(self) -> dict[str, Layout]:
        """What the sensors have announced so far."""
        return {sensor: conditioner.given for sensor, conditioner in self._conditioners.items()}

    def filtered(self, sensor: str) -> dict[str, int]:
        """How many of a sensor's readings its filters made missing, by the reason."""
        conditioner = self._conditioners.get(sensor)
        return dict(conditioner.missing) if conditioner is not None else {}

    def values(self) -> dict[str, float | str | bool]:
        """What the rules see now: `sensor.channel` and `pipeline.label`, newest values."""
        return {name: fact.value for name, fact in self._facts.items()}

    def rule_status(self) -> dict[str, dict[str, object]]:
        rules = self._rules.status()
        return {rule: state | {"said": self.counts.said.get(rule, "")} for rule, state in rules.items()}

    def sampling_counters(self) -> dict[str, int | float]:
        return self._sampler.counters()

    # --- from samples to a request --------------------------------------------------------------------

    def _see_values(self, block: Block, layout: Layout) -> None:
        """Each channel's newest valid value becomes a fact for the rules."""
        period_ns = max(round(NS_PER_S / layout.rate_hz), BURST_NS)
        for i, channel in enumerate(layout.channels):
            valid = np.flatnonzero(~np.isnan(block.values[:, i]))
            if len(valid):
                at = int(valid[-1])
                value = float(block.values[at, i])
                self._facts[f"{block.sensor}.{channel.name}"] = Fact(
                    value, int(block.t_mono_ns[at]), period_ns
                )

    def _cut(self, plan: PipelinePlan, t_read_ns: int, now_ns: int, effects: Effects) -> None:
        windows = self._windows[plan.name]
        swallowed_before = windows.overrun
        for window in windows.cut(t_read_ns):
            if plan.model is None:
                raw_only = _prediction(plan, window, Arrival(plan.name, window.seq), now_ns)
                effects.drafts.extend(self._sample(plan, window, raw_only, now_ns))
            elif self._is_too_soon(plan, window):
                self.counts.unpredicted(plan.name, "max_rate")
            elif window.missing_fraction > plan.model.max_missing:
                skipped = Arrival(plan.name, window.seq, skipped="missing")
                self._predict(plan, window, skipped, now_ns, effects)
            else:
                self._waiting[plan.name, window.seq] = window
                effects.requests.append(
                    Request(plan.model.key, plan.name, window.seq, window.values, window.pictures)
                )
        self.counts.windows[plan.name] = windows.closed
        if swallowed := windows.overrun - swallowed_before:
            self.counts.unpredicted(plan.name, "overrun", swallowed)

    def _is_too_soon(self, plan: PipelinePlan, window: Window) -> bool:
        """Whether `max_rate` passes the window over. A window that is half a hop early counts as on time."""
        if plan.max_rate_hz is None:
            return False
        due_ns = self._next_ns.get(plan.name, window.t_end_ns)
        if window.t_end_ns < due_ns - plan.hop_s * NS_PER_S / 2:
            return True
        self._next_ns[plan.name] = max(due_ns, window.t_end_ns) + round(NS_PER_S / plan.max_rate_hz)
        return False

    # --- from an answer to records --------------------------------------------------------------------

    def _predict(
        self, plan: PipelinePlan, window: Window, arrival: Arrival, now_ns: int, effects: Effects
    ) -> None:
        prediction = _prediction(plan, window, arrival, now_ns)
        truth = next((self._truths[sensor] for sensor in plan.sensors if sensor in self._truths), None)
        self.counts.predicted(prediction, truth(window.t_start_ns, window.t_end_ns) if truth else None)
        if prediction.skipped is None:
            self._learn(prediction, plan)
        if plan.report.wants(prediction):
            body = msgspec.to_builtins(prediction)
            if arrival.error:
                body["error"] = arrival.error
            effects.drafts.append(Draft("prediction", now_ns, Priority.PREDICTION, body))
        effects.drafts.extend(self._sample(plan, window, prediction, now_ns))

    def _learn(self, prediction: Prediction, plan: PipelinePlan) -> None:
        """The rules see the prediction as `pipeline.label`, `.score`, `.value` ..."""
        period_ns = max(round(plan.period_s * NS_PER_S), BURST_NS)
        for name, value in facts(prediction).items():
            self._facts[f"{plan.name}.{name}"] = Fact(value, prediction.t_end_ns, period_ns)

    def _sample(self, plan: PipelinePlan, window: Window, prediction: Prediction, now_ns: int) -> list[Draft]:
        """The window's raw data, if a policy wants it: a record a sensor, on its own slots, not as the model saw it.

        Of a camera it is a record a picture.
        """
        kept = self._sampler.draw(prediction)
        if kept is None:
            return []
        rings = {sensor: self._rings[sensor] for sensor in plan.sensors}
        raws = [
            raw
            for sensor, ring in rings.items()
            for raw in raw_bodies(sensor, ring, window.t_start_ns, _last_ns(window, ring))
        ]
        if not self._sampler.spend(kept, sent_bytes(raws), now_ns):
            return []
        body: dict[str, Any] = {
            "pipeline": plan.name,
            "reason": kept.policy,
            "probability": kept.probability,
            "prediction": msgspec.to_builtins(prediction),
        }
        return [Draft("sample", now_ns, kept.priority, body | raw) for raw in raws]

    def _gap_drafts(self, now_ns: int, *, ending: bool = False) -> list[Draft]:
        drafts = []
        for sensor, gap in list(self._gaps.items()):
            if ending or now_ns - gap.since_ns >= _GAP_EVERY_NS:
                del self._gaps[sensor]
                body = {"type": "samples", "sensor": sensor, "lost": gap.lost, "since_mono_ns": gap.since_ns}
                drafts.append(Draft("gap", now_ns, Priority.EVENT, body | {"reasons": gap.reasons}))
        return drafts

    # --- decisions ------------------------------------------------------------------------------------

    def _decide(self, now_ns: int, effects: Effects) -> None:
        for outcome in self._rules.step(self._facts, now_ns):
            self._act(outcome, now_ns, effects)
        for rule in self._rules.unknown():
            for setting in self._guard.lost_input(rule):
                self._set(setting, now_ns, effects)

    def _act(self, outcome: Outcome, now_ns: int, effects: Effects) -> None:
        decision = outcome.decision
        body = {"type": "decision", **msgspec.to_builtins(decision)}
        effects.drafts.append(Draft("event", now_ns, Priority.EVENT, body))
        self.counts.rules_fired[decision.rule] += decision.state == "active"
        for effect in outcome.effects:
            match effect:
                case Event(rule, severity, message):
                    self.counts.said[rule] = message
                    body = {"type": "alert", "rule": rule, "severity": severity, "message": message}
                    effects.drafts.append(Draft("event", now_ns, Priority.EVENT, body))
                case Drive(actuator, value, rule):
                    self._set(self._guard.ask(actuator, value, rule, now_ns), now_ns, effects)
                case Capture(rule, sensors, t_ns, before_ns, after_ns):
                    self._captures.add(Pending(rule, sensors, t_ns - before_ns, t_ns + after_ns))

    def _set(self, setting: Setting, now_ns: int, effects: Effects) -> None:
        effects.settings.append(setting)
        body = {"type": "output", **setting._asdict()}
        effects.drafts.append(Draft("event", now_ns, Priority.EVENT, body))


def _last_ns(window: Window, ring: Ring) -> int:
    """The end of what a window is made of; a picture that came early is the next one's."""
    return window.t_end_ns - (round(ring.period_ns) if ring.layout.pictures else 1)


def _is_one_sensor(inputs: tuple[str, ...]) -> bool:
    """Whether its windows lie on one sensor's own slots, without resampling."""
    return len(inputs) == 1 and "." not in inputs[0]


def fit_inputs(
    inputs: tuple[str, ...], layouts: Mapping[str, Layout], wanted: Layout | None, length_s: float
) -> None:
    """Raises ConfigFault if what the sensors give does not serve a model, or (None) windows without one."""
    if not _is_one_sensor(inputs):
        join(inputs, layouts, wanted, length_s)
    elif wanted is not None:
        fit(layouts[inputs[0]], wanted, length_s)


def _windows(plan: PipelinePlan, rings: Mapping[str, Ring], closed: int) -> Windows | JoinedWindows:
    """A pipeline's windows from now on. Raises ConfigFault."""
    if _is_one_sensor(plan.inputs):
        ring = rings[plan.inputs[0]]
        return Windows(plan.name, ring, plan.wanted or ring.layout, plan.length_s, plan.hop_s, closed)
    layouts = {sensor: rings[sensor].layout for sensor in plan.sensors}
    joining = join(plan.inputs, layouts, plan.wanted, plan.length_s)
    return JoinedWindows(plan.name, rings, joining, plan.length_s, plan.hop_s, closed)


_NO_MODEL = ModelPlan("", "", "", {}, "", lambda _: Reading(), 1.0)


def _prediction(plan: PipelinePlan, window: Window, arrival: Arrival, now_ns: int) -> Prediction:
    model = arrival.model or plan.model or _NO_MODEL
    reading = model.read(arrival.scores) if arrival.scores else Reading()
    return Prediction(
        pipeline=plan.name,
        window_seq=window.seq,
        t_start_ns=window.t_start_ns,
        t_end_ns=window.t_end_ns,
        model=model.name,
        version=model.version,
        sha256=model.sha256.get(arrival.variant, ""),
        variant=arrival.variant,
        accelerator=arrival.accelerator,
        requested=model.requested,
        latency_ns=now_ns - window.t_read_ns,
        skipped=arrival.skipped,
        why=arrival.why,
        **msgspec.structs.asdict(reading),
    )

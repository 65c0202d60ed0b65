"""Do the parts fit together? What `check` finds beyond the YAML itself. Opens no device and starts no runtime."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import msgspec

from edgeagent.agent import wiring
from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.state import state_folder
from edgeagent.buses import Buses
from edgeagent.conditioning import chain as conditioning
from edgeagent.conditioning.chain import Conditioner, Conditions
from edgeagent.config import load as config
from edgeagent.config import parts, schema
from edgeagent.config.findings import Finding, Report, dotted, listed, nearest
from edgeagent.config.findings import Path as KeyPath
from edgeagent.config.load import Loaded
from edgeagent.decisions import Known
from edgeagent.decisions.check import check_rule, labels_asked
from edgeagent.errors import BundleFault, ConfigFault, Fault
from edgeagent.inference.bundle import Bundle, find_bundle, load_bundle, own_bundles
from edgeagent.inference.calibration import calibrated, calibration_folder
from edgeagent.inference.choices import choices_for
from edgeagent.joined import sensors_of
from edgeagent.pipeline import fit_inputs
from edgeagent.records import Layout
from edgeagent.sampling import report as reports
from edgeagent.sensors import Context
from edgeagent.units import meant


def check(path: Path) -> Loaded:
    """Load a config and fit its parts: all findings in file order, `config` None if there is a fault."""
    loaded = config.load(path)
    findings = sorted([*loaded.findings, *fit(loaded)], key=lambda f: (f.line, f.column))
    sound = all(finding.severity == "warning" for finding in findings)
    return msgspec.structs.replace(loaded, findings=findings, config=loaded.config if sound else None)


def fit(loaded: Loaded) -> list[Finding]:
    """What does not fit, over what could be read of the file."""
    return _Fitting(loaded, loaded.draft).run() if loaded.draft is not None else []


def bundle_places(draft: schema.Config, path: Path) -> list[Path]:
    """Where the bundles of a config are sought, in order; `path` is the config's own."""
    beside = path.absolute().parent / "models"
    chosen = [draft.models_dir] if draft.models_dir is not None else []
    return [*chosen, beside, state_folder(draft.state) / "models", own_bundles()]


def load_model(model: schema.Model, draft: schema.Config, path: Path) -> Bundle:
    """The bundle that a model names, as it was calibrated on this device; a relative path is relative to the config.

    Raises BundleFault, or ConfigFault if no variant of it runs on the accelerator.
    """
    name = model.bundle
    if "/" in name:
        name = str(path.absolute().parent / Path(name).expanduser())
    bundle = load_bundle(find_bundle(name, places=bundle_places(draft, path)))
    choices_for(bundle, model.accelerator)
    return calibrated(bundle, calibration_folder(state_folder(draft.state)))


class _Fitting:
    """The checks of one config. A part that could not be read is there by name, and nothing is said of it twice."""

    def __init__(self, loaded: Loaded, draft: schema.Config) -> None:
        self._path, self._marks, self._draft = loaded.path, loaded.marks, draft
        self._report = Report(str(loaded.path))
        self._layouts: dict[str, Layout] = {}
        self._bundles: dict[str, Bundle] = {}

    def run(self) -> list[Finding]:
        if not self._names("sensors"):
            self._report.warn(
                self._marks.key(("sensors",)), "there is no sensor", expected="sensors: {NAME: ...}"
            )
        self._drivers()
        for name, clash in wiring.clashes(self._draft.sensors):
            self._fault(("sensors", name), clash)
        for name, model in self._draft.models.items():
            self._model(name, model)
        for name, pipeline in self._draft.pipelines.items():
            self._pipeline(name, pipeline)
        for name, actuator in self._draft.actuators.items():
            self._actuator(name, actuator)
        for name, rule in self._draft.rules.items():
            self._rule(name, rule)
        return self._report.findings

    def _names(self, section: str) -> list[str]:
        """All that the file declares, whether it could be read or not."""
        return [str(path[-1]) for path in self._marks.under((section,))]

    # --- parts, each by itself ------------------------------------------------------------------------

    def _drivers(self) -> None:
        for name, entry in self._draft.sensors.items():
            module = self._advised("sensors", entry.part, ("sensors", name))
            self._address(name, entry.part)
            try:
                layout = module.layout(entry.part.options)
            except Fault as fault:
                self._fault(("sensors", name), fault)
            else:
                self._fake(name, entry.part, module)
                if layout is not None:
                    self._units(name, layout)
                    self._condition(name, entry.condition, layout)
        for name, actuator in self._draft.actuators.items():
            self._advised("actuators", actuator.part, ("actuators", name))
        for name, sink in self._draft.upstream.items():
            self._advised("upstream", sink.part, ("upstream", name, sink.part.file))

    def _units(self, name: str, layout: Layout) -> None:
        """A unit may be any word; one that is misspelt is a unit that filters and bundles can make nothing of."""
        at = ("sensors", name)
        for channel in layout.channels:
            if instead := meant(channel.unit):
                text = f"{dotted(at)}: {channel.name} is in {channel.unit!r}. Did you mean {instead!r}?"
                self._report.warn(self._marks.at(at), text)

    def _condition(self, name: str, conditions: Conditions, given: Layout) -> None:
        """What the rest of the config sees of a sensor is what its filters make of it."""
        faults = list(conditioning.faults(conditions, given))
        for path, fault in faults:
            self._fault(("sensors", name, "condition", *path), fault)
        if not faults:
            self._layouts[name] = Conditioner(conditions, given).layout

    def _address(self, name: str, part: schema.Part) -> None:
        at = ("sensors", name, "address")
        if at in self._marks and (text := wiring.advice_on_address(part.file, part.options.address)):
            self._report.warn(self._marks.at(at), f"{dotted(at)}: {text}")

    def _fake(self, name: str, part: schema.Part, module: ModuleType) -> None:
        """A fake is made as at the start of the agent, for its own faults; nothing is opened."""
        at, clock = wiring.fake_at(part.options), VirtualClock()
        if at is None:
            return
        try:
            module.build(name, part.options, Context(clock, Buses(clock)))
        except Fault as fault:
            path = ("sensors", name)
            of_its_own = (*path, "fake", fault.where) in self._marks
            self._fault((*path, "fake" if of_its_own else at), fault)

    def _advised(self, folder: str, part: schema.Part, path: KeyPath) -> ModuleType:
        """The part's module, after its `advise` has been heard."""
        module = parts.find(folder, part.file)
        advise = getattr(module, "advise", None)
        for advice in advise(part.options) if advise else ():
            at = (*path, advice.key)
            self._report.warn(self._marks.at(at), f"{dotted(at)}: {advice.text}")
        return module

    def _model(self, name: str, model: schema.Model) -> None:
        try:
            self._bundles[name] = load_model(model, self._draft, self._path)
        except BundleFault as fault:
            self._fault(("models", name, "bundle"), fault)
        except ConfigFault as fault:
            self._fault(("models", name, "accelerator"), fault)

    # --- parts with one another -----------------------------------------------------------------------

    def _pipeline(self, name: str, pipeline: schema.Pipeline) -> None:
        path = ("pipelines", name)
        self._inputs(pipeline, (*path, "input"))
        if pipeline.model is not None:
            self._named(pipeline.model, self._names("models"), "model", (*path, "model"))
        elif (*path, "model") not in self._marks and (*path, "window", "length") not in self._marks:
            expected = "window: {length: 2 s}, or a model that has one"
            self._fault((*path, "window"), ConfigFault("the length is missing", expected=expected))
        for key in ("length", "hop"):
            if getattr(pipeline.window, key) == 0:
                self._fault((*path, "window", key), ConfigFault("no time at all", expected="more than 0 s"))
        try:
            reports.Report(pipeline.report)
        except ConfigFault as fault:
            self._fault((*path, "report"), fault)
        bundle = self._bundles.get(pipeline.model or "")
        if bundle is not None:
            self._bundle(bundle, pipeline, path)
            if bundle.is_stateful:
                self._in_a_row(bundle, pipeline, path)
            whose = f"{bundle.name} {bundle.version}"
            self._serves(pipeline, bundle.layout, bundle.window_s, whose, (*path, "input"))
        elif pipeline.model is None and pipeline.window.length:
            self._serves(pipeline, None, pipeline.window.length, "one window", (*path, "input"))

    def _inputs(self, pipeline: schema.Pipeline, path: KeyPath) -> None:
        """Each names a sensor, or a channel of one."""
        if not pipeline.inputs:
            self._fault(path, ConfigFault("no sensor at all", expected="at least one"))
        for i, name in enumerate(pipeline.inputs):
            at = path if isinstance(pipeline.input, str) else (*path, i)
            if name in pipeline.inputs[:i]:
                self._fault(at, ConfigFault(f"{name} is named twice", expected="each once"))
            self._named(name.partition(".")[0], self._names("sensors"), "sensor", at)

    def _bundle(self, bundle: Bundle, pipeline: schema.Pipeline, path: KeyPath) -> None:
        length_s = pipeline.window.length
        if length_s is not None and abs(length_s - bundle.window_s) > 1e-9:
            self._fault(
                (*path, "window", "length"),
                ConfigFault(
                    f"not the window of {bundle.name} {bundle.version}",
                    where=f"{length_s:g} s",
                    expected=f"{bundle.window_s:g} s, or no length here",
                ),
            )

    def _in_a_row(self, bundle: Bundle, pipeline: schema.Pipeline, path: KeyPath) -> None:
        """A model with a state needs each window, as far apart as in training, and its variables for one stream."""
        whose = f"{bundle.name} {bundle.version} keeps a state from window to window"
        hop_s = pipeline.window.hop
        if hop_s is not None and abs(hop_s - bundle.hop_s) > 1e-9:
            expected = f"{bundle.hop_s:g} s, or no hop here"
            self._fault((*path, "window", "hop"), ConfigFault(whose, where=f"{hop_s:g} s", expected=expected))
        if pipeline.max_rate is not None:
            self._fault((*path, "max_rate"), ConfigFault(whose, expected="no max_rate"))
        others = [name for name, other in self._draft.pipelines.items() if other.model == pipeline.model]
        if bundle.variables and path[-1] != others[0]:
            what = f"{bundle.name} {bundle.version} keeps variables, which {others[0]} has already"
            hint = "Give this pipeline an entry of its own under models:"
            self._fault((*path, "model"), ConfigFault(what, expected="one pipeline a model", hint=hint))

    def _serves(
        self, pipeline: schema.Pipeline, wanted: Layout | None, length_s: float, whose: str, path: KeyPath
    ) -> None:
        sensors = sensors_of(pipeline.inputs)
        if not sensors or not self._layouts.keys() >= {*sensors}:
            return
        try:
            fit_inputs(pipeline.inputs, self._layouts, wanted, length_s)
        except ConfigFault as fault:
            what = f"{' with '.join(pipeline.inputs)} does not fit {whose}: {fault.what}"
            self._fault(path, ConfigFault(what, expected=fault.expected, hint=fault.hint))

    def _actuator(self, name: str, actuator: schema.ActuatorEntry) -> None:
        """An actuator that hangs on a sensor hangs on one of the same driver: they share the link."""
        sensor = getattr(actuator.part.options, "sensor", None)
        if not isinstance(sensor, str):
            return
        path = ("actuators", name, "sensor")
        if not self._named(sensor, self._names("sensors"), "sensor", path):
            return
        entry = self._draft.sensors.get(sensor)
        if entry is not None and entry.part.file != actuator.part.file:
            fault = ConfigFault(
                f"{sensor} is driven by {entry.part.file}",
                expected=f"a sensor of driver: {actuator.part.file}",
            )
            self._fault(path, fault)

    def _rule(self, name: str, rule: schema.Rule) -> None:
        for path, fault in check_rule(rule, self._known(rule)):
            self._fault(("rules", name, *path), fault)
        self._labels(rule, ("rules", name, "when"))
        for i, action in enumerate(rule.do):
            if action.file == "set":
                self._levels(action.options, ("rules", name, "do", i, "set"))

    def _labels(self, rule: schema.Rule, path: KeyPath) -> None:
        """A word that the model never says: the rule would be quiet for ever. A warning, for models can be swapped."""
        for name, word in labels_asked(rule):
            pipeline = self._draft.pipelines.get(name.removesuffix(".label"))
            bundle = self._bundles.get(pipeline.model or "") if pipeline else None
            there = bundle.task.labels if bundle and name.endswith(".label") else ()
            if there and word not in there:
                what = f"{dotted(path)}: {name} is never {word!r}"
                self._report.warn(
                    self._marks.at(path), what, expected=listed(there), hint=nearest(word, there)
                )

    def _levels(self, levels: dict[str, bool | float], path: KeyPath) -> None:
        """An output is a switch or takes numbers, as its safe value shows."""
        for name, level in levels.items():
            actuator = self._draft.actuators.get(name)
            if actuator is None or isinstance(level, bool) == isinstance(actuator.safe, bool):
                continue
            is_switch = isinstance(actuator.safe, bool)
            fault = ConfigFault(
                f"{name} {'is a switch' if is_switch else 'takes numbers'}",
                expected="on or off" if is_switch else "a number",
                hint=f"An output that takes numbers has a number for `safe:` under actuators.{name}."
                if is_switch
                else "",
            )
            self._fault((*path, name), fault)

    def _known(self, rule: schema.Rule) -> Known:
        """What a rule may name. Of a part whose facts nobody knows before it runs, all that the rule names."""
        sensors, pipelines = self._names("sensors"), self._names("pipelines")
        facts = {
            f"{name}.{channel.name}" for name, layout in self._layouts.items() for channel in layout.channels
        }
        for name, pipeline in self._draft.pipelines.items():
            bundle = self._bundles.get(pipeline.model or "")
            facts |= {f"{name}.{fact}" for fact in bundle.task.facts} if bundle else set()
        unread = {name for name in pipelines if self._is_unread(name)}
        silent = {*sensors} - self._layouts.keys() | unread
        facts.update(_names_under(silent, [rule.when, *(str(action.options) for action in rule.do)]))
        return Known(
            facts=frozenset(facts),
            constants=frozenset({"device.id"}),
            sensors=frozenset(sensors),
            actuators=frozenset(self._names("actuators")),
        )

    def _is_unread(self, pipeline: str) -> bool:
        """Whether the pipeline or its model's bundle could not be read, so that nobody knows what it gives."""
        entry = self._draft.pipelines.get(pipeline)
        return entry is None or (entry.model is not None and entry.model not in self._bundles)

    # --- saying so ------------------------------------------------------------------------------------

    def _named(self, name: str, there: list[str], kind: str, path: KeyPath) -> bool:
        if name not in there:
            fault = ConfigFault(
                f"there is no {kind} {name!r}", expected=listed(there), hint=nearest(name, there)
            )
            self._fault(path, fault)
        return name in there

    def _fault(self, path: KeyPath, fault: Fault) -> None:
        """Report a fault; one that knows its key, or the column in the text (decisions/), is reported there."""
        if (*path, fault.where) in self._marks:
            path, fault = (
                (*path, fault.where),
                ConfigFault(fault.what, expected=fault.expected, hint=fault.hint),
            )
        column = re.fullmatch(r"column (\d+)", fault.where)
        if column is None:
            self._report.raised(self._marks.at(path), path, fault)
        else:
            mark = self._marks.within(path, int(column[1]))
            self._report.fault(
                mark, f"{dotted(path)}: {fault.what}", expected=fault.expected, hint=fault.hint
            )


def _names_under(parents: Iterable[str], texts: Iterable[str]) -> Iterator[str]:
    """`motor.current` for every such name in the texts whose parent is among those given."""
    for parent in parents:
        for text in texts:
            yield from re.findall(rf"\b{re.escape(parent)}\.[A-Za-z_]\w*", text)

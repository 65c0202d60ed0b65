"""A model bundle: a folder whose `bundle.yaml` says what goes into the model, what comes out, and which files it is.

The bundle owns channels, units, rate, window and scaling, so that training and serving cannot drift apart.
`load_bundle` reads the YAML and looks whether the files are there; `Variant.read` checks a file's hash each time
before a runtime sees its bytes.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node

from edgeagent.config.findings import Marks, Report
from edgeagent.config.parts import find
from edgeagent.config.quantities import Between, Fraction, Hz, Seconds, Switch
from edgeagent.config.schema import Names, Part
from edgeagent.config.walk import Walker
from edgeagent.errors import BundleFault, ConfigFault
from edgeagent.inference.formats import refuse_foreign, way_to_bundle
from edgeagent.inference.preprocess import Form
from edgeagent.inference.preprocess.chain import Chain, StepPart
from edgeagent.inference.tasks import Given, Task
from edgeagent.inference.tensors import State
from edgeagent.inference.thresholds import Calibration
from edgeagent.records import Channel, Layout

_FILE = "bundle.yaml"
_SHA256 = re.compile("[0-9a-f]{64}")
_AVAILABLE = re.compile(r"^MemAvailable: +(\d+) kB", re.MULTILINE)
_LONGEST_SIDE = 4096
_MOST_VALUES = 3 * _LONGEST_SIDE**2  # in a window; as float32 they are 200 MB
_TASKS = "inference.tasks"
PIXEL = ("red", "green", "blue")
"""The channels of a picture, in this order, each from 0 to 255."""


class ChannelKeys(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    unit: str


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """x' = (x - mean) / std, a number a channel, on what `preprocess` has made of the window."""

    mean: list[float]
    std: list[float]

    def __post_init__(self) -> None:
        if min(self.std, default=1.0) <= 0:
            raise ConfigFault("not all above 0", where="std", expected="a positive number a channel")


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """`tensors`: where a model has several inputs, which channels each takes.

    `shape`: [height, width] of the pictures that a model takes; its channels are those of a pixel: red, green, blue.
    `resize`: how a picture of another shape gets it: by its middle, by black beside it, or distorted.
    `preprocess`: what is done to a window, in this order; `scaling` comes last, and none changes nothing.
    """

    channels: list[ChannelKeys]
    rate: Hz
    window: Seconds
    hop: Seconds
    max_missing: Fraction = 0.05
    scaling: Scaling | None = None
    tensors: dict[str, list[str]] = {}
    shape: list[int] = []
    resize: Literal["crop", "letterbox", "stretch"] = "crop"
    preprocess: list[StepPart] = []

    def __post_init__(self) -> None:
        if self.shape:
            self._must_be_of_pixels()
        count = len(self.channels)
        if count == 0 or len({c.name for c in self.channels}) < count:
            raise ConfigFault("none, or one twice", where="channels", expected="each channel once")
        samples = self.window * self.rate
        if samples < 1 or not math.isclose(samples, round(samples), rel_tol=1e-6):
            raise ConfigFault(f"{samples:g} samples", where="window", expected="a whole number at this rate")
        if (values := samples * math.prod(self.shape) * count) > _MOST_VALUES:
            raise ConfigFault(f"{values:.3g} values", where="window", expected=f"at most {_MOST_VALUES}")
        if self.hop <= 0:
            raise ConfigFault("zero", where="hop", expected="more than 0 s")
        names = [c.name for c in self._made_channels()]
        unknown = {name for taken in self.tensors.values() for name in taken} - set(names)
        if unknown or not all(self.tensors.values()):
            found = ", ".join(sorted(unknown)) or "an input without a channel"
            raise ConfigFault(found, where="tensors", expected=f"some of {', '.join(names)} for each")

    def _made_channels(self) -> tuple[Channel, ...]:
        """Those that the model gets. Raises ConfigFault if `preprocess` cannot be done or `scaling` does not fit."""
        try:
            made = self.chain().form.channels
        except ConfigFault as fault:
            what = f"{fault.what}, found {fault.where}" if fault.where else fault.what
            raise ConfigFault(what, where="preprocess", expected=fault.expected, hint=fault.hint) from None
        scaling = self.scaling
        if scaling is not None and (len(scaling.mean), len(scaling.std)) != (len(made), len(made)):
            found = f"{len(scaling.mean)} means and {len(scaling.std)} stds"
            raise ConfigFault(found, where="scaling", expected=f"{len(made)} of each, one a channel")
        return made

    def chain(self) -> Chain:
        """What is done to a window, or to the pictures in it."""
        channels = self.layout.channels
        shape = (round(self.window * self.rate), *self.shape, len(channels))
        return Chain(self.preprocess, Form(shape, channels, 0.0 if self.shape else self.rate))

    @property
    def layout(self) -> Layout:
        """What a sensor must give."""
        channels = tuple(Channel(c.name, c.unit) for c in self.channels)
        return Layout(self.rate, channels, shape=tuple(self.shape))

    def _must_be_of_pixels(self) -> None:
        if len(self.shape) != 2 or not 0 < min(self.shape) <= max(self.shape) <= _LONGEST_SIDE:
            expected = f"[height, width], each from 1 to {_LONGEST_SIDE}"
            raise ConfigFault(str(self.shape), where="shape", expected=expected)
        if tuple(c.name for c in self.channels) != PIXEL:
            found = ", ".join(c.name for c in self.channels)
            raise ConfigFault(
                found, where="channels", expected=f"{', '.join(PIXEL)}, as `shape` means pictures"
            )


class StateKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What comes out at the tensor `output` goes in at `input` with the next window: `size` values, 0 at first."""

    input: str
    output: str
    size: Annotated[int, Between(1, 10_000_000)]


class VariantKeys(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    sha256: str
    accelerator: str

    def __post_init__(self) -> None:
        _refuse_path(self.file)
        refuse_foreign(self.file)
        if not _SHA256.fullmatch(self.sha256):
            raise ConfigFault(
                "not a SHA-256", where="sha256", expected="64 hex digits, as sha256sum prints them"
            )


class GoldenKeys(msgspec.Struct, frozen=True, kw_only=True):
    file: str
    tolerance: Annotated[float, Between(0.0, math.inf)]

    def __post_init__(self) -> None:
        _refuse_path(self.file)


class BundleKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`bundle.yaml`, key by key; `output` is the task's.

    `state`, `variables`: what a streaming model keeps from window to window, in tensors or by itself.
    """

    name: str
    version: str
    task: Annotated[Part, Names(_TASKS, "task")]
    input: Input
    variants: list[VariantKeys]
    golden: GoldenKeys
    state: list[StateKeys] = []
    variables: Switch = False
    baseline: Any = None
    licence: Any = None
    data: Any = None
    metrics: Any = None

    def __post_init__(self) -> None:
        if not self.variants:
            raise ConfigFault("none", where="variants", expected="at least one model file")


class Variant(msgspec.Struct, frozen=True):
    """One file of the model, for one kind of processor; `name` is the file's."""

    name: str
    file: Path
    sha256: str
    accelerator: str

    def read(self) -> bytes:
        """The file's bytes. Raises BundleFault if they are not those that the bundle was made with."""
        try:
            _must_fit(self.file)
            data = self.file.read_bytes()
        except OSError as e:
            raise BundleFault(
                f"the model file cannot be read ({e.strerror})",
                where=str(self.file),
                hint="Copy the bundle again",
            ) from e
        if not data:
            raise BundleFault("the model file is empty", where=str(self.file), hint="Copy the bundle again")
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise BundleFault(
                f"the model file was altered or cut short: its SHA-256 is {found[:12]}...",
                where=str(self.file),
                expected=f"{self.sha256[:12]}... as {_FILE} says",
                hint="Copy the bundle again",
            )
        return data


def _must_fit(file: Path) -> None:
    """Raises BundleFault if there is no room for the file's bytes and the worker's two copies of them."""
    size_bytes, room_bytes = file.stat().st_size, _free_bytes() // 3
    if size_bytes > room_bytes:
        raise BundleFault(
            f"the model file is bigger than memory: {size_bytes / 1e6:.0f} MB",
            where=str(file),
            expected=f"at most {room_bytes / 1e6:.0f} MB, a third of what is free here now",
            hint="Take a smaller model, or one that is quantized",
        )


def _free_bytes() -> int:
    """As the kernel says it of the machine: what could be had without swapping."""
    found = _AVAILABLE.search(Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024 if found else 2**63


class Golden(msgspec.Struct, frozen=True):
    """Where the golden vectors are, and by how much a score may be off, in the task's own terms."""

    file: Path
    tolerance: float


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that is complete. `variants` are in order of preference.

    `calibration`: from where its task has its threshold, if that was found on this device.
    """

    folder: Path
    name: str
    version: str
    layout: Layout
    window_s: float
    hop_s: float
    max_missing: float
    resize: Literal["crop", "letterbox", "stretch"]
    chain: Chain
    scaling: Scaling
    input_tensors: dict[str, list[str]]
    output_tensors: tuple[str, ...]
    task: Task
    variants: tuple[Variant, ...]
    golden: Golden
    states: tuple[State, ...] = ()
    variables: bool = False
    calibration: Calibration | None = None

    @property
    def is_stateful(self) -> bool:
        """Whether an answer depends on the windows before; after a gap it begins anew."""
        return bool(self.states) or self.variables

    @property
    def samples(self) -> int:
        """How many samples a window has."""
        return round(self.window_s * self.layout.rate_hz)

    @property
    def rows(self) -> int:
        """How many rows of channels the model takes: a sample each, or of pictures a pixel each, line by line."""
        return self.samples * math.prod(self.layout.shape)


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle, without reading its models. Raises BundleFault with all that is wrong with it."""
    bundle = _bundle(folder, read_keys(folder))
    _must_be_there([*(v.file for v in bundle.variants), bundle.golden.file], folder)
    return bundle


def _bundle(folder: Path, keys: BundleKeys) -> Bundle:
    given, output, chain = keys.input, keys.task.options.output, keys.input.chain()
    count = len(chain.form.channels)
    scaling = given.scaling or Scaling(mean=[0.0] * count, std=[1.0] * count)
    task = find(_TASKS, keys.task.file)
    return Bundle(
        folder=folder,
        name=keys.name,
        version=keys.version,
        layout=given.layout,
        window_s=given.window,
        hop_s=given.hop,
        max_missing=given.max_missing,
        resize=given.resize,
        chain=chain,
        scaling=scaling,
        input_tensors=given.tensors,
        output_tensors=tuple(output.tensors),
        task=task.build(keys.task.options, Given(chain.rows, scaling.mean, scaling.std)),
        variants=tuple(Variant(v.file, folder / v.file, v.sha256, v.accelerator) for v in keys.variants),
        golden=Golden(folder / keys.golden.file, keys.golden.tolerance),
        states=tuple(State(one.input, one.output, one.size) for one in keys.state),
        variables=keys.variables,
    )


def _must_be_there(files: Sequence[Path], folder: Path) -> None:
    for file in files:
        _refuse_link_out(file)
    if missing := [f.name for f in files if not f.is_file()]:
        raise BundleFault(
            f"{', '.join(missing)} is missing",
            where=str(folder),
            expected=f"every file that {_FILE} names",
            hint="Copy the bundle again",
        )


def find_bundle(name_or_path: str, *, places: Sequence[Path]) -> Path:
    """The folder of a bundle.

    Args:
        name_or_path: A name is sought in `places`, in order; anything with a slash is a path.
        places: Folders that hold bundles; those that do not exist are passed over.

    Raises:
        BundleFault: It is nowhere; says where it was sought and which bundles there are.
    """
    if "/" in name_or_path:
        folder = Path(name_or_path).expanduser()
        if not os.path.isfile(folder / _FILE):
            what, hint = f"no {_FILE} in it", way_to_bundle(folder) or "Correct the path"
            if not _may_enter(folder):
                what, hint = "this user may not look into it", _LET_IN
            raise BundleFault(what, where=str(folder), expected="a bundle's folder", hint=hint)
        return folder
    for place in places:
        if os.path.isfile(place / name_or_path / _FILE):
            return place / name_or_path
    raise _nowhere(name_or_path, places)


_LET_IN = "Become a user who may, or give this one the right to enter it"


def _nowhere(name: str, places: Sequence[Path]) -> BundleFault:
    what = f"no bundle {name!r} in {', '.join(map(str, places))}"
    there = sorted({found.parent.name for place in places for found in bundle_files(place)})
    copy = (
        "Correct the name, or copy the bundle's folder there" if there else "Copy the bundle's folder there"
    )
    hint = way_to_bundle(Path(name)) or copy
    if denied := [str(place) for place in places if not _may_enter(place / name)]:
        what += f"; but this user may not look into {', '.join(denied)}"
        hint = _LET_IN
    return BundleFault(what, expected=f"one of {', '.join(there)}" if there else "", hint=hint)


def bundle_files(place: Path) -> list[Path]:
    """The `bundle.yaml` of every bundle in a folder, in order; none if the folder is not there or not open to us."""
    try:
        folders = sorted(place.iterdir())
    except OSError:
        return []
    return [folder / _FILE for folder in folders if os.path.isfile(folder / _FILE)]


def _may_enter(folder: Path) -> bool:
    """Whether this user can look for a file in it; one that is not there hides nothing."""
    try:
        os.stat(f"{folder}/.")
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def own_bundles() -> Path:
    """The folder of the bundles that ship with edgeagent: package data, or `models/` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def read_keys(folder: Path) -> BundleKeys:
    """A bundle's `bundle.yaml`, all of it. Raises BundleFault with all that is wrong with it."""
    keys = _read(folder / _FILE, _root(folder / _FILE), BundleKeys, ())
    assert isinstance(keys, BundleKeys)
    return keys


def read_input(folder: Path) -> Input:
    """What training takes from a `bundle.yaml` that has no model yet: its `input:`. Raises BundleFault."""
    path = folder / _FILE
    root = _root(path)
    pairs = root.value if isinstance(root, MappingNode) else []
    node = next((value for key, value in pairs if key.value == "input"), None)
    if node is None:
        raise BundleFault("there is no `input:`", where=str(path), expected="channels, rate, window and hop")
    found = _read(path, node, Input, ("input",))
    assert isinstance(found, Input)
    return found


def _root(path: Path) -> Node:
    _refuse_link_out(path)
    try:
        root: Node | None = YAML().compose(path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError, RecursionError, YAMLError) as e:
        raise BundleFault(f"cannot be read ({e})", where=str(path), hint="Copy the bundle again") from e
    if root is None:
        raise BundleFault("the file is empty", where=str(path), hint="Copy the bundle again")
    return root


def _read(path: Path, node: Node, wanted: type[msgspec.Struct], at: tuple[str, ...]) -> Any:
    report = Report(str(path))
    found = Walker(report, Marks(), path.parent).read(node, wanted, at)
    if report.findings:
        raise BundleFault(_lines(report.findings), hint="Correct the file, or copy the bundle again")
    return found


def _lines(findings: Iterable[object]) -> str:
    return "\n".join(str(f) for f in findings)


def _refuse_path(file: str) -> None:
    """A bundle may come from afar: its files lie in its own folder."""
    if Path(file).name != file or file == ".." or not file.isprintable():
        raise ConfigFault(
            "not a file name", where="file", expected="the name of a file in the bundle's folder"
        )


def _refuse_link_out(file: Path) -> None:
    """... and so does what a link in it leads to."""
    target = os.path.realpath(file)
    if not Path(target).is_relative_to(os.path.realpath(file.parent)):
        raise BundleFault(
            f"{file.name} is a link out of the bundle, to {target}",
            where=str(file.parent),
            expected="every file in the bundle's own folder",
            hint="Put the file itself there",
        )

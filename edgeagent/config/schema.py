"""The config as the program sees it: what a valid YAML file becomes. DESIGN: docs/design.md, "The config".

A `Part` is an entry whose key names the file that implements it (`driver: mpu6050`, `http: {...}`): the
file's own `Options` struct is parsed with it, so that a typo in a driver's key is found like any other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from edgeagent.config.hours import parse_hours
from edgeagent.config.quantities import Between, Bytes, FilePath, Hz, Seconds, Switch
from edgeagent.errors import ConfigFault
from edgeagent.records import Kind


class Part(msgspec.Struct, frozen=True):
    """`file` names the module in its folder; `options` is that module's `Options`."""

    file: str
    options: Any


class Names(NamedTuple):
    """Marks a Part: the folder of its file, and how the YAML names it.

    By `driver`: the key `driver` names the file, and the keys beside it are its options. By `key`: the key itself
    is the file, and its value holds the options (a bare scalar fills the only one that is required). By `policy`:
    like `key`, and the keys beside it are its options too, the key itself among them. By `task`: as by `driver`.
    """

    folder: str
    by: Literal["driver", "task", "key", "policy"]


SensorPart = Annotated[Part, Names("sensors", "driver")]
FilterPart = Annotated[Part, Names("conditioning", "key")]
ActuatorPart = Annotated[Part, Names("actuators", "driver")]
UpstreamPart = Annotated[Part, Names("upstream", "key")]
ActionPart = Annotated[Part, Names("decisions", "key")]
PolicyPart = Annotated[Part, Names("sampling", "policy")]


class Device(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ""
    labels: dict[str, str] = {}


class SensorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What all sensors share, beside the driver's own keys: by channel, its filters in the order of application."""

    part: SensorPart
    condition: dict[str, list[FilterPart]] = {}


Threads = Annotated[int, Between(1, 16)] | Literal["auto"]


class Delegate(msgspec.Struct, frozen=True, kw_only=True):
    """What runs a model's operators on other silicon, and its options, in its own words.

    For a .tflite file it is a vendor's shared `library`, for an .onnx file an execution `provider` of ONNX Runtime.
    """

    library: str = ""
    provider: str = ""
    options: dict[str, str] = {}

    def __post_init__(self) -> None:
        if bool(self.library) == bool(self.provider):
            found = "both a library and a provider" if self.library else "neither a library nor a provider"
            raise ConfigFault(
                found, expected="`library:` for a .tflite model, or `provider:` for an .onnx model"
            )
        if "/" in self.library and not self.library.startswith("/"):
            expected = "an absolute path, or a bare name that the system's loader knows"
            raise ConfigFault("not a library's name", where="library", expected=expected)


class External(msgspec.Struct, frozen=True, kw_only=True):
    external: Delegate


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """`accelerator`: auto, cpu, edgetpu, edgetpu:usb, edgetpu:pci, edgetpu:N, or external: a delegate or provider.

    `threads`: instead of `inference.threads`, for this model.
    """

    bundle: str
    accelerator: str | External = "auto"
    threads: Threads | None = None


class WindowLength(msgspec.Struct, frozen=True, kw_only=True):
    length: Seconds | None = None
    hop: Seconds | None = None


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """`input`: a sensor, or several, or single channels of them (`motor.current`).

    `report`: which predictions become records: all, changes, or `every 1 min`.
    `priority`: where pipelines wait for one device, the higher goes first. `deadline`: how long a window may keep a
    newer one waiting; the hop, if it is not said. `max_rate`: how often the model is asked at most.
    """

    input: str | list[str]
    window: WindowLength = WindowLength()
    model: str | None = None
    report: str = "all"
    priority: Annotated[int, Between(0, 9)] = 0
    deadline: Seconds | None = None
    max_rate: Hz | None = None

    def __post_init__(self) -> None:
        for key in ("deadline", "max_rate"):
            if getattr(self, key) == 0:
                raise ConfigFault("nothing at all", where=key, expected="more than 0")

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else tuple(self.input)


class ActuatorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What all actuators share, beside the driver's own keys."""

    part: ActuatorPart
    safe: Switch | float = False
    max_on: Seconds | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """YAML key `for` is `hold`; `do` is a list of parts of `decisions/`: event, set, capture."""

    when: str
    hold: Seconds = msgspec.field(default=0.0, name="for")
    cooldown: Seconds = 0.0
    do: list[ActionPart] = []


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    per_day: Bytes = 20_000_000


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    budget: Budget = Budget()
    policies: dict[str, PolicyPart] = {}


class Expire(msgspec.Struct, frozen=True, kw_only=True):
    """By kind of record, how old it may become before it is given up instead of sent."""

    prediction: Seconds | None = None
    event: Seconds | None = None
    sample: Seconds | None = None
    health: Seconds | None = None
    gap: Seconds | None = None
    audit: Seconds | None = None


LEAST_OUTBOX_BYTES = 4_000_000


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """`card_per_day`: what may be written to the card before commits become seldom, and events alone go at once."""

    max_size: Bytes = 1_000_000_000
    keep_free: Bytes = 100_000_000
    flush: Seconds = 1.0
    expire: Expire = Expire()
    card_per_day: Bytes = 0

    def __post_init__(self) -> None:
        if self.max_size < LEAST_OUTBOX_BYTES:
            raise ConfigFault("too small for a queue", where="max_size", expected="4 MB or more")


class LinkBudget(msgspec.Struct, frozen=True, kw_only=True):
    """What may go over one link; 0: as much as it takes. The last tenth of a month is for events, captures and gaps."""

    per_month: Bytes = 0
    per_second: Bytes = 0


class UpstreamEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What all upstreams share, beside the sink's own block.

    only: The hours of the day in which it is sent to.
    newest_first: Kinds of records of which the newest go first; of the others it is the oldest.
    """

    part: UpstreamPart
    kinds: list[Kind] = []
    only: str | None = None
    newest_first: list[Kind] = []
    budget: LinkBudget = LinkBudget()

    def __post_init__(self) -> None:
        if self.only is not None:
            parse_hours(self.only)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    every: Seconds = 300.0


LEAST_MEMORY = 200_000_000  # LiteRT with MobileNetV2; with less than 150 it does not even load


class Inference(msgspec.Struct, frozen=True, kw_only=True):
    """`memory`: how large a worker's address space may become, beside three times its model.

    `threads`: how many compute one model; `auto`: as many as were found to pay on this board.
    """

    isolation: Literal["process", "inline"] = "process"
    deadline: Seconds = 2.0
    threads: Threads = "auto"
    memory: Bytes = 512_000_000

    def __post_init__(self) -> None:
        if self.deadline == 0:
            raise ConfigFault("nothing at all", where="deadline", expected="more than 0")
        if self.memory < LEAST_MEMORY:
            found, hint = (
                f"{self.memory / 1e6:g} MB",
                "It is a limit, and takes none: it stops models that ask for more",
            )
            raise ConfigFault(found, where="memory", expected="200 MB or more", hint=hint)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file. A missing section is an empty one: the rest runs."""

    device: Device = Device()
    sensors: dict[str, SensorEntry] = {}
    models: dict[str, Model] = {}
    pipelines: dict[str, Pipeline] = {}
    actuators: dict[str, ActuatorEntry] = {}
    rules: dict[str, Rule] = {}
    sampling: Sampling = Sampling()
    outbox: Outbox = Outbox()
    upstream: dict[str, UpstreamEntry] = {}
    health: Health = Health()
    inference: Inference = Inference()
    state: FilePath | None = None
    models_dir: FilePath | None = None


NAMESPACE = ("sensors", "pipelines", "actuators")
RESERVED = ("device", "sensor", "rule", "upstream", "clock", "time")

"""Where samples come from: one chip or source a file; `driver: NAME` in the YAML is `edgeagent/sensors/NAME.py`.

A driver file has three names:

    class Options(msgspec.Struct, frozen=True, kw_only=True): ...   # its keys in the YAML (config/quantities.py)
    def layout(options: Options) -> Layout | None: ...              # channels and rate; None: known when connected
    def build(name: str, options: Options, context: Context) -> Sensor: ...

and may have `def advise(options) -> Iterable[Advice]` for what `check` should warn of. None of the three opens a
device. The reader thread of the sensor's port alone calls `open`, `read` and `close`; after a DeviceFault it
closes, waits, and opens again, so `open` starts from nothing each time and `close` may be called at any moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from edgeagent.buses import Buses
from edgeagent.records import Block, Layout
from edgeagent.timebase import Clock


class Context(NamedTuple):
    """What a driver is handed to build its part with."""

    clock: Clock
    buses: Buses


class Advice(NamedTuple):
    """A warning of `check` about one key of a driver's options."""

    key: str
    text: str


class Sensor(Protocol):
    """One device as the agent sees it: a source of blocks."""

    port: str
    """Bus or port; sensors of one port share its reader thread."""

    layout: Layout | None
    """Channels and nominal rate; may change in `open` and `read` alone."""

    wake: Callable[[], None] | None
    """Ends a `read` that waits, from any thread; None if `read` never waits."""

    truth: Callable[[int, int], str | None] | None
    """What really happened between two times in ns, where a fake plays a labelled recording; else None."""

    def open(self) -> None:
        """Connect and configure. Raises DeviceFault."""
        ...

    def due_ns(self) -> int:
        """When the next `read` is worth it; a time that has passed if `read` itself waits for data."""
        ...

    def read(self) -> Block | None:
        """What has come since the last read; None if nothing. Waits 50 ms at most. Raises DeviceFault."""
        ...

    def close(self) -> None:
        """Let go of the device; never raises."""
        ...

    def counters(self) -> dict[str, int | float]:
        """What went wrong so far by cause (malformed lines, bad CRCs, retries ...), and true_rate_hz."""
        ...

"""The far end of a decision: one kind of output a file; `driver: NAME` is `edgeagent/actuators/NAME.py`.

An actuator file has two names:

    class Options(msgspec.Struct, frozen=True, kw_only=True): ...                 # its own keys in the YAML
    def build(name: str, options: Options, sensors: Mapping[str, Sensor]) -> Actuator: ...

The core's thread alone calls `drive`; it returns at once, whatever the device does. `safe`, `max_on` and who may
drive what are the agent's business, not the driver's.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

Level = bool | float


class Actuator(Protocol):
    """One output as the agent sees it."""

    def drive(self, value: Level) -> None:
        """Ask for a value; never waits and never raises. Failure shows in `state`."""
        ...

    def state(self) -> dict[str, object]:
        """For `status`: asked, reported (by the device itself, None if it cannot), changes (reported), error."""
        ...

    def close(self) -> None:
        """Let go; never raises. The agent has driven the safe value before."""
        ...


@runtime_checkable
class Limited(Protocol):
    """An actuator whose device keeps `max_on` itself, so that it holds even if the agent hangs."""

    def limit(self, max_on_s: float) -> None:
        """The longest that anything but the safe value may last; called once, before the first `drive`."""
        ...

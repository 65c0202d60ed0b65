"""One sensor with no agent around it: opened, read and retried as the agent does it."""

from __future__ import annotations

from threading import Event

from edgeagent.agent.readers import Device
from edgeagent.agent.threads import Announced, Inbox
from edgeagent.records import Block
from edgeagent.sensors import Sensor
from edgeagent.timebase import Clock


class Alone:
    """A sensor's doings from now on.

    Args:
        name: The sensor's.
        sensor: Unopened.
        clock: Its clock.
    """

    def __init__(self, name: str, sensor: Sensor, clock: Clock) -> None:
        self._clock, self._inbox = clock, Inbox()
        self._device = Device(name, sensor, clock, self._inbox)
        self._never = Event()

    @property
    def state(self) -> str:
        return self._device.state

    @property
    def reason(self) -> str:
        return self._device.reason

    def heard(self, until_ns: int) -> list[Announced | Block]:
        """Read once, when it is due, or let the time pass if that is later. Raises nothing that a device can cause."""
        self._clock.wait(self._never, min(self._device.due_ns(), until_ns))
        if self._device.due_ns() <= self._clock.now_ns():
            self._device.step()
        messages = []
        while (message := self._inbox.get(0.0)) is not None:
            if isinstance(message, Announced | Block):
                messages.append(message)
        return messages

    def close(self) -> None:
        self._device.close()

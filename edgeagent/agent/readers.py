"""A device, its health, and the loop that reads the devices of one bus or port."""

from __future__ import annotations

import logging
from threading import Event
from typing import Any

import msgspec

from edgeagent.agent.threads import Announced, Inbox
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone, WrongDevice
from edgeagent.records import NS_PER_S, Block, Layout
from edgeagent.sensors import Sensor
from edgeagent.timebase import Clock

log = logging.getLogger(__name__)

_RETRY_FIRST_NS = NS_PER_S
_RETRY_MOST_NS = 30 * NS_PER_S


class Device:
    """One sensor and its health: opened, read, and after a fault closed and tried again with back-off."""

    def __init__(self, name: str, sensor: Sensor, clock: Clock, inbox: Inbox) -> None:
        self.name, self.sensor = name, sensor
        self._clock, self._inbox = clock, inbox
        self.state, self.reason = "starting", ""
        self.since_ns = clock.now_ns()
        self.turned_away = 0
        self._retry_ns = self.since_ns
        self._wait_ns = _RETRY_FIRST_NS
        self._open = False
        self._announced: Layout | None = None
        self._lost = 0

    def due_ns(self) -> int:
        """When `step` is worth it."""
        return self.sensor.due_ns() if self._open else self._retry_ns

    def step(self) -> None:
        """Open or read; a fault is logged once, and once more when it is over."""
        try:
            if not self._open:
                self.sensor.open()
                self._open = True
            block = self.sensor.read()
        except DeviceFault as fault:
            self._failed(fault)
            return
        if self.state != "ok":
            self._recovered()
        if block is not None:
            self._hand_over(block)

    def announce_again(self) -> None:
        """The core was made anew: hand over the layout before the next block."""
        self._announced = None

    def close(self) -> None:
        self._open = False
        self.sensor.close()

    def _hand_over(self, block: Block) -> None:
        layout = self.sensor.layout
        if layout is not None and layout != self._announced:
            self._announced = layout
            self._inbox.put(Announced(self.name, layout))
        if self._lost:
            block = msgspec.structs.replace(block, lost=block.lost + self._lost)
        if self._inbox.offer(block):
            self._lost = 0
        else:
            self._lost = block.lost + len(block.values)
            self.turned_away += len(block.values)

    def _failed(self, fault: DeviceFault) -> None:
        self.close()
        state = _state_of(fault)
        if (state, str(fault)) != (self.state, self.reason):
            log.warning("sensor %s is %s: %s", self.name, state, fault)
            self.state, self.reason, self.since_ns = state, str(fault), self._clock.now_ns()
        self._retry_ns = self._clock.now_ns() + self._wait_ns
        self._wait_ns = min(self._wait_ns * 2, _RETRY_MOST_NS)

    def _recovered(self) -> None:
        now_ns = self._clock.now_ns()
        if self.state != "starting":
            log.warning("sensor %s is back after %.1f s", self.name, (now_ns - self.since_ns) / NS_PER_S)
        self.state, self.reason, self.since_ns = "ok", "", now_ns
        self._wait_ns = _RETRY_FIRST_NS

    def status(self) -> dict[str, Any]:
        """For `edgeagent status`."""
        return {
            "state": self.state,
            "reason": self.reason,
            "for_s": round((self._clock.now_ns() - self.since_ns) / NS_PER_S, 1),
            "turned_away": self.turned_away,
            **self.sensor.counters(),
        }


def _state_of(fault: DeviceFault) -> str:
    states = ((DeviceGone, "gone"), (DeviceDenied, "denied"), (WrongDevice, "wrong-device"))
    return next((state for kind, state in states if isinstance(fault, kind)), "degraded")


class Reader:
    """The thread of one bus or port: each of its sensors in turn, when due."""

    def __init__(self, devices: list[Device], clock: Clock) -> None:
        self.devices = devices
        self._clock = clock
        self._stop = Event()

    def run(self) -> None:
        while not self._clock.wait(self._stop, min(d.due_ns() for d in self.devices)):
            now_ns = self._clock.now_ns()
            for device in self.devices:
                if device.due_ns() <= now_ns and not self._stop.is_set():
                    device.step()
        for device in self.devices:
            device.close()

    def stop(self) -> None:
        self._stop.set()
        for device in self.devices:
            if device.sensor.wake is not None:
                device.sensor.wake()

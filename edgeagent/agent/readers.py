"""A device, its health, and the loop that reads the devices of one bus or port."""

from __future__ import annotations

import logging
from collections.abc import Collection
from threading import Event, Thread
from typing import Any

import msgspec

from edgeagent.agent.steadiness import Steadiness, has_values
from edgeagent.agent.threads import Announced, Inbox, spawn
from edgeagent.errors import DeviceDenied, DeviceFault, DeviceGone, WrongDevice
from edgeagent.records import NS_PER_MS, NS_PER_S, Block, Layout
from edgeagent.sensors import Sensor
from edgeagent.timebase import Clock

log = logging.getLogger(__name__)

_RETRY_FIRST_NS = NS_PER_S
_RETRY_MOST_NS = 30 * NS_PER_S
# To look for what is absent costs little, and a replug is to be noticed at once. No whole second: on a shared line
# each try would meet the same moment of what is read there at a round rate.
_RETRY_GONE_NS = 370 * NS_PER_MS
_HUNG_NS = 10 * NS_PER_S  # the longest that a sound driver takes is 3 s, for a board that boots


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
        self._steadiness: Steadiness | None = None
        self._busy_since_ns: int | None = None
        self._announced: Layout | None = None
        self._lost = 0

    def due_ns(self) -> int:
        """When `step` is worth it."""
        return self.sensor.due_ns() if self._open else self._retry_ns

    def step(self) -> None:
        """Open or read; each change of its state is logged once."""
        self._busy_since_ns = self._clock.now_ns()
        try:
            if not self._open:
                self.sensor.open()
                self._open = True
            block = self.sensor.read()
        except DeviceFault as fault:
            self._failed(fault)
            return
        finally:
            self._busy_since_ns = None
        self._judge(block)
        if block is not None:
            self._hand_over(block)

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

    def _judge(self, block: Block | None) -> None:
        """It has answered. One that was open and no good is back with its first reading only, and not before."""
        now_ns = self._clock.now_ns()
        if self._steadiness is None:
            self._wait_ns = _RETRY_FIRST_NS
            if self.state == "degraded" and not has_values(block):
                return
            self._recovered(now_ns)
            self._steadiness = Steadiness(self.sensor, now_ns)
        self._judged(self._steadiness.judge(block, now_ns), now_ns)

    def _judged(self, why: str | None, now_ns: int) -> None:
        """What is wrong with an open sensor, "" if nothing is, None if that is not known yet: log the change."""
        if why is None:
            return
        self.reason = why
        if why and self.state == "ok":
            log.warning("sensor %s is degraded: %s", self.name, why)
            self.state, self.since_ns = "degraded", now_ns
        elif not why and self.state == "degraded":
            log.info("sensor %s is well again after %.1f s", self.name, (now_ns - self.since_ns) / NS_PER_S)
            self.state, self.since_ns = "ok", now_ns

    def _failed(self, fault: DeviceFault) -> None:
        self.close()
        self._steadiness = None
        state, now_ns = _state_of(fault), self._clock.now_ns()
        if state != self.state:  # not by the words: they may hold a number that changes
            log.warning("sensor %s is %s: %s", self.name, state, fault)
            self.state, self.since_ns = state, now_ns
        self.reason = str(fault)
        gone = isinstance(fault, DeviceGone)
        self._retry_ns = now_ns + (_RETRY_GONE_NS if gone else self._wait_ns)
        self._wait_ns = _RETRY_FIRST_NS if gone else min(self._wait_ns * 2, _RETRY_MOST_NS)

    def _recovered(self, now_ns: int) -> None:
        if self.state != "starting":
            log.info("sensor %s is back after %.1f s", self.name, (now_ns - self.since_ns) / NS_PER_S)
        self.state, self.reason, self.since_ns = "ok", "", now_ns

    def status(self) -> dict[str, Any]:
        """For `edgeagent status`."""
        state, reason, now_ns = self.state, self.reason, self._clock.now_ns()
        since_ns = self._busy_since_ns
        if since_ns is not None and now_ns - since_ns > _HUNG_NS:
            state, reason = "hung", f"its driver has not come back for {(now_ns - since_ns) / NS_PER_S:.0f} s"
        return {
            "state": state,
            "reason": reason,
            "for_s": round((now_ns - self.since_ns) / NS_PER_S, 1),
            "rate_hz": self._announced.rate_hz if self._announced is not None else None,
            "turned_away": self.turned_away,
            **self.sensor.counters(),
        }


def _state_of(fault: DeviceFault) -> str:
    states = ((DeviceGone, "gone"), (DeviceDenied, "denied"), (WrongDevice, "wrong-device"))
    return next((state for kind, state in states if isinstance(fault, kind)), "degraded")


class Reader:
    """One bus or port: its thread takes each of its sensors in turn, when due.

    A reload that adds a sensor to a bus makes a new reader, `after` the old one: it waits for that to end, since
    what is read by two threads at once is read wrong. The devices that stay are handed over open.
    """

    def __init__(
        self, port: str, devices: list[Device], clock: Clock, inbox: Inbox, after: Reader | None = None
    ) -> None:
        self.port, self.devices = port, devices
        self._clock, self._inbox = clock, inbox
        self._before = after.thread if after is not None else None
        self._stop = Event()
        self._handed_on: Collection[Device] = ()
        self.thread: Thread | None = None

    def start(self) -> None:
        """Start its thread; one that a reload has taken over runs already."""
        if self.thread is None:
            self.thread = spawn(f"reader {self.port}", self.run, self._inbox)

    def run(self) -> None:
        if self._before is not None:
            self._before.join()
            self._before = None
        while not self._clock.wait(self._stop, min(d.due_ns() for d in self.devices)):
            now_ns = self._clock.now_ns()
            for device in self.devices:
                if device.due_ns() <= now_ns and not self._stop.is_set():
                    device.step()
        for device in self.devices:
            if device not in self._handed_on:
                device.close()

    def stop(self, handed_on: Collection[Device] = ()) -> None:
        """Let the thread end, and its devices go but for those that are handed on; does not wait for it."""
        self._handed_on = handed_on
        self._stop.set()
        for device in self.devices:
            if device.sensor.wake is not None:
                device.sensor.wake()

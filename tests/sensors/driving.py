"""What a reader thread does with a polled sensor, by a virtual clock."""

from __future__ import annotations

from collections.abc import Generator

from edgeagent.agent.clock import VirtualClock
from edgeagent.records import NS_PER_S, Block
from edgeagent.sensors import Sensor
from edgeagent.sensors.polled import Row


def finish(steps: Generator[float, None, Row], clock: VirtualClock) -> Row:
    """One measurement to its end."""
    while True:
        try:
            clock.sleep_s(next(steps))
        except StopIteration as done:
            row: Row = done.value
            return row


def next_block(sensor: Sensor, clock: VirtualClock) -> Block:
    while True:
        clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        if block := sensor.read():
            return block

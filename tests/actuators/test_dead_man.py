"""The machine is safe without the agent: `kill -9` of a real `edgeagent run` that has the relay on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from edgeagent.agent import compose
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.buses.fake.board import Firmware, VirtualBoard
from edgeagent.config.load import load, require
from edgeagent.records import NS_PER_MS
from edgeagent.sensors import Context
from edgeagent.sensors.bridge import BridgeSensor

FAILSAFE_MS = 60_000  # this machine may stall for long, and that is no silence of the agent
PATIENCE_S = 90.0
CONFIG = """\
device: {{id: unit-1}}
state: {folder}/state
sensors:
  motor: {{driver: bridge, port: {port}}}
actuators:
  relay: {{driver: bridge, sensor: motor, output: relay, safe: off, max_on: {max_on}}}
rules:
  always:
    when: motor.current > 0
    do: [{{set: {{relay: on}}}}]
"""


def write_config(folder: Path, port: str, max_on: str = "1 h") -> Path:
    path = folder / "agent.yaml"
    path.write_text(CONFIG.format(folder=folder, port=port, max_on=max_on))
    return path


@contextmanager
def agent(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", "edgeagent", "run", "-c", str(config)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Ahead(RealClock):
    """The board's own time, which can be set ahead."""

    def __init__(self) -> None:
        self._ahead_ns = 0

    def now_ns(self) -> int:
        return time.monotonic_ns() + self._ahead_ns

    def leap_ms(self, by_ms: int) -> None:
        self._ahead_ns += by_ms * NS_PER_MS


@pytest.fixture
def board_time() -> Ahead:
    return Ahead()


@pytest.fixture
def board(board_time: Ahead) -> Iterator[VirtualBoard]:
    board, stop = VirtualBoard(board_time, firmware=Firmware(failsafe_ms=FAILSAFE_MS)), Event()
    thread = Thread(target=board.serve, args=(stop,))
    thread.start()
    yield board
    stop.set()
    thread.join()
    board.unplug()


def wait_for(done: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_when_the_agent_is_killed_with_the_relay_on_the_board_lets_go_by_itself(
    board: VirtualBoard, board_time: Ahead, tmp_path: Path
) -> None:
    firmware = board.firmware
    with agent(write_config(tmp_path, board.path)) as process:
        wait_for(lambda: firmware.relay_on)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert firmware.relay_on  # nobody has told the board
        board_time.leap_ms(FAILSAFE_MS)
        wait_for(lambda: not firmware.relay_on)
    assert firmware.failsafes == 1


def test_an_agent_that_is_back_hears_of_it_and_drives_the_relay_only_by_a_new_decision(
    board: VirtualBoard, board_time: Ahead, tmp_path: Path
) -> None:
    firmware, config = board.firmware, write_config(tmp_path, board.path)
    with agent(config) as process:
        wait_for(lambda: firmware.relay_on)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        board_time.leap_ms(FAILSAFE_MS)
        wait_for(lambda: firmware.failsafes == 1)
    with agent(config):
        wait_for(lambda: firmware.relay_on)
    assert firmware.relay_changes == 3


def test_max_on_of_the_config_goes_to_the_board_with_each_set(board: VirtualBoard, tmp_path: Path) -> None:
    config = require(load(write_config(tmp_path, board.path, max_on="0.2 s")))
    clock = RealClock()
    sensors = compose.sensors(config, Context(clock, Buses(clock)))
    relay = compose.actuators(config, sensors)["relay"]
    motor = sensors["motor"]
    assert isinstance(motor, BridgeSensor)
    motor.open()
    relay.drive(True)
    end_s = time.monotonic() + PATIENCE_S
    while board.firmware.relay_changes < 2 and time.monotonic() < end_s:
        motor.read()  # and nobody takes it back: this agent's core hangs
    assert (board.firmware.relay_changes, board.firmware.relay_on, board.firmware.failsafes) == (2, False, 0)
    motor.close()

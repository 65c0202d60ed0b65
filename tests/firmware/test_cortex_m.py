"""The emulated Cortex-M with its TMP105, seen by the real agent; and safe when that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from boards import DIES_WITH_US, CortexM
from host import Host

from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.errors import DeviceFault
from edgeagent.records import NS_PER_S, Block, Channel, Float32Array
from edgeagent.sensors import Context
from edgeagent.sensors.bridge import BridgeSensor, Options, build
from firmware_bridge.messages import Fault, FaultKind, Heartbeat, Hello, Log

pytestmark = pytest.mark.firmware

PATIENCE_S = 60.0
CONFIG = """\
device: {{id: unit-1}}
state: {folder}/state
sensors:
  board: {{driver: bridge, port: {port}, channels: {{temperature: degC}}, firmware: ">=1.0,<2"}}
actuators:
  relay: {{driver: bridge, sensor: board, output: relay, safe: off}}
rules:
  hot:
    when: board.temperature > 30
    do: [{{set: {{relay: on}}}}]
"""


def wait_for(done: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end_s
        time.sleep(0.05)


@pytest.fixture
def board(firmwares: None) -> Iterator[CortexM]:
    board = CortexM()
    yield board
    board.close()


@pytest.fixture
def sensor(board: CortexM) -> Iterator[BridgeSensor]:
    clock = RealClock()
    sensor = build("board", Options(port=board.path), Context(clock, Buses(clock)))
    assert isinstance(sensor, BridgeSensor)
    wait_for(lambda: opened(sensor))
    yield sensor
    sensor.close()


def opened(sensor: BridgeSensor) -> bool:
    """As the agent's reader does it: a board that is slow to answer is asked again."""
    try:
        sensor.open()
    except DeviceFault:
        sensor.close()
        return False
    return True


@contextmanager
def agent(board: CortexM, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "agent.yaml"
    config.write_text(CONFIG.format(folder=folder, port=board.path))
    process = subprocess.Popen([*DIES_WITH_US, sys.executable, "-m", "edgeagent", "run", "-c", config])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def temperatures(blocks: list[Block]) -> Float32Array:
    return np.concatenate([block.values[:, 0] for block in blocks])


def read_until(sensor: BridgeSensor, done: Callable[[Block], object]) -> list[Block]:
    blocks: list[Block] = []
    end_s = time.monotonic() + PATIENCE_S
    while not (blocks and done(blocks[-1])):
        assert time.monotonic() < end_s
        block = sensor.read()
        if block is not None:
            blocks.append(block)
    return blocks


def reset_with_witness(board: CortexM, host: Host) -> None:
    """What a board says at its start is lost if nobody has opened the line yet: start it anew when someone has."""
    host.greets()
    board.reset()
    host.hears(Hello, lambda m: m.uptime_ms < 100)


def test_the_driver_reads_what_the_tmp105_measures(board: CortexM, sensor: BridgeSensor) -> None:
    for celsius in (25.5, -40.0625, 124.9375):
        board.set_temperature(celsius)
        blocks = read_until(sensor, lambda block, celsius=celsius: block.values[-1, 0] == celsius)  # type: ignore[misc]
    assert sensor.layout is not None
    assert sensor.layout.rate_hz == 100.0
    assert sensor.layout.channels[0] == Channel("temperature", "degC", 1 / 256)
    assert sum(block.lost for block in blocks) == 0
    steps_s = np.diff(np.concatenate([block.t_mono_ns for block in blocks])) / NS_PER_S
    assert np.all(steps_s > 0)


def test_a_sensor_that_is_not_on_the_bus_is_a_fault_and_no_reading(firmwares: None) -> None:
    with closing(CortexM(sensor=False)) as board, closing(Host(board.path)) as host:
        reset_with_witness(board, host)
        fault = host.hears(Fault)
        assert (fault.kind, fault.index) == (FaultKind.CHANNEL, 0)
        start = len(host.heard)
        least = (-(2**15)).to_bytes(2, "little", signed=True)
        assert all(burst.samples.data.startswith(least) for burst in host.listens(1.0))
        assert not any(isinstance(m, Fault) for m in host.heard[start:]), "it is said once"


def test_the_firmware_says_in_its_log_that_it_found_its_sensor(board: CortexM) -> None:
    with closing(Host(board.path)) as host:
        reset_with_witness(board, host)
        assert host.hears(Log).text == "TMP105 found"


@pytest.mark.slow
def test_when_the_agent_is_killed_the_board_lets_go_of_the_relay_by_itself(
    board: CortexM, tmp_path: Path
) -> None:
    board.set_temperature(20.0)
    with agent(board, tmp_path) as process:
        wait_for(lambda: (tmp_path / "state" / "run" / "status.json").exists())
        assert not board.relay()
        board.set_temperature(35.0)
        wait_for(board.relay)
        board.hang()  # so that the board's seconds of grace cannot run out while we look
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with closing(Host(board.path)) as witness:
        witness.silent = True
        assert board.relay(), "nobody has told the board"
        board.go_on()
        fault = witness.hears(Fault)
        off = witness.hears(Heartbeat, lambda m: m.outputs[0].value == 0.0)
    assert not board.relay()
    assert fault.kind == FaultKind.DEAD_MAN
    assert (off.failsafes, off.outputs[0].changes) == (1, 2)

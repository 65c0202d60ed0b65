"""The emulated computer's devices. None of this runs on a real one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from emulator import Emulator, load
from mcp2221 import Mcp2221
from wires import wires

from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.sensors import Context


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == "kernel" and "EDGEAGENT_EMULATED" not in os.environ:
        raise pytest.UsageError(
            "these tests pull devices out: they run in an emulator, by `make test-kernel`"
        )


@pytest.fixture(scope="session", autouse=True)
def adapter() -> Iterator[Mcp2221]:
    """Plugged in before all else: the driver of Linux 6.1 waits 24 s for answers that it does not hear yet."""
    for module in ("uhid", "hid-mcp2221", "i2c-dev"):
        load(module)
    adapter = Mcp2221(wires())
    yield adapter
    adapter.unplug()


@pytest.fixture
def context() -> Context:
    clock = RealClock()
    return Context(clock, Buses(clock))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    emulator = Emulator()
    yield emulator
    emulator.close()

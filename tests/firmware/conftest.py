"""The boards, built once and started anew for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from boards import C_FOLDER, Board, CortexM, HostBoard, Uno
from host import Host

BOARDS = {"host": HostBoard, "cortex-m": CortexM, "uno": Uno}
BUILT_BY = {"host": "sanitized", "cortex-m": "cortex-m", "uno": "uno"}
NEEDS = {
    "host": ["cc"],
    "cortex-m": ["arm-none-eabi-gcc", "qemu-system-arm"],
    "uno": ["avr-gcc", "/usr/share/arduino/hardware/arduino/avr", "/usr/include/simavr/sim_avr.h"],
}
MISSING = {
    name: missing
    for name, needs in NEEDS.items()
    if (missing := [need for need in needs if not (shutil.which(need) or Path(need).exists())])
}
PRESENT = [name for name in BOARDS if name not in MISSING]
collect_ignore = ["test_cortex_m.py"] if "cortex-m" in MISSING else []


def pytest_configure(config: pytest.Config) -> None:
    """Where a machine must have all of them, it is an error if it has not."""
    if MISSING and os.environ.get("CI") and config.option.markexpr == "firmware":
        raise pytest.UsageError(f"boards that cannot be emulated here: {MISSING}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, missing in MISSING.items():
        terminalreporter.write_line(f"the firmware on {name}: not run: needs {', '.join(missing)}")


@pytest.fixture(scope="session")
def firmwares() -> None:
    """Everything that runs here, compiled."""
    targets = [BUILT_BY[name] for name in PRESENT]
    done = subprocess.run(["make", "-C", C_FOLDER, *targets], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(params=PRESENT)
def kind(request: pytest.FixtureRequest, firmwares: None) -> type[Board]:
    """Each of the three."""
    kind: type[Board] = BOARDS[request.param]
    return kind


@pytest.fixture
def board(kind: type[Board]) -> Iterator[Board]:
    """One of the kind, running since just now."""
    board = kind()
    yield board
    board.close()


@pytest.fixture
def host(board: Board) -> Iterator[Host]:
    """The other end of the board's line, already greeted and hearing samples."""
    host = Host(board.path)
    host.greets()
    yield host
    host.close()

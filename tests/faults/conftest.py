"""What the tests of this folder have counted is printed at the end of the run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

sys.path.append(str(Path(__file__).parents[1] / "outbox"))  # outboxes.py: drafts and outboxes to test with

COUNTED = pytest.StashKey[list[str]]()


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Takes a line for the report."""
    return request.config.stash.setdefault(COUNTED, []).append


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder that is quick to write to, where the machine has one."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.exists() else None) as name:
        yield Path(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(COUNTED, []):
        terminalreporter.section("faults survived")
        for line in lines:
            terminalreporter.write_line(line)

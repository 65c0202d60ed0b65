"""What holds for all tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import pytest

if find_spec("hypothesis"):  # the environment of tflite-runtime has none
    from hypothesis import HealthCheck, settings

    # Whether an example is right does not hang on how long a busy machine takes for it.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")

Tell = Callable[[str], None]


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Say what a test has counted, at the end of the run: what a worker of pytest-xdist prints is lost."""
    return partial(record_property, "told")


@pytest.fixture
def against(record_property: Callable[[str, object], None]) -> Tell:
    """Name the server at the far end: the end of the run says how many tests have passed with each."""
    return partial(record_property, "against")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.stats.get("passed", [])
    servers = Counter(said(passed, "against"))
    told = [*said(passed, "told"), *(f"{n} tests passed against {server}" for server, n in servers.items())]
    if told:
        terminalreporter.section("what was counted")
        terminalreporter.write_line("\n".join(told))


def said(reports: list[pytest.TestReport], key: str) -> Iterator[str]:
    return (str(value) for report in reports for name, value in report.user_properties if name == key)

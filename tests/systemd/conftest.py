"""What the tests of the service share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    """Debian's `systemd` package has it; `make test` installs that where it may."""
    path = shutil.which("systemd-analyze")
    if path is None:
        if os.geteuid() == 0 or "CI" in os.environ:
            pytest.fail("needs systemd-analyze. Run: apt install systemd")
        pytest.skip("not run: needs systemd-analyze")
    return path


@pytest.fixture(scope="session")
def unit() -> list[tuple[str, str]]:
    """The directives of edgeagent.service in order: (name, value)."""
    lines = (SYSTEMD / "edgeagent.service").read_text().splitlines()
    directives = [line.partition("=") for line in lines if "=" in line and not line.startswith("#")]
    return [(name, value) for name, _, value in directives]

"""The unit is one that systemd takes without a word, and is as closed as it can be."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
EXPOSURE_LIMIT = 1.6


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def runnable_unit(tmp_path: Path) -> Path:
    """A copy of the unit whose program exists on this machine."""
    text = (SYSTEMD / "edgeagent.service").read_text()
    copy = tmp_path / "edgeagent.service"
    copy.write_text(text.replace("ExecStart=/opt/edgeagent/bin/edgeagent", "ExecStart=/bin/sh"))
    return copy


def _add_drop_in(unit: Path) -> None:
    folder = unit.with_name("edgeagent.service.d")
    folder.mkdir()
    (folder / "10-other-ntp.conf").write_text((SYSTEMD / "other-ntp.conf").read_text())


@pytest.mark.parametrize("drop_in", [False, True], ids=["as installed", "with other-ntp.conf"])
def test_systemd_has_nothing_to_say_about_the_unit(
    systemd_analyze: str, runnable_unit: Path, drop_in: bool
) -> None:
    if drop_in:
        _add_drop_in(runnable_unit)
    found = _run(systemd_analyze, "verify", str(runnable_unit))
    assert (found.returncode, found.stderr) == (0, "")


def test_a_misspelt_directive_would_be_found(systemd_analyze: str, runnable_unit: Path) -> None:
    runnable_unit.write_text(runnable_unit.read_text().replace("WatchdogSec=", "WatchDogSecs="))
    assert "WatchDogSecs" in _run(systemd_analyze, "verify", str(runnable_unit)).stderr


def test_the_exposure_is_at_most_1_6_of_10(systemd_analyze: str) -> None:
    unit = str(SYSTEMD / "edgeagent.service")
    found = _run(systemd_analyze, "security", "--offline=true", "--threshold=16", "--no-pager", unit)
    assert found.returncode == 0, found.stdout + found.stderr
    score = re.search(r"Overall exposure level for edgeagent\.service: ([\d.]+)", found.stdout)
    assert score is not None
    assert float(score[1]) <= EXPOSURE_LIMIT


def test_it_starts_the_agent_on_the_config_that_install_sh_writes(unit: list[tuple[str, str]]) -> None:
    starts = [value for name, value in unit if name == "ExecStart"]
    assert starts == ["/opt/edgeagent/bin/edgeagent run -c /etc/edgeagent/edgeagent.yaml"]
    install = (SYSTEMD / "install.sh").read_text()
    assert "program=$root/opt/edgeagent\n" in install
    assert "config=$root/etc/edgeagent/edgeagent.yaml\n" in install


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("PrivateDevices", "hides every serial port, I2C bus and GPIO chip"),
        ("ProcSubset", "hides the boot id and /proc/cpuinfo"),
        ("SupplementaryGroups", "one absent group keeps the service from starting"),
        ("PrivateNetwork", "cuts the upstream off"),
    ],
)
def test_the_unit_does_not_say(unit: list[tuple[str, str]], name: str, why: str) -> None:
    assert name not in dict(unit), why


def test_the_readme_explains_every_directive(unit: list[tuple[str, str]]) -> None:
    readme = (SYSTEMD / "README.md").read_text()
    assert [name for name, _ in unit if f"`{name}=`" not in readme] == []


def test_the_readme_explains_no_directive_that_is_gone(unit: list[tuple[str, str]]) -> None:
    readme = (SYSTEMD / "README.md").read_text()
    rows = [line.split("|")[1] for line in readme.splitlines() if line.startswith("| `") and "=`" in line]
    explained = {name for row in rows for name in re.findall(r"`(\w+)=`", row)}
    assert explained == {name for name, _ in unit}

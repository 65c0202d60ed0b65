from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.config import parts
from edgeagent.config.load import load, require
from edgeagent.errors import ConfigFault

DRIVER = """
import msgspec
class Options(msgspec.Struct, frozen=True, kw_only=True):
    port: str
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package of someone else's with a sensor driver, and one that lacks what it needs."""
    (tmp_path / "acme_scale.py").write_text(DRIVER)
    (tmp_path / "acme_broken.py").write_text("import acme_never_installed\n" + DRIVER)
    dist = tmp_path / "acme-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text(
        "[edgeagent.sensors]\nacme_scale = acme_scale\nacme_broken = acme_broken\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("acme_scale", None)


def test_a_driver_of_another_package_is_used_like_ours(foreign: Path, tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("device: {id: a}\nsensors: {scale: {driver: acme_scale, port: /dev/ttyS0}}")
    part = require(load(config)).sensors["scale"].part
    assert (part.file, part.options.port) == ("acme_scale", "/dev/ttyS0")
    assert "acme_scale" in parts.names("sensors")


def test_a_driver_that_lacks_a_package_says_which(foreign: Path) -> None:
    with pytest.raises(ConfigFault, match="pip install acme_never_installed"):
        parts.find("sensors", "acme_broken")


def test_what_is_missing_is_installed_by_the_pip_of_the_environment_that_runs_and_by_the_name_of_our_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "prefix", "/opt/edgeagent")
    assert parts.pip_install("edgeagent[s3]", "x").endswith(
        "/opt/edgeagent/bin/pip install 'edgeagent[s3]' x"
    )
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in ("s3", "bucket"):
        monkeypatch.delitem(sys.modules, f"edgeagent.upstream.{name}", raising=False)
    with pytest.raises(ConfigFault, match=r"/opt/edgeagent/bin/pip install 'edgeagent\[s3\]'"):
        parts.find("upstream", "s3")
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert parts.pip_install("x") == "pip install x"


def test_every_extra_that_is_named_in_a_fault_is_one_of_the_packages_own() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(parts._EXTRAS.values()) <= set(project["optional-dependencies"])


@pytest.mark.parametrize("name", ["rules", "expressions", "../event", "event.Options", "__init__"])
def test_only_a_file_with_options_can_be_named(name: str) -> None:
    with pytest.raises(ConfigFault, match="there is no action"):
        parts.find("decisions", name)


def test_naming_what_there_is_imports_nothing() -> None:
    before = set(sys.modules)
    assert "mpu6050" in parts.names("sensors")
    assert not {name for name in set(sys.modules) - before if name.startswith("edgeagent.sensors.")}

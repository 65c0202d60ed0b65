"""install.sh, run for real into a root of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
INSTALLED = {
    "etc/systemd/system/edgeagent.service": "edgeagent.service",
    "etc/systemd/system/edgeagent.service.d/10-other-ntp.conf": "other-ntp.conf",
    "etc/sysusers.d/edgeagent.conf": "edgeagent.sysusers",
    "etc/udev/rules.d/99-edgeagent.rules": "99-edgeagent.rules",
}
needs_systemd_sysusers = pytest.mark.usefixtures("systemd_analyze")


def _install(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["sh", SYSTEMD / "install.sh", "--root", root, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _tree(root: Path) -> dict[str, tuple[int, str]]:
    """Each path under `root` with its mode and a digest of what is in it."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file() and os.access(path, os.R_OK)
            else "",
        )
        for path in root.rglob("*")
    }


def _program(folder: Path, version: str, config: str) -> Path:
    """A wheel named edgeagent whose `init` prints `config`: what pip brings is not what is tested here."""
    wheel = folder / f"edgeagent-{version}-py3-none-any.whl"
    info = f"edgeagent-{version}.dist-info"
    files = {
        "edgeagent/__init__.py": "",
        "edgeagent/__main__.py": f"def main():\n    print({config!r})\n\nif __name__ == '__main__':\n    main()\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: edgeagent\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nedgeagent = edgeagent.__main__:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return wheel


@needs_systemd_sysusers
def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    _install(tmp_path, "--no-pip")
    first = _tree(tmp_path)
    _install(tmp_path, "--no-pip")
    assert _tree(tmp_path) == first


@needs_systemd_sysusers
def test_every_file_lies_where_systemd_looks_for_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        _install(tmp_path, "--no-pip")
    finally:
        os.umask(before)
    for target, source in INSTALLED.items():
        assert (tmp_path / target).read_bytes() == (SYSTEMD / source).read_bytes()
        assert (tmp_path / target).stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "etc/edgeagent").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "etc/edgeagent/credentials").stat().st_mode & 0o777 == 0o700


@needs_systemd_sysusers
def test_where_timesyncd_sets_the_clock_the_sandbox_keeps_it_closed(tmp_path: Path) -> None:
    drop_in = tmp_path / "etc/systemd/system/edgeagent.service.d/10-other-ntp.conf"
    _install(tmp_path, "--no-pip")
    assert drop_in.exists()
    (tmp_path / "lib/systemd").mkdir(parents=True)
    (tmp_path / "lib/systemd/systemd-timesyncd").touch()
    _install(tmp_path, "--no-pip")
    assert not drop_in.exists()


@needs_systemd_sysusers
def test_the_user_is_made_with_groups_that_the_distribution_lacks(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\ndialout:x:20:\n")
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "edgeagent.sysusers"],
        check=True,
        capture_output=True,
    )
    groups = (tmp_path / "etc/group").read_text().splitlines()
    assert "dialout:x:20:edgeagent" in groups
    assert {g.split(":")[0] for g in groups if g.endswith(":edgeagent")} == {"dialout", "i2c", "gpio"}
    assert "edgeagent:" in (tmp_path / "etc/passwd").read_text()


@needs_systemd_sysusers
def test_the_program_is_installed_and_upgraded_and_the_config_never_overwritten(tmp_path: Path) -> None:
    root = tmp_path / "root"
    config = root / "etc/edgeagent/edgeagent.yaml"
    said = _install(root, "--from", str(_program(tmp_path, "0.0.1", "# the default")))
    assert config.read_text() == "# the default\n"
    assert config.stat().st_mode & 0o777 == 0o644
    assert f"wrote {config}, the default" in said
    command = root / "opt/edgeagent/bin/edgeagent"
    assert command.read_text().startswith("#!/opt/edgeagent/bin/python")
    assert (root / "usr/local/bin/edgeagent").readlink() == Path("/opt/edgeagent/bin/edgeagent")

    config.write_text("device: {id: press-07}\n")
    said = _install(root, "--from", str(_program(tmp_path, "0.0.2", "# a newer default")))
    assert config.read_text() == "device: {id: press-07}\n"
    assert f"kept {config}" in said
    main = next(root.glob("opt/edgeagent/lib/*/site-packages/edgeagent/__main__.py"))
    assert "# a newer default" in main.read_text()


def test_without_root_it_says_what_it_needs_and_touches_nothing() -> None:
    done = subprocess.run(
        ["sh", "-s"],
        input=(SYSTEMD / "install.sh").read_text(),
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        user=65534 if os.geteuid() == 0 else None,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(
        "edgeagent: needs root to make the user, the folders and the service. Run: sudo sh"
    )


@pytest.mark.parametrize("arguments", [["--form", "x.whl"], ["x.whl"]])
def test_an_unknown_option_prints_the_usage(arguments: list[str]) -> None:
    done = subprocess.run(
        ["sh", SYSTEMD / "install.sh", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: install.sh")


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh"])
def test_the_scripts_stop_at_the_first_failure_and_parse(script: str) -> None:
    assert "\nset -eu\n" in (SYSTEMD / script).read_text()
    assert subprocess.run(["sh", "-n", SYSTEMD / script], check=False).returncode == 0

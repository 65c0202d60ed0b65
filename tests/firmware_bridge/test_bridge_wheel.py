"""What is installed from one wheel; building it takes what PyPI has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]


def test_one_wheel_ships_the_agent_the_bridge_and_the_models(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("edgeagent-*.whl")
    with ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    assert {
        "edgeagent/__main__.py",
        "firmware_bridge/codec.py",
        "firmware_bridge/c/src/fwb_board.c",
        "firmware_bridge/c/library.properties",
        "firmware_bridge/vectors.json",
        "edgeagent/models/activity/bundle.yaml",
    } <= shipped

"""`edgeagent bus record`."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent import cli
from edgeagent.agent.traffic import rerun

CONFIG = """\
device: {id: bench}
sensors:
  imu: {driver: mpu6050, bus: fake:mpu6050, rate: 50 Hz}   # on the press
  gps: {driver: nmea, port: "fake:gps", rate: 10 Hz, fake: {rate: 10 Hz}}
  wave: {driver: sine}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "edgeagent.yaml"
    file.write_text(f"state: {tmp_path}\n{CONFIG}")
    return file


def record(config: Path, *args: str) -> int:
    return cli.main(["bus", "record", "-c", str(config), "--out", str(config.parent / "out"), *args])


def test_a_recording_is_a_case_that_runs_without_the_device(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(config, "imu", "gps", "--for", "2.5s") == cli.OK
    said = capsys.readouterr().out
    for name in ("imu", "gps"):
        case = config.parent / "out" / name
        assert sorted(file.name for file in case.iterdir()) == [
            "config.yaml",
            "expected.json",
            "traffic.jsonl",
        ]
        again = rerun(case)
        assert again.rows > 0
        assert f"{name}: " in said
        assert f"{again.rows} samples" in said
    assert "wave" not in (config.parent / "out" / "imu" / "config.yaml").read_text()


def test_without_a_name_every_sensor_has_its_turn_and_one_without_a_line_says_so(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(config, "--for", "1.5s") == cli.FAULTS
    said = capsys.readouterr().out
    assert "wave: hangs on no I2C bus, serial line or connection" in said
    assert {case.name for case in (config.parent / "out").iterdir()} == {"imu", "gps"}


def test_a_folder_that_is_there_is_left_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config.parent / "out" / "imu").mkdir(parents=True)
    assert record(config, "imu") == cli.FAULTS
    assert "is there already" in capsys.readouterr().err


def test_a_sensor_that_does_not_exist_says_which_do(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(config, "imo") == cli.FAULTS
    assert "imu" in capsys.readouterr().err

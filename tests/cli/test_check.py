from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgeagent.cli import FAULTS, OK, main

MPU6050 = "device: {id: press-07}\nsensors: {imu: {driver: mpu6050, bus: i2c-1}}\n"


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return str(path)


def test_a_good_config_is_summed_up_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, MPU6050)
    assert main(["check", path]) == OK
    assert capsys.readouterr().out == f"{path}: ok: press-07: sensor imu (mpu6050)\n"


def test_every_fault_is_printed_and_ends_in_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, MPU6050 + "heath: {}\nhealth: {every: 5}\n")
    assert main(["check", path]) == FAULTS
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{path}:3:1: unknown key 'heath'")
    assert second.startswith(f"{path}:4:17: health.every: no unit")
    assert last == f"{path}: 2 faults"


def test_a_warning_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", write(tmp_path, "sensors: {imu: {driver: mpu6050, bus: i2c-1}}")]) == OK
    assert "warning: device.id is missing" in capsys.readouterr().out


def test_a_drivers_advice_is_a_warning_at_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, MPU6050.replace("i2c-1", "i2c-1, rate: 1 kHz"))
    assert main(["check", path]) == OK
    assert f"{path}:2:52: warning: sensors.imu.rate:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "sensor",
    [
        "driver: bridge, port: /dev/serial/by-id/a, baud: 11520",
        "driver: modbus_rtu, port: /dev/serial/by-id/a, baud: 1920, device_id: 3, "
        "registers: {flow: {address: 1, unit: L/min}}",
        "driver: serial_text, port: /dev/serial/by-id/a, baud: 960, rate: 1 Hz, channels: [{name: t, unit: degC}]",
        "driver: nmea, port: /dev/serial/by-id/a, baud: 960",
    ],
)
def test_a_baud_rate_that_lacks_a_digit_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sensor: str
) -> None:
    path = write(tmp_path, f"device: {{id: unit-1}}\nsensors: {{one: {{{sensor}}}}}\n")
    assert main(["check", path]) == OK
    assert "warning: sensors.one.baud: " in capsys.readouterr().out


def test_a_baud_rate_of_nothing_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sensor = "driver: bridge, port: /dev/serial/by-id/a, baud: 0"
    path = write(tmp_path, f"device: {{id: unit-1}}\nsensors: {{one: {{{sensor}}}}}\n")
    assert main(["check", path]) == FAULTS
    assert "sensors.one.baud" in capsys.readouterr().out


TEXT = "device: {id: unit-1}\nsensors: {press: {driver: serial_text, port: /dev/serial/by-id/a, %s}}\n"


def test_a_misspelt_unit_is_warned_of_and_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channels = "rate: 1 Hz, channels: [{name: i, unit: Amp}, {name: n, unit: widgets}]"
    path = write(tmp_path, TEXT % channels)
    assert main(["check", path]) == OK
    out = capsys.readouterr().out
    assert "warning: sensors.press: i is in 'Amp'. Did you mean 'A'?" in out
    assert out.count("warning") == 2, "and the summary counts it"


def test_a_device_that_prints_and_no_rate_is_stated_of_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, TEXT % "channels: [{name: i, unit: A}]")
    assert main(["check", path]) == OK
    assert (
        "sensors.press.rate: none is stated, so windows and rules take it for 1 Hz" in capsys.readouterr().out
    )


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path / "agent.yaml")]) == FAULTS
    assert "cannot be read, found No such file or directory" in capsys.readouterr().out


def test_json_has_the_findings_and_the_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "sensors: {imu: {driver: mpu6050, bus: i2c-1, rat: 50 Hz}}")
    assert main(["check", "--json", path]) == FAULTS
    report = json.loads(capsys.readouterr().out)
    assert (report["file"], report["ok"], report["summary"]) == (path, False, "")
    fault = next(f for f in report["findings"] if f["severity"] == "fault")
    assert (fault["line"], fault["column"], fault["hint"]) == (1, 46, "Did you mean 'rate'?")


def initial(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["init"]) == OK
    return capsys.readouterr().out


def test_what_init_prints_is_accepted_but_for_the_device_id(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, initial(capsys))
    assert main(["check", path]) == OK
    warning, summary = capsys.readouterr().out.splitlines()
    assert "warning: device.id is missing" in warning
    assert "imu (mpu6050)" in summary


def test_what_init_prints_in_comments_is_accepted_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = re.sub(r"^( *)# ( *(?:- )?[a-z_]+:)", r"\1\2", initial(capsys), flags=re.MULTILINE)
    assert "\nupstream:" in examples
    assert main(["check", write(tmp_path, examples)]) == OK
    assert "motor (bridge)" in capsys.readouterr().out

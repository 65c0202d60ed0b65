"""`edgeagent sensors list` and `sensors read`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from agents import COUNTER, Site, running

from edgeagent import cli
from edgeagent.config import parts

CONFIG = """\
device: {id: bench}
sensors:
  imu: {driver: mpu6050, bus: fake:mpu6050, rate: 50 Hz}
  absent: {driver: serial_text, port: /dev/ttyUSB99, channels: [{name: a, unit: A}]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "edgeagent.yaml"
    file.write_text(f"state: {tmp_path}\n{CONFIG}")
    return file


def listed(capsys: pytest.CaptureFixture[str], *drivers: str) -> dict[str, Any]:
    assert cli.main(["sensors", "list", "--json", *drivers]) == cli.OK
    return {driver["name"]: driver for driver in json.loads(capsys.readouterr().out)}


def test_the_list_has_every_driver(capsys: pytest.CaptureFixture[str]) -> None:
    drivers = listed(capsys)
    assert list(drivers) == parts.names("sensors")
    for driver in drivers.values():
        assert driver["trouble"] or (driver["summary"] and driver["options"])
        assert driver["trouble"] or bool(driver["channels"]) != bool(driver["channels_from"])


def test_channels_units_and_options_are_the_codes_own(capsys: pytest.CaptureFixture[str]) -> None:
    mpu6050 = listed(capsys)["mpu6050"]
    assert {c["name"]: c["unit"] for c in mpu6050["channels"]} == {
        **{f"acc_{axis}": "m/s2" for axis in "xyz"},
        **{f"gyro_{axis}": "rad/s" for axis in "xyz"},
    }
    options = {o["key"]: (o["takes"], o["default"]) for o in mpu6050["options"]}
    assert options["bus"] == ("text", None)
    assert options["address"][1] == "0x68"
    assert options["rate"][1] == "50 Hz"
    assert "fake" not in options


def test_limits_and_paths_are_listed_as_they_are_written_in_a_config(
    capsys: pytest.CaptureFixture[str],
) -> None:
    drivers = listed(capsys, "bridge", "iio")
    options = {o["key"]: o for driver in drivers.values() for o in driver["options"]}
    assert options["baud"]["takes"] == "a whole number from 50 to 12000000"
    assert options["sysfs"]["default"] == "/sys/bus/iio/devices"


def test_a_driver_whose_channels_the_config_or_the_device_names_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    drivers = listed(capsys, "serial_text", "bridge")
    assert drivers.keys() == {"serial_text", "bridge"}
    assert drivers["serial_text"]["channels_from"] == "the config"
    assert drivers["bridge"]["channels_from"] == "the device"
    channels = next(o for o in drivers["serial_text"]["options"] if o["key"] == "channels")
    assert channels["takes"] == "a list of {name, unit, key, scale, offset}"


def test_the_list_for_people_is_short_and_plain_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sensors", "list", "mpu6050"]) == cli.OK
    out = capsys.readouterr().out
    assert out.startswith("mpu6050  MPU-6050: accelerometer")
    assert "channels: acc_x acc_y acc_z (m/s2), gyro_x gyro_y gyro_z (rad/s)" in out
    assert "\x1b" not in out


def test_a_driver_that_does_not_exist_is_a_fault_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sensors", "list", "mpu6051"]) == cli.FAULTS
    assert "Did you mean 'mpu6050'" in capsys.readouterr().err


def test_read_ends_in_a_summary_of_what_the_sensor_gave(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sensors", "read", "imu", "-c", str(config), "--for", "3s", "--json"]) == cli.OK
    summary = json.loads(capsys.readouterr().out)
    assert summary["state"] == "ok"
    assert summary["samples"] > 10
    assert 9.0 < summary["channels"]["acc_z"]["low"] <= summary["channels"]["acc_z"]["high"] < 10.5
    assert summary["errors"]["fifo_overflows"] == 0


def test_read_in_a_pipe_prints_a_line_a_second(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sensors", "read", "imu", "-c", str(config), "--for", "3500 ms"]) == cli.OK
    lines = capsys.readouterr().out.splitlines()
    assert 1 <= len(lines) <= 3
    line = lines[-1]
    assert line.split()[2] == "ok"
    assert "acc_z" in line
    assert "m/s2" in line


def test_a_place_is_shown_to_ten_metres_and_a_count_without_a_unit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gps.yaml"
    file.write_text('device: {id: x}\nsensors: {gps: {driver: nmea, port: "fake:gps"}}\n')
    assert cli.main(["sensors", "read", "gps", "-c", str(file), "--for", "5 s"]) == cli.OK
    last = capsys.readouterr().out.splitlines()[-1]
    assert "latitude 48.1173 deg" in last
    assert "satellites 8  hdop 0.9" in last


@pytest.mark.parametrize("columns", [80, 110])
def test_read_on_a_terminal_draws_a_table_with_a_curve_and_cuts_nothing_off(
    config: Path, columns: int
) -> None:
    screen, terminal = os.openpty()
    arguments = ["sensors", "read", "imu", "-c", str(config), "--for", "3 s"]
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "edgeagent", *arguments], stdout=terminal, env=environment
    ) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # the terminal hangs up
            while data := os.read(screen, 65536):
                shown += data
    os.close(screen)
    assert process.returncode == cli.OK
    text = shown.decode()
    assert "gyro_z" in text
    assert "rad/s" in text
    assert set("▁▂▃▄▅▆▇") & set(text)
    assert "…" not in text


def test_a_fault_while_a_sensor_is_shown_is_told_on_the_screen_and_does_not_tear_it(config: Path) -> None:
    screen, terminal = os.openpty()
    arguments = ["sensors", "read", "absent", "-c", str(config), "--for", "2 s"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgeagent", *arguments],
        stdout=terminal,
        stderr=subprocess.PIPE,
        env=os.environ | {"COLUMNS": "80", "TERM": "xterm"},
    ) as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError):
            while data := os.read(screen, 65536):
                shown += data
        assert process.stderr is not None
        assert process.stderr.read() == b""
    os.close(screen)
    assert process.returncode == cli.FAULTS
    assert "/dev/ttyUSB99" in shown.decode()


def test_a_sensor_that_is_not_there_says_why_and_ends_in_exit_code_1(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sensors", "read", "absent", "-c", str(config), "--for", "100 ms", "--json"]
    assert cli.main(arguments) == cli.FAULTS
    summary = json.loads(capsys.readouterr().out)
    assert summary["state"] == "gone"
    assert "/dev/ttyUSB99" in summary["reason"]


def test_a_name_that_the_config_lacks_is_a_fault_with_the_nearest(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sensors", "read", "imo", "-c", str(config)]) == cli.FAULTS
    assert "Did you mean 'imu'" in capsys.readouterr().err


def test_a_fault_elsewhere_in_the_config_is_said_and_hinders_nobody(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text() + "outbox: {max_siz: 1 GB}\n")
    assert cli.main(["sensors", "read", "imu", "-c", str(config), "--for", "2 s", "--json"]) == cli.OK
    assert "max_siz" in capsys.readouterr().err


def test_a_sensor_that_the_running_agent_reads_is_left_to_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    site.write(COUNTER)
    with running(site) as agent:
        agent.until(lambda s: s["sensors"]["counter"]["state"] == "ok")
        monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "agent" / "acme"))
        assert cli.main(["sensors", "read", "counter", "-c", str(site.config), "--for", "1s"]) == cli.FAULTS
    assert f"the agent (pid {agent.pid}) reads this sensor" in capsys.readouterr().err

"""`edgeagent scan`, on the workbench that ships."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent import cli
from edgeagent.agent.clock import RealClock, ScaledClock
from edgeagent.buses.scan.found import Device
from edgeagent.buses.scan.scan import scan
from edgeagent.buses.scan.suggest import suggest
from edgeagent.config.load import load
from edgeagent.demo.workbench import CHIPS, Workbench


@pytest.fixture(scope="module")
def bench() -> Iterator[Workbench]:
    with Workbench(ScaledClock(10.0, RealClock().now_ns())) as bench:
        yield bench


@pytest.fixture(scope="module")
def devices(bench: Workbench) -> tuple[Device, ...]:
    return scan(bench.machine).devices


def by_port(devices: tuple[Device, ...], tty: str) -> Device:
    return next(d for d in devices if tty in (d.place, *d.names))


def test_every_chip_of_the_workbench_is_found_and_named(devices: tuple[Device, ...]) -> None:
    found = {d.sensor["address"]: d.sensor["driver"] for d in devices if d.kind == "i2c" and d.sensor}
    assert found == CHIPS


@pytest.mark.parametrize(
    ("tty", "what", "driver"),
    [
        ("ttyACM0", "firmware virtual-motor 1.0.0, over firmware_bridge (Arduino LLC Uno)", "bridge"),
        ("ttyACM1", "GPS (NMEA 0183) (u-blox AG GNSS receiver)", "nmea"),
        ("ttyUSB0", "lines of 2 numbers (USB Serial)", "serial_text"),
        ("ttyUSB1", "USB Serial", None),
    ],
)
def test_what_talks_on_a_port_is_recognised(
    tty: str, what: str, driver: str | None, devices: tuple[Device, ...]
) -> None:
    device = by_port(devices, f"/dev/{tty}")
    assert device.name == what
    assert (device.sensor or {}).get("driver") == driver


def test_a_port_is_named_by_id_if_that_is_its_alone_else_by_the_socket(devices: tuple[Device, ...]) -> None:
    assert by_port(devices, "/dev/ttyACM0").place.startswith("/dev/serial/by-id/usb-Arduino_LLC_Uno_7583")
    assert by_port(devices, "/dev/ttyACM0").usb == "2341:0043 75830303934351F0D1A2"
    twins = [by_port(devices, f"/dev/ttyUSB{i}") for i in (0, 1)]
    assert all(twin.place.startswith("/dev/serial/by-path/") for twin in twins)
    assert twins[0].place != twins[1].place


def test_a_port_that_another_program_has_is_left_to_it_by_name_and_pid(devices: tuple[Device, ...]) -> None:
    device = by_port(devices, "/dev/ttyUSB2")
    assert (device.state, device.holders) == ("busy", ("minicom (pid 812)",))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("camera", ["HD Pro Webcam C920"]),
        ("iio", ["scd30"]),
        ("accelerator", ["Coral USB Accelerator"]),
        ("gpio", ["pinctrl-bcm2711"]),
    ],
)
def test_what_the_kernel_knows_is_told_and_codecs_are_no_cameras(
    kind: str, names: list[str], devices: tuple[Device, ...]
) -> None:
    assert [d.name for d in devices if d.kind == kind] == names


def test_the_kernels_console_is_not_opened(bench: Workbench) -> None:
    left = {left.place: left.reason for left in scan(bench.machine, listen_s=0.0).left}
    assert left["/dev/ttyAMA0"] == "the kernel's console"


def test_without_listening_nothing_is_heard_of_what_talks(bench: Workbench) -> None:
    quiet = scan(bench.machine, listen_s=0.0).devices
    assert [by_port(quiet, f"/dev/{tty}").name for tty in ("ttyACM0", "ttyACM1", "ttyUSB0")] == [
        "Arduino LLC Uno",
        "u-blox AG GNSS receiver",
        "USB Serial",
    ]


def test_the_yaml_is_a_config_that_check_accepts_with_names_that_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["scan", "--fake", "demo", "--yaml"]) == cli.OK
    text = capsys.readouterr().out
    file = tmp_path / "edgeagent.yaml"
    file.write_text("device: {id: bench}\n" + text)
    assert cli.main(["check", str(file)]) == cli.OK, capsys.readouterr().out
    loaded = load(file)
    assert loaded.findings == []
    assert loaded.config is not None
    assert {"mpu6050", "bme280", "bridge", "serial_text", "camera"} <= loaded.config.sensors.keys()
    assert "/dev/tty" not in text.replace("# ", "")


def test_the_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scan", "--fake", "demo", "--json", "--listen", "0 s"]) == cli.OK
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {d["kind"] for d in found["devices"]} == {"i2c", "serial", "camera", "iio", "accelerator", "gpio"}
    assert {"place", "reason"} == set(found["left"][0])


def test_the_table_names_what_was_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(["scan", "--fake", "demo", "--listen", "0 s"]) == cli.OK
    out = capsys.readouterr().out
    assert "i2c-1 0x68" in out
    assert "MPU-6050" in out
    assert "in use by minicom (pid 812)" in out


def test_no_name_is_cut_off_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["scan", "--fake", "demo", "--listen", "0 s"]) == cli.OK
    out = capsys.readouterr().out
    assert "…" not in out
    assert "-usb-0:1.5:1.0-port0" in "".join(out.split())
    assert "left alone:" in out


def test_this_machine_can_be_scanned_whatever_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["scan", "--json", "--listen", "0 s"]) == cli.OK
    assert json.loads(capsys.readouterr().out).keys() == {"devices", "left"}


def test_what_a_device_says_of_itself_does_not_end_its_comment() -> None:
    evil = Device(
        kind="i2c", place="i2c-1 0x10", name="x\nsensors: {}", sensor={"driver": "lm75", "bus": "i2c-1"}
    )
    assert [
        line
        for line in suggest((evil,), {"lm75": ""}).splitlines()
        if not line.startswith(("sensors:", "  "))
    ] == []


def test_two_of_a_kind_get_names_of_their_own() -> None:
    pair = [
        Device(kind="i2c", place=f"i2c-1 {at:#04x}", sensor={"driver": "lm75", "bus": "i2c-1", "address": at})
        for at in (0x48, 0x49)
    ]
    assert "lm75_1: {driver: lm75, bus: i2c-1, address: 0x48}" in suggest(tuple(pair), {"lm75": ""})


def test_a_driver_that_lacks_a_package_is_a_comment_that_says_so() -> None:
    gps = Device(kind="serial", place="/dev/gps", name="GPS", sensor={"driver": "nmea", "port": "/dev/gps"})
    text = suggest((gps,), {"nmea": "cannot be loaded. Install what it needs"})
    assert "  # nmea: {driver: nmea, port: /dev/gps}" in text
    assert "Install what it needs" in text


def test_nothing_found_is_an_empty_block() -> None:
    assert suggest((), {}).startswith("sensors: {}")

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeagent.agent.fit import check, load_model
from edgeagent.config.load import require
from edgeagent.config.schema import Delegate, External
from edgeagent.inference.bundle import own_bundles

DEVICE = "device: {id: press-07}\n"
IMU = DEVICE + "sensors: {imu: {driver: mpu6050, bus: i2c-1, rate: 50 Hz}}\n"
ACTIVITY = "models: {activity: {bundle: activity}}\n"


def said(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return [str(f).removeprefix(f"{path}:") for f in check(path).findings]


def test_a_part_that_cannot_be_read_is_there_by_name(tmp_path: Path) -> None:
    """Whoever uses the sensor or the pipeline is not told that there is none."""
    text = DEVICE + "sensors: {imu: {driver: mpu6050, bus: i2c-1, rate: 50}}\n" + ACTIVITY
    text += "pipelines: {motion: {input: imu, model: activity, reprt: all}}\n"
    text += "rules: {r: {when: motion.label == 'row' and imu.acc_x > 1}}\n"
    assert [line.split(",")[0] for line in said(tmp_path, text)] == [
        "2:52: sensors.imu.rate: no unit",
        "4:51: pipelines.motion: unknown key 'reprt'",
    ]


def test_a_label_that_the_model_never_gives_is_warned_of(tmp_path: Path) -> None:
    text = IMU + ACTIVITY + "pipelines: {motion: {input: imu, model: activity}}\n"
    text += "rules: {r: {when: motion.label == 'abducton' or motion.label != 'row'}}\n"
    (warning,) = said(tmp_path, text)
    assert warning.startswith("5:19: warning: rules.r.when: motion.label is never 'abducton', expected ")
    assert "Did you mean 'abduction'?" in warning


def test_a_rule_may_name_any_channel_of_a_board_that_only_tells_when_it_runs(tmp_path: Path) -> None:
    text = DEVICE + "sensors: {motor: {driver: bridge, port: /dev/serial/by-id/usb-Uno-if00}}\n"
    rule = 'rules: {r: {when: motor.current > 3, do: [event: "{motor.current:.1f} A, {moter.current}"]}}\n'
    (fault,) = said(tmp_path, text + rule)
    assert "nothing is called moter.current" in fault


def test_an_actuator_hangs_on_a_sensor_of_its_own_driver(tmp_path: Path) -> None:
    relay = "actuators: {relay: {driver: bridge, sensor: imu, output: relay}}\n"
    (fault,) = said(tmp_path, IMU + relay)
    assert "imu is driven by mpu6050, expected a sensor of driver: bridge" in fault


def test_an_output_with_a_number_as_its_safe_value_takes_numbers(tmp_path: Path) -> None:
    fan = (
        "actuators: {fan: {driver: fake, safe: 0}}\nrules: {r: {when: imu.acc_x > 1, do: [set: {fan: %s}]}}\n"
    )
    assert said(tmp_path, IMU + fan % "0.5") == []
    assert "fan takes numbers, expected a number" in said(tmp_path, IMU + fan % "on")[0]


CAMERA = DEVICE + "sensors: {front: {driver: camera, folder: pictures, rate: 5 Hz}}\n"


def eye(folder: Path) -> None:
    """A bundle that takes pictures, as far as `check` looks."""
    folder.mkdir(parents=True)
    text = (own_bundles() / "activity" / "bundle.yaml").read_text()
    head, _, tail = text.partition("input:\n")
    pixel = ", ".join(f"{{name: {colour}, unit: '1'}}" for colour in ("red", "green", "blue"))
    of_pictures = f"  channels: [{pixel}]\n  shape: [96, 96]\n  rate: 1 Hz\n  window: 1 s\n  hop: 1 s\n"
    of_pictures += "  scaling: {mean: [0, 0, 0], std: [1, 1, 1]}\n"
    (folder / "bundle.yaml").write_text(head + "input:\n" + of_pictures + tail[tail.index("output:") :])
    for file in ("activity_int8.tflite", "golden.npz"):
        (folder / file).touch()


def test_a_model_of_pictures_wants_a_camera_and_a_camera_a_model_of_pictures(tmp_path: Path) -> None:
    eye(tmp_path / "models" / "eye")
    models = "models: {eye: {bundle: eye}, activity: {bundle: activity}}\n"
    pipe = "pipelines: {p: {input: %s, model: %s}}\n"
    assert said(tmp_path, CAMERA + models + pipe % ("front", "eye")) == []
    (fault,) = said(tmp_path, IMU + models + pipe % ("imu", "eye"))
    assert "the model takes pictures, expected a camera, and this sensor is none" in fault
    (fault,) = said(tmp_path, CAMERA + models + pipe % ("front", "activity"))
    assert "the model wants channel acc_x, expected one of the sensor's: file_size" in fault


def test_a_rule_names_a_cameras_file_size_and_what_its_model_says_and_no_colour(tmp_path: Path) -> None:
    eye(tmp_path / "models" / "eye")
    text = CAMERA + "models: {eye: {bundle: eye}}\npipelines: {p: {input: front, model: eye}}\n"
    rule = "rules: {r: {when: %s, do: [capture: {before: 5 s}]}}\n"
    assert said(tmp_path, text + rule % "front.file_size < 5000 and p.score > 0.5") == []
    assert "nothing is called front.red" in said(tmp_path, text + rule % "front.red > 5")[0]


def test_a_syntax_error_is_not_followed_by_what_the_parts_lack(tmp_path: Path) -> None:
    (only,) = said(tmp_path, "sensors: {")
    assert "not YAML" in only


def test_a_bundle_beside_the_file_comes_before_the_packages_own(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(IMU + ACTIVITY + "state: state\n")
    config = require(check(path))
    assert load_model(config.models["activity"], config, path).folder == own_bundles() / "activity"
    copy = tmp_path / "models" / "activity"
    shutil.copytree(own_bundles() / "activity", copy, ignore=shutil.ignore_patterns("recording", "*.py"))
    assert load_model(config.models["activity"], config, path).folder == copy


def test_the_path_of_a_bundle_is_relative_to_the_file(tmp_path: Path) -> None:
    bundle = tmp_path / "bundles" / "mine"
    shutil.copytree(own_bundles() / "activity", bundle, ignore=shutil.ignore_patterns("recording", "*.py"))
    assert said(tmp_path, IMU + "models: {activity: {bundle: bundles/mine}}\n") == []


def test_two_sensors_at_one_address_of_one_bus_are_a_fault_however_the_bus_is_written(tmp_path: Path) -> None:
    text = (
        DEVICE
        + """sensors:
  a: {driver: tmp102, bus: i2c-1, address: 0x48}
  b: {driver: tmp102, bus: i2c-1, address: 0x49}
  c: {driver: tmp102, bus: i2c-0, address: 0x48}
  d: {driver: ads1115, bus: /dev/i2c-1, address: 0x48}
"""
    )
    (fault,) = said(tmp_path, text)
    assert fault.startswith("6:3: sensors.d: a is at 0x48 of /dev/i2c-1 already")


def test_fakes_have_a_bus_each_and_a_bus_of_no_known_name_is_a_fault(tmp_path: Path) -> None:
    fakes = "sensors: {a: {driver: tmp102, bus: 'fake:tmp102'}, b: {driver: tmp102, bus: 'fake:tmp102'}}\n"
    assert said(tmp_path, DEVICE + fakes) == []
    (fault,) = said(tmp_path, DEVICE + "sensors: {a: {driver: tmp102, bus: spi0}}\n")
    assert "sensors.a.bus: no I2C bus is called 'spi0', expected i2c-1, or fake:CHIP" in fault


@pytest.mark.parametrize(
    ("driver", "address", "its_own"),
    [("mpu6050", 68, "0x68, 0x69"), ("bme280", 76, "0x76, 0x77"), ("sht3x", 0x40, "0x44, 0x45")],
)
def test_an_address_that_the_chip_cannot_have_is_warned_of(
    tmp_path: Path, driver: str, address: int, its_own: str
) -> None:
    sensor = f"sensors: {{s: {{driver: {driver}, bus: i2c-1, address: %s}}}}\n"
    (warning,) = said(tmp_path, DEVICE + sensor % address)
    assert f"warning: sensors.s.address: {address:#04x} is no address of this chip: {its_own} " in warning
    assert said(tmp_path, DEVICE + sensor % its_own.split(", ")[0]) == []


def test_a_chip_that_nobody_knows_may_have_any_address(tmp_path: Path) -> None:
    chip = "driver: i2c_registers, bus: i2c-1, address: 0x20, registers: {x: {register: 0, unit: V}}"
    assert said(tmp_path, DEVICE + f"sensors: {{s: {{{chip}}}}}\n") == []


def test_a_fake_that_does_not_exist_or_cannot_have_its_fault_is_found_before_the_start(
    tmp_path: Path,
) -> None:
    """What `run` would end with, `check` has said."""
    text = (
        DEVICE
        + """sensors:
  a: {driver: bme280, bus: "fake:bme28"}
  b: {driver: nmea, port: "fake:gsp"}
  c: {driver: lm75, bus: "fake:lm75", fake: {wrong_id: 3}}
  d: {driver: modbus_tcp, host: "fake:metre", registers: {x: {address: 1, unit: V}}}
"""
    )
    found = said(tmp_path, text)
    assert [line.partition(",")[0] for line in found] == [
        "3:28: sensors.a.bus: no fake chip is called 'bme28'",
        "4:27: sensors.b.port: no fake device is called 'gsp'",
        "5:56: sensors.c.fake.wrong_id: a Lm75 has no id that could be wrong",
        "6:33: sensors.d.host: no fake device is called 'metre'",
    ]
    assert [line.rpartition(". ")[2] for line in found[:2]] == [
        "Did you mean 'bme280'?",
        "Did you mean 'gps'?",
    ]


def test_a_serial_port_is_one_sensors_by_whichever_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "usb-Uno-if00").symlink_to(tmp_path / "ttyAMA7")
    text = (
        DEVICE
        + f"""sensors:
  a: {{driver: nmea, port: {tmp_path}/usb-Uno-if00}}
  b: {{driver: bridge, port: {tmp_path}/elsewhere}}
  c: {{driver: bridge, port: {tmp_path}/ttyAMA7}}
"""
    )
    (fault,) = said(tmp_path, text)
    assert fault.startswith("5:29: sensors.c.port: a reads ")
    assert "a port of its own. `edgeagent scan` shows" in fault


def test_modbus_devices_share_a_line_that_is_set_alike_for_all(tmp_path: Path) -> None:
    unit = "driver: modbus_rtu, port: /dev/serial/by-id/usb-485, registers: {x: {address: 1, unit: V}}"
    text = (
        DEVICE
        + f"""sensors:
  a: {{{unit}, device_id: 1}}
  b: {{{unit}, device_id: 2}}
  c: {{{unit}, device_id: 3, baud: 19200}}
"""
    )
    (fault,) = said(tmp_path, text)
    assert "sensors.c.port: a is on /dev/serial/by-id/usb-485 too, with baud: 9600, parity: none" in fault
    assert fault.endswith("expected the same for all devices of a line")


def test_an_accelerator_may_be_a_delegate_with_options_in_its_own_words(tmp_path: Path) -> None:
    text = IMU + "models: {activity: {bundle: activity, accelerator: {external: %s}}}\n"
    assert (
        said(tmp_path, text % "{library: /usr/lib/libvx_delegate.so, options: {cache: 3, path: /tmp}}") == []
    )
    config = require(check(tmp_path / "agent.yaml"))
    assert config.models["activity"].accelerator == External(
        external=Delegate(library="/usr/lib/libvx_delegate.so", options={"cache": "3", "path": "/tmp"})
    )
    (fault,) = said(tmp_path, text % "{librery: libvx.so, library: libvx.so}")
    assert "accelerator.external: unknown key 'librery'" in fault
    assert "Did you mean 'library'?" in fault
    assert said(tmp_path, text % "{options: {cache: 3}}")[0].endswith(
        "neither a library nor a provider, expected `library:` for a .tflite model, or `provider:` for an .onnx model"
    )
    (fault,) = said(tmp_path, text % "{library: libvx.so, provider: QNNExecutionProvider}")
    assert "both a library and a provider" in fault
    (fault,) = said(tmp_path, text % "{library: lib/libvx.so}")
    assert "an absolute path, or a bare name that the system's loader knows" in fault


def test_an_accelerator_that_the_bundle_has_nothing_for_is_found_at_its_key(tmp_path: Path) -> None:
    model = "models: {activity: {bundle: activity, accelerator: %s}}\n"
    assert "bundle activity has no variant for edgetpu:usb" in said(tmp_path, IMU + model % "edgetpu:usb")[0]
    (fault,) = said(tmp_path, IMU + model % "gpu")
    assert fault.startswith("3:52: models.activity.accelerator: accelerator 'gpu' is not known here")

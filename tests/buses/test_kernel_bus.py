"""The kernel's way to the chips: unmodified smbus2 and i2c-tools on `/dev/i2c-7`, the fake chips behind it.

A C library before libc answers `open` and `ioctl` (preload/shim.c). So LinuxAdapter, which no fake can stand in for,
is run too, down to the structures that go to the kernel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.buses.fake import Fake, bme280, mpu6050, sht3x, tmp102
from edgeagent.buses.fake.chip import STRETCH_LIMIT_S, FakeChip, FakeWires

HERE = Path(__file__).parent / "preload"
BUS = "/dev/i2c-7"
SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def needed(program: str, what: str) -> str:
    """Where a program is. Where it may be installed it must be there; elsewhere the tests say what they lack."""
    found = shutil.which(program, path=SYSTEM_PATH)
    if found is None and os.getuid() != 0:
        pytest.skip(f"not run: needs {what}")
    assert found is not None, f"needs {what}: sudo apt install {what.split()[-1]}"
    return found


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("preload") / "shim.so"
    compiler = needed("cc", "a C compiler, gcc")
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


@pytest.fixture
def chips() -> dict[int, FakeChip]:
    clock = RealClock()
    return {
        0x44: sht3x.build(clock, Fake(raw=((0x6666, 0x8000),))),
        0x48: tmp102.build(clock, Fake(raw=((0x1900,),))),
        0x68: mpu6050.build(clock, Fake()),
        0x76: bme280.build(clock, Fake(raw=((326816, 529191, 30281),))),
    }


@pytest.fixture
def environment(shim: Path, tmp_path: Path, chips: dict[int, FakeChip]) -> Iterator[dict[str, str]]:
    sys.path.insert(0, str(HERE))
    from simulator import Simulator

    path = tmp_path / "bus"
    simulator = Simulator(path, FakeWires(chips))
    yield {
        "LD_PRELOAD": str(shim),
        "EDGEAGENT_I2C_BUS": BUS,
        "EDGEAGENT_I2C_SOCKET": str(path),
        "PATH": SYSTEM_PATH,
    }
    simulator.close()


def run(environment: dict[str, str], *command: str | Path) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(environment: dict[str, str], code: str) -> str:
    return run(environment, sys.executable, "-c", code)


def test_smbus2_reads_a_byte_a_word_a_block_and_a_combined_transfer(environment: dict[str, str]) -> None:
    code = """
from smbus2 import SMBus, i2c_msg
with SMBus("/dev/i2c-7") as bus:
    print(bus.read_byte_data(0x68, 0x75))
    print(bus.read_word_data(0x76, 0x88))  # of little-endian bytes
    print(bus.read_i2c_block_data(0x76, 0x88, 2))
    bus.write_byte_data(0x68, 0x6B, 0x01)
    print(bus.read_byte_data(0x68, 0x6B))
    answer = i2c_msg.read(0x76, 1)
    bus.i2c_rdwr(i2c_msg.write(0x76, [0xD0]), answer)
    print(list(answer))
"""
    assert python(environment, code).split("\n")[:-1] == ["104", "28009", "[105, 109]", "1", "[96]"]


def test_i2cdetect_shows_who_is_there(environment: dict[str, str]) -> None:
    needed("i2cdetect", "Debian's i2c-tools")
    shown = run(environment, "i2cdetect", "-y", "7")
    there = [word for line in shown.splitlines()[1:] for word in line.split()[1:] if word != "--"]
    assert there == ["44", "48", "68", "76"]


def test_i2cget_and_i2ctransfer_read_registers(environment: dict[str, str]) -> None:
    needed("i2cget", "Debian's i2c-tools")
    assert run(environment, "i2cget", "-y", "7", "0x68", "0x75") == "0x68\n"
    assert run(environment, "i2ctransfer", "-y", "7", "w1@0x76", "0xd0", "r1") == "0x60\n"


@pytest.mark.parametrize(
    ("driver", "address", "values"),
    [
        ("tmp102", 0x48, [25.0]),
        ("sht3x", 0x44, [25.0, 50.000763]),
        ("bme280", 0x76, [24.78949, 100661.52, 68.66997]),
    ],
)
def test_drivers_read_the_same_values_through_the_kernels_interface(
    environment: dict[str, str], driver: str, address: int, values: list[float]
) -> None:
    code = f"""
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.config.parts import find
from edgeagent.sensors import Context
clock = RealClock()
driver = find("sensors", {driver!r})
options = driver.Options(bus="i2c-7", address={address}, rate=4.0)
sensor = driver.build("x", options, Context(clock, Buses(clock)))
sensor.open()
block = None
while block is None:
    clock.sleep_s((sensor.due_ns() - clock.now_ns()) / 1e9)
    block = sensor.read()
sensor.close()
print(*block.values[0])
"""
    assert [float(v) for v in python(environment, code).split()] == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"nak": 100}, "DeviceGone.*/dev/i2c-7 address 0x48: nothing answers.*i2cdetect -y 7"),
        ({"stuck": True}, "DeviceFault.*SDA or SCL is held low"),
        (
            {"slow_s": STRETCH_LIMIT_S + 1, "clock": VirtualClock()},
            "DeviceFault.*0x48: the chip held the clock for too long.*i2c_arm_baudrate=10000",
        ),
    ],
)
def test_what_the_kernel_says_of_a_fault_becomes_the_technicians_message(
    environment: dict[str, str], chips: dict[int, FakeChip], fault: dict[str, object], says: str
) -> None:
    for name, value in fault.items():
        setattr(chips[0x48], name, value)
    code = """
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.errors import DeviceFault
try:
    Buses(RealClock()).i2c("i2c-7").read(0x48, 0, 2)
except DeviceFault as fault:
    print(type(fault).__name__, fault)
"""
    assert re.search(says, python(environment, code))


def test_a_bus_that_does_not_exist_is_told_from_one_that_does(environment: dict[str, str]) -> None:
    code = """
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.errors import DeviceGone
bus = Buses(RealClock()).i2c("i2c-77")
try:
    bus.read(0x48, 0, 2)
except DeviceGone as fault:
    print(fault)
"""
    assert "/dev/i2c-77: this bus does not exist" in python(environment, code)


def test_a_scan_through_the_kernels_interface_names_the_chips(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "i2c-7").touch()
    code = f"""
from pathlib import Path
from edgeagent.agent.clock import RealClock
from edgeagent.buses.scan.i2c import scan_i2c
from edgeagent.buses.scan.machine import Machine
for device in scan_i2c(Machine(RealClock(), Path({str(tmp_path)!r}))).devices:
    print(device.place, device.sensor["driver"])
"""
    assert python(environment, code).splitlines() == [
        "i2c-7 0x44 sht3x",
        "i2c-7 0x48 tmp102",
        "i2c-7 0x68 mpu6050",
        "i2c-7 0x76 bme280",
    ]

"""The board itself, on trees laid out as the kernel documents them, and on this machine."""

from __future__ import annotations

import math
import os
import subprocess
from pathlib import Path

import pytest

from edgeagent.errors import ConfigFault
from edgeagent.sensors.system import GET_THROTTLED, Name, Options, System, layout


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def read(root: Path, *channels: Name, links: list[str] | None = None) -> tuple[tuple[float, ...], str]:
    row = System(Options(root=root, channels=list(channels), links=links or [])).measure()
    assert not hasattr(row, "send")
    return tuple(row)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("flags", "under_voltage", "throttled"),
    [("0", 0, 0), ("1", 1, 0), ("2", 0, 1), ("4", 0, 1), ("8", 0, 1), ("50000", 0, 0), ("50005", 1, 1)],
)
def test_the_firmwares_bits_are_read_as_raspberry_pi_documents_them(
    tmp_path: Path, flags: str, under_voltage: int, throttled: int
) -> None:
    write(tmp_path, GET_THROTTLED, flags + "\n")
    assert read(tmp_path, "under_voltage", "throttled") == ((under_voltage, throttled), "")


def test_without_the_firmwares_file_the_kernels_voltage_monitor_is_asked(tmp_path: Path) -> None:
    for number, name, alarm in ((0, "cpu_thermal", "0"), (1, "rpi_volt", "1")):
        write(tmp_path, f"sys/class/hwmon/hwmon{number}/name", name + "\n")
        write(tmp_path, f"sys/class/hwmon/hwmon{number}/in0_lcrit_alarm", alarm + "\n")
    (value, throttled), reason = read(tmp_path, "under_voltage", "throttled")
    assert value == 1.0
    assert math.isnan(throttled)
    assert reason == "throttled: this board does not say"


def test_a_thermal_zone_that_has_no_value_yet_is_missing_with_what_the_kernel_says(tmp_path: Path) -> None:
    """EAGAIN: of a file, only one end of a pipe with nothing in it gives that without a kernel's driver."""
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    os.mkfifo(tmp_path / "sys/class/thermal/thermal_zone0/temp")
    writer = os.open(tmp_path / "sys/class/thermal/thermal_zone0/temp", os.O_RDWR)
    (value,), reason = read(tmp_path, "cpu_temperature")
    os.close(writer)
    assert math.isnan(value)
    assert "Resource temporarily unavailable" in reason


def test_what_a_board_does_not_have_is_missing_each_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path, "proc/uptime", "12.5 3.0\n")
    write(tmp_path, "proc/loadavg", "\n")
    channels: list[Name] = ["cpu_temperature", "under_voltage", "load", "memory_used", "uptime"]
    values, reason = read(tmp_path, *channels, links=["eth0"])
    assert [v for v in values if not math.isnan(v)] == [12.5]
    assert [part.split(":")[0] for part in reason.split("; ")] == [
        *("cpu_temperature", "under_voltage", "load", "memory_used", "link_eth0")
    ]


def test_the_disk_is_used_as_df_says(tmp_path: Path) -> None:
    [used], _ = read(tmp_path, "disk_used")
    df = subprocess.run(["df", "--output=pcent", "/"], capture_output=True, text=True, check=True)
    said = df.stdout.split()[-1].rstrip("%")
    assert used * 100 == pytest.approx(float(said), abs=1.5)


def test_on_a_linux_machine_load_memory_disk_and_uptime_are_there() -> None:
    row, reason = read(Path("/"), "load", "memory_used", "disk_used", "uptime", links=["lo"])
    load, memory, disk, uptime, _ = row
    assert reason == ""
    assert load >= 0
    assert 0 < memory < 1
    assert 0 <= disk <= 1
    assert uptime > 0


def test_no_channels_and_no_links_are_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigFault, match="no channels"):
        layout(Options(channels=[]))

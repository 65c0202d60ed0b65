"""No driver without a fake, and no fault of a fake without a test: what the other files of this folder leave out."""

from __future__ import annotations

import msgspec
import pytest
import test_i2c_faults
import test_line_faults
from driven import TRIED
from test_sensors import IN_FILES, ON_FAKE_BUS, ON_FAKE_LINE

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import Fake, FakeDevice
from edgeagent.config import parts
from edgeagent.sensors import Context, random, recording, sine

MATRICES = (test_i2c_faults, test_line_faults)  # imported, they have told TRIED
WITHOUT_A_DEVICE = {"random": random, "recording": recording, "sine": sine}
NO_FAULTS = {Fake: {"raw", "recording", "address"}, FakeDevice: {"says", "rate"}}


@pytest.mark.parametrize("driver", sorted(set(parts.names("sensors")) - WITHOUT_A_DEVICE.keys()))
def test_every_driver_has_a_case_whose_device_takes_faults(driver: str) -> None:
    folders = (*ON_FAKE_BUS, *ON_FAKE_LINE, *IN_FILES)
    assert any(f"driver: {driver}" in (folder / "config.yaml").read_text() for folder in folders), (
        f"a case of `driver: {driver}` with `bus: fake:CHIP`, `port: fake:DEVICE`, or a tree of files"
    )


@pytest.mark.parametrize("fakes", NO_FAULTS)
def test_every_fault_that_a_fake_takes_is_tried_on_every_driver(fakes: type[msgspec.Struct]) -> None:
    assert TRIED[fakes] == {field.name for field in msgspec.structs.fields(fakes)} - NO_FAULTS[fakes]


def test_a_sensor_without_a_device_has_no_port_that_could_fail() -> None:
    clock = VirtualClock()
    made = (
        sine.build("wave", sine.Options(), Context(clock, Buses(clock))),
        random.build("noise", random.Options(), Context(clock, Buses(clock))),
    )
    assert {sensor.port for sensor in made} == {"generated wave", "generated noise"}

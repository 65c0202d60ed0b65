"""The bridge actuator: an output of a sensor's board."""

from __future__ import annotations

import pytest

from edgeagent.actuators import bridge, fake
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.errors import ConfigFault
from edgeagent.sensors import Context
from edgeagent.sensors import bridge as bridge_sensor
from edgeagent.sensors.bridge import BridgeSensor


def motor() -> BridgeSensor:
    """A bridge sensor whose port is not there."""
    clock = RealClock()
    sensor = bridge_sensor.build(
        "motor", bridge_sensor.Options(port="/dev/none"), Context(clock, Buses(clock))
    )
    assert isinstance(sensor, BridgeSensor)
    return sensor


def test_driving_asks_the_sensors_board_and_a_switch_is_one_or_zero() -> None:
    sensor = motor()
    actuator = bridge.build("relay", bridge.Options(sensor="motor", output="k1"), {"motor": sensor})
    actuator.drive(True)
    assert sensor.output_state("k1")["asked"] == 1.0
    actuator.drive(False)
    assert sensor.output_state("k1")["asked"] == 0.0
    actuator.drive(0.25)
    assert actuator.state() == sensor.output_state("k1")


@pytest.mark.parametrize(
    ("sensor", "found"), [("moter", "'moter' is not there"), ("imu", "'imu' has no outputs")]
)
def test_a_sensor_that_is_not_there_or_has_no_outputs_is_a_config_fault_that_names_those_that_have(
    sensor: str, found: str
) -> None:
    options = bridge.Options(sensor=sensor, output="relay")
    with pytest.raises(ConfigFault) as e:
        bridge.build("relay", options, {"imu": object(), "motor": motor()})
    assert str(e.value) == (
        f"actuators.relay.sensor: sensor {found}; expected a sensor with `driver: bridge`: motor"
    )


def test_the_fake_does_what_it_is_asked_and_counts_changes() -> None:
    actuator = fake.build("relay", fake.Options(), {})
    assert actuator.state() == {"asked": None, "reported": None, "changes": 0, "error": None}
    for value in (False, True, True, False):
        actuator.drive(value)
    assert actuator.state() == {"asked": False, "reported": False, "changes": 2, "error": None}

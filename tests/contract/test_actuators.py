"""What every actuator file keeps, whichever it is: a new one is tested by existing, given an example here."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import pytest

from edgeagent.actuators import Actuator
from edgeagent.agent.clock import RealClock
from edgeagent.buses import Buses
from edgeagent.config.parts import find, names
from edgeagent.sensors import Context, Sensor, bridge

# What each file's keys may be, as the YAML would have them; nothing is connected.
EXAMPLES: dict[str, dict[str, object]] = {
    "bridge": {"sensor": "motor", "output": "relay"},
    "fake": {},
    "modbus": {"sensor": "drive", "register": 8193, "type": "float32"},
}
Make = Callable[[], Actuator]


def drive(context: Context) -> Sensor:
    from edgeagent.sensors import modbus_rtu
    from edgeagent.sensors.modbus import Register

    registers = {"speed": Register(address=0, unit="1/min")}
    options = modbus_rtu.Options(port="/dev/none", device_id=1, registers=registers)
    return modbus_rtu.build("drive", options, context)


@pytest.fixture(params=names("actuators"))
def make(request: pytest.FixtureRequest) -> Make:
    file = request.param
    module = find("actuators", file)
    options = msgspec.convert(EXAMPLES[file], module.Options)
    clock = RealClock()

    def make() -> Actuator:
        context = Context(clock, Buses(clock))
        motor = bridge.build("motor", bridge.Options(port="/dev/none"), context)
        built: Actuator = module.build("relay", options, {"motor": motor, "drive": drive(context)})
        return built

    return make


def test_before_it_is_driven_nothing_was_asked_and_nothing_changed(make: Make) -> None:
    state = make().state()
    assert (state["asked"], state["changes"]) == (None, 0)


@pytest.mark.parametrize("value", [True, False, 0.25, -1e300, math.inf])
def test_drive_takes_any_level_without_a_device_and_state_says_what_was_asked(
    make: Make, value: float
) -> None:
    actuator = make()
    actuator.drive(value)
    assert actuator.state()["asked"] == value


def test_state_has_the_four_keys_that_status_shows_and_json_can_hold_them(make: Make) -> None:
    actuator = make()
    actuator.drive(True)
    state = actuator.state()
    assert set(state) == {"asked", "reported", "changes", "error"}
    assert msgspec.json.decode(msgspec.json.encode(state)) == state


def test_the_latest_value_driven_is_the_one_asked(make: Make) -> None:
    actuator = make()
    for value in (True, False, True):
        actuator.drive(value)
    assert actuator.state()["asked"] == True  # noqa: E712 - a switch may be kept as 1.0


def test_a_device_that_is_not_there_is_an_error_in_words_not_a_report(make: Make) -> None:
    actuator = make()
    actuator.drive(True)
    state = actuator.state()
    assert state["reported"] == state["asked"] or (state["reported"] is None and state["error"])


def test_close_may_be_called_twice(make: Make) -> None:
    actuator = make()
    actuator.close()
    actuator.close()


@pytest.mark.parametrize("file", names("actuators"))
def test_options_are_frozen(file: str) -> None:
    assert find("actuators", file).Options.__struct_config__.frozen

"""Every driver on a serial line or a connection against every fault that the fake devices take: see FakeDevice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from driven import Driven, rows, tries, values
from test_sensors import ON_FAKE_LINE, Case

from edgeagent.buses import Buses
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.line import FakeLine, Spoilt
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S
from edgeagent.sensors import Context

# A checksum in every message: what was spoilt is missing, and never another number. Plain text has none, and
# Modbus on TCP leaves it to TCP, which hands on no byte that is not as it was sent.
CHECKED = ("bridge", "modbus_rtu", "nmea")
# What is missing is known where samples are counted, or asked for at a rate; who prints does not number his lines.
COUNTED = ("bridge", "modbus_rtu", "modbus_tcp")


class Lines(Buses):
    """The buses, and the last line of them: to have its faults."""

    line: FakeLine

    def port(self, *args: Any, **more: Any) -> FakeLine:
        line = super().port(*args, **more)
        assert isinstance(line, FakeLine)
        self.line = line
        return line


class Lined(Driven):
    """A case with its line at hand."""

    def __init__(self, case: Case) -> None:
        lines = Lines(case.clock)
        super().__init__(case, lines)
        self.line = lines.line
        self.driver = case.module.__name__.rpartition(".")[2]

    def errors(self) -> float:
        """All that was counted, but for what is no error."""
        counted = self.sensor.counters()
        fine = ("good_frames", "true_rate_hz", "clock_drift_ppm", "round_trip_ms", "late_p99_ms")
        return sum(n for cause, n in counted.items() if cause not in fine)


@pytest.fixture(params=ON_FAKE_LINE, ids=lambda p: p.name)
def lined(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lined]:
    lined = Lined(Case(request.param, tmp_path))
    yield lined
    lined.sensor.close()


@tries(FakeDevice, "unplugged")
def test_a_device_that_is_unplugged_is_gone_and_read_again_when_it_is_replugged(lined: Lined) -> None:
    lined.sensor.open()
    (*_, last) = lined.run(lined.periods_s)
    lined.line.unplugged = True
    with pytest.raises(DeviceGone, match=r"fake:\w+: unplugged"):
        lined.run(lined.periods_s)
    lined.sensor.close()
    with pytest.raises(DeviceGone):
        lined.sensor.open()
    lined.sensor.close()
    lined.line.unplugged = False
    lined.sensor.open()
    first = lined.run(lined.periods_s)[0]
    assert first.seq > last.seq
    assert first.t_mono_ns[0] > last.t_mono_ns[-1]


@tries(FakeDevice, "half", "garbage", "reordered", "noise")
@pytest.mark.parametrize("spoilt", ["half", "garbage", "reordered", "noise"])
def test_messages_that_are_spoilt_are_missing_where_that_can_be_seen_and_the_next_ones_are_read_clean(
    lined: Lined, spoilt: Spoilt
) -> None:
    lined.line.program.stuck_value = True
    lined.sensor.open()
    clean = values(lined.run(2 * lined.periods_s))[-1]
    errors = lined.errors()
    lined.line.spoils[spoilt] = 3
    during = values(lined.run_as_reader(2 * lined.periods_s))
    assert lined.line.spoils[spoilt] == 0
    if lined.driver in CHECKED:
        assert lined.errors() > errors
        assert ((during == clean) | np.isnan(during)).all()
    after = lined.run_as_reader(lined.periods_s)
    assert rows(after) >= 9
    assert (values(after) == clean).all()
    assert [b.lost for b in after[1:]] == [0] * (len(after) - 1)


@tries(FakeDevice, "slow")
def test_what_comes_late_is_read_late_and_in_order(lined: Lined) -> None:
    lined.line.slow_s = 0.2
    lined.sensor.open()
    blocks = lined.run(3 * lined.periods_s)
    t_ns = np.concatenate([b.t_mono_ns for b in blocks])
    assert len(t_ns) > 10
    assert (np.diff(t_ns) > 0).all()
    assert t_ns[-1] <= lined.clock.now_ns()
    assert not np.isnan(values(blocks)[-1]).all()


@tries(FakeDevice, "silent")
def test_a_device_that_answers_for_an_hour_and_then_no_more_is_a_fault_and_comes_back_with_the_gap_told(
    lined: Lined,
) -> None:
    lined.sensor.open()
    rate_hz = float(lined.case.expected["rate_hz"])
    hour = lined.run(3600.0)
    assert rows(hour) + sum(b.lost for b in hour) == pytest.approx(3600 * rate_hz, abs=2)
    lined.line.silent = True
    quiet_from_ns = lined.clock.now_ns()
    with pytest.raises(DeviceFault) as raised:
        lined.run(60.0)
    assert raised.value.where
    assert raised.value.hint
    lined.sensor.close()
    lined.clock.sleep_s(60)
    lined.line.silent = False
    lined.sensor.open()
    after = lined.run(2 * lined.periods_s)
    away_s = (after[0].t_mono_ns[0] - hour[-1].t_mono_ns[-1]) / NS_PER_S
    assert after[0].t_mono_ns[0] > quiet_from_ns
    if lined.driver in COUNTED:
        assert sum(b.lost for b in after) == pytest.approx(away_s * rate_hz, rel=0.2, abs=2)


def test_a_device_that_was_never_there_is_a_fault_that_says_where_and_what_to_check(lined: Lined) -> None:
    lined.line.silent = True
    with pytest.raises(DeviceFault, match=r"fake:\w+") as raised:
        open_and_listen(lined)
    assert raised.value.hint


def open_and_listen(lined: Lined) -> None:
    lined.sensor.open()
    lined.run(60.0)


@tries(FakeDevice, "stuck_value")
def test_a_value_that_a_device_repeats_is_passed_on_as_it_is(lined: Lined) -> None:
    """Whether a value may stay the same for so long, only conditioning can know."""
    lined.sensor.open()
    lined.run(lined.periods_s)
    lined.line.program.stuck_value = True
    lined.run(lined.periods_s)
    assert len(np.unique(values(lined.run(lined.periods_s)), axis=0)) == 1


@tries(FakeDevice, "wrong_id")
def test_a_device_with_another_id_is_not_taken_and_one_without_an_id_cannot_have_a_wrong_one(
    lined: Lined,
) -> None:
    case = lined.case
    options = msgspec.structs.replace(
        case.options, fake=msgspec.structs.replace(case.options.fake, wrong_id=99)
    )
    context = Context(case.clock, Buses(case.clock))
    if not lined.line.program.HAS_ID:
        with pytest.raises(ConfigFault, match="has no id"):
            case.module.build(case.name, options, context)
        return
    sensor = case.module.build(case.name, options, context)
    with pytest.raises(DeviceFault, match="99"):
        sensor.open()
    sensor.close()

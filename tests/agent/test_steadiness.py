"""A sensor that answers and yet is not well: too slow, too fast, unusable, or only after many tries."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import numpy as np
import pytest

from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.readers import Device
from edgeagent.agent.threads import Inbox
from edgeagent.errors import DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S, Block, Channel, Layout

RATE_HZ = 50.0
LAYOUT = Layout(RATE_HZ, (Channel("x", "V"),))


class Device50:
    """A sensor of 50 Hz that is read ten times a second and gives what it is told to."""

    port = "probe"
    wake: Callable[[], None] | None = None
    truth: Callable[[int, int], str | None] | None = None

    def __init__(self, clock: VirtualClock) -> None:
        self.layout: Layout | None = LAYOUT
        self.gives_hz, self.bad, self.retries_a_read = RATE_HZ, 0.0, 0.0
        self.fault: DeviceFault | None = None
        self.counted: dict[str, int | float] = {"true_rate_hz": RATE_HZ, "i2c_retries": 0}
        self._clock = clock
        self._due_ns = self._since_ns = clock.now_ns()
        self._owed = self._retries = 0.0
        self._bad_so_far = 0.0

    def open(self) -> None:
        self._due_ns = self._since_ns = self._clock.now_ns()

    def due_ns(self) -> int:
        return self._due_ns

    def read(self) -> Block | None:
        if self.fault is not None:
            raise self.fault
        now_ns = self._clock.now_ns()
        self._due_ns = now_ns + NS_PER_S // 10
        self._owed += self.gives_hz * (now_ns - self._since_ns) / NS_PER_S
        self._since_ns = now_ns
        self._retries += self.retries_a_read
        self.counted["i2c_retries"] = int(self._retries)
        n, self._owed = int(self._owed), self._owed % 1
        if not n:
            return None
        self._bad_so_far += self.bad * n
        bad, self._bad_so_far = int(self._bad_so_far), self._bad_so_far % 1
        values = np.array([math.nan] * bad + [1.0] * (n - bad), np.float32)[:, None]
        t_ns = now_ns - np.arange(n)[::-1]
        return Block("probe", 1, t_ns, values, now_ns, reasons=("the checksum is wrong",) if bad else ())

    def close(self) -> None:
        pass

    def counters(self) -> dict[str, int | float]:
        return self.counted


class Bench:
    """The device under the eyes of the agent."""

    def __init__(self) -> None:
        self.clock = VirtualClock(NS_PER_S)
        self.probe = Device50(self.clock)
        self.device = Device("meter", self.probe, self.clock, Inbox())

    def runs(self, seconds: float) -> tuple[str, str]:
        """Its state and the reason, after so long."""
        end_ns = self.clock.now_ns() + round(seconds * NS_PER_S)
        while self.device.due_ns() <= end_ns:
            self.clock.sleep_s(max(self.device.due_ns() - self.clock.now_ns(), 0) / NS_PER_S)
            self.device.step()
        self.clock.sleep_s((end_ns - self.clock.now_ns()) / NS_PER_S)
        status = self.device.status()
        return status["state"], status["reason"]


@pytest.fixture
def bench(caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level(logging.INFO)
    return Bench()


def test_a_device_that_cannot_hold_its_rate_is_degraded_says_so_once_and_once_when_it_can_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.runs(30) == ("ok", "")
    bench.probe.gives_hz = 31
    state, reason = bench.runs(40)
    assert state == "degraded"
    assert reason.startswith("it cannot hold 50 Hz and gives 31 Hz. ")
    bench.probe.gives_hz = RATE_HZ
    assert bench.runs(25) == ("ok", "")
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "sensor meter is degraded",
        "sensor meter is well again after 40.0 s",
    ]


def test_who_is_to_blame_for_a_rate_that_is_not_held_is_told(bench: Bench) -> None:
    bench.probe.gives_hz = 31
    bench.probe.counted["reading_ms"] = 32.1
    assert bench.runs(12)[1].endswith("A reading takes 32.1 ms: lower its `rate:`, or raise the bus clock")
    bench.probe.counted["reading_ms"] = 1.5
    assert "The board is busy, or the other sensors of its bus are" in bench.runs(12)[1]


def test_between_the_two_limits_it_stays_as_it_was(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.probe.gives_hz = 0.85 * RATE_HZ
    assert bench.runs(60) == ("ok", "")
    bench.probe.gives_hz = 0.7 * RATE_HZ
    assert bench.runs(20)[0] == "degraded"
    bench.probe.gives_hz = 0.85 * RATE_HZ
    assert bench.runs(60)[0] == "degraded"
    assert len(caplog.messages) == 1


def test_a_device_that_gives_more_than_the_config_says_is_told_to_be_corrected(bench: Bench) -> None:
    bench.probe.gives_hz = 100
    assert bench.runs(12) == (
        "degraded",
        "it gives 100 Hz, more than the 50 Hz of its `rate:`. Correct that",
    )


def test_a_device_that_states_no_rate_gives_what_it_likes(bench: Bench) -> None:
    del bench.probe.counted["true_rate_hz"]
    bench.probe.gives_hz = 3
    assert bench.runs(60) == ("ok", "")


def test_one_hold_up_of_a_second_is_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.runs(15)
    bench.probe.gives_hz = 0
    bench.runs(1)
    bench.probe.gives_hz = RATE_HZ
    assert bench.runs(30) == ("ok", "")
    assert not caplog.messages


def test_many_retries_are_told_before_they_become_a_loss(bench: Bench) -> None:
    bench.probe.retries_a_read = 0.5
    assert bench.runs(12) == (
        "degraded",
        "50 retries in 101 reads. Check wiring, cable length and pull-ups",
    )
    bench.probe.retries_a_read = 0.02
    assert bench.runs(25)[0] == "ok"


def test_many_samples_without_any_value_are_told_with_their_reason(bench: Bench) -> None:
    bench.probe.bad = 0.3
    state, reason = bench.runs(12)
    assert state == "degraded"
    assert reason.endswith("samples could not be used: the checksum is wrong")
    bench.probe.bad = 0.0
    assert bench.runs(25)[0] == "ok"


def test_a_slow_sensor_is_judged_over_thirty_periods(bench: Bench) -> None:
    bench.probe.layout = Layout(0.1, LAYOUT.channels)
    bench.probe.gives_hz = 0.05
    assert bench.runs(290)[0] == "ok"
    assert bench.runs(20)[0] == "degraded"


def test_one_that_was_degraded_is_back_with_a_reading_and_not_with_an_open_port(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.runs(1)
    for _ in range(5):
        bench.probe.fault = DeviceFault("it has printed no line for 10 s")
        bench.runs(2)
        bench.probe.fault, bench.probe.gives_hz = None, 0
        assert bench.runs(11)[0] == "degraded"
    bench.probe.gives_hz = RATE_HZ
    assert bench.runs(2)[0] == "ok"
    assert [message.partition(":")[0] for message in caplog.messages] == [
        "sensor meter is degraded",
        "sensor meter is back after 65.0 s",
    ]


def test_one_that_was_unplugged_is_judged_anew(bench: Bench) -> None:
    bench.probe.gives_hz = 30
    assert bench.runs(12)[0] == "degraded"
    bench.probe.fault = DeviceGone("unplugged")
    assert bench.runs(2)[0] == "gone"
    bench.probe.fault, bench.probe.gives_hz = None, RATE_HZ
    assert bench.runs(5) == ("ok", "")

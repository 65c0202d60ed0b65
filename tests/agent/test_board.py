"""An agent with a microcontroller on its port: the output is safe however the agent ends, and a replug is survived."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest
from agents import Site, running, wait_for

from edgeagent.agent.clock import RealClock
from edgeagent.buses.fake.board import Firmware, VirtualBoard

MOTOR = """\
sensors:
  motor: {driver: bridge, port: board, channels: {temperature: degC, current: A}}
actuators:
  relay: {driver: bridge, sensor: motor, output: relay, safe: off}
rules:
  always: {when: motor.current > 0, do: [{set: {relay: on}}]}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@contextmanager
def plugged_in(site: Site) -> Iterator[Firmware]:
    """A board behind the path `board`, until the cable is pulled."""
    board, stop = VirtualBoard(RealClock(), site.folder / "board"), Event()
    thread = Thread(target=board.serve, args=(stop,))
    thread.start()
    try:
        yield board.firmware
    finally:
        stop.set()
        thread.join()
        board.unplug()


def test_the_relay_is_off_when_the_agent_has_stopped(site: Site) -> None:
    site.write(MOTOR)
    with plugged_in(site) as board, running(site) as agent:
        wait_for(lambda: board.relay_on)
        agent.stop()
        wait_for(lambda: not board.relay_on)
        assert board.failsafes == 0, "it was told so, and did not have to find out"


def test_a_reload_turns_the_relay_off_and_a_rule_that_still_holds_on_again(site: Site) -> None:
    site.write(MOTOR)
    with plugged_in(site) as board, running(site) as agent:
        wait_for(lambda: board.relay_on)
        site.write(MOTOR.replace("> 0", "> 1000"))
        agent.send(signal.SIGHUP)
        wait_for(lambda: not board.relay_on)
        site.write(MOTOR)
        agent.send(signal.SIGHUP)
        wait_for(lambda: board.relay_on)
        status = agent.status()["sensors"]["motor"]
        assert status["state"] == "ok"
        assert status["for_s"] == pytest.approx(agent.status()["uptime_s"], abs=3.0), "it was never let go"
    assert board.failsafes == 0


def test_a_board_that_is_absent_unplugged_and_plugged_in_again_is_told_once_each(site: Site) -> None:
    site.write(MOTOR)
    with running(site) as agent:
        agent.until(lambda s: s["sensors"]["motor"]["state"] == "gone")
        with plugged_in(site) as board:
            agent.until(lambda s: s["state"] == "ok")
            wait_for(lambda: board.relay_on)
        agent.until(lambda s: s["sensors"]["motor"]["state"] == "gone")
        with plugged_in(site):
            agent.until(lambda s: s["sensors"]["motor"]["state"] == "ok")
            agent.stop()
    assert agent.said.count("sensor motor is gone") == 2
    assert agent.said.count("sensor motor is back") == 2


def test_a_board_whose_channels_do_not_fit_the_model_stands_still_and_says_so(site: Site) -> None:
    site.write(
        MOTOR, "models: {activity: {bundle: activity}}\npipelines: {motion: {input: motor, model: activity}}"
    )
    with plugged_in(site) as board, running(site) as agent:
        status = agent.until(lambda s: s["pipelines"]["motion"]["unfit"])
        assert status["degraded"] == [
            "pipeline motion: motor does not fit its model: "
            "the model wants channel acc_x; expected one of the sensor's: temperature, current"
        ]
        wait_for(lambda: board.relay_on)  # the rules run on
        agent.stop()
    assert agent.said.count("pipeline motion stands still") == 1


def test_a_dry_run_leaves_the_board_alone(site: Site) -> None:
    site.write(MOTOR)
    with plugged_in(site) as board, running(site, "--dry-run") as agent:
        wait_for(lambda: "type=output actuator=relay value=True" in agent.printed)
        agent.stop()
        assert board.relay_changes == 0

"""`edgeagent run` as a process: how it starts, ends and fails, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import pytest
from agents import COUNTER, IMU, MOTION, WIRE, Site, running, scaled, wait_for, worker_of

from edgeagent.cli import BUG, FAULTS, OK

STOP_S = 2.0


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def upstream(url: str) -> str:
    return f"upstream: {{fleet: {{http: {{url: '{url}'}}}}}}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_it_within_2_s_with_every_record_durable(site: Site, number: int) -> None:
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["counts"]["windows"].get("all", 0) > 20)
        assert agent.stop(number) < STOP_S
        assert agent.wait() == OK
    last = site.last_status()
    assert last["state"] == "stopped"
    assert last["outbox"]["unwritten"] == 0
    assert site.records() == last["outbox"]["made"] == site.records_due() > 20


def test_it_stops_within_2_s_though_all_hangs_that_can(site: Site) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:  # takes the connection, and never answers
        sensors = MOTION.replace("sensors:", "sensors:\n  counter: {driver: acme_counter, mood: mood}")
        site.write(sensors, upstream(f"http://127.0.0.1:{deaf.getsockname()[1]}"))
        with running(site, *scaled()) as agent:
            agent.until(lambda s: s["models"]["activity"]["state"] == "ok" and s["outbox"]["made"])
            worker = worker_of(agent)
            site.feel("block")
            os.kill(worker, signal.SIGSTOP)
            agent.until(lambda s: s["sensors"]["counter"]["state"] == "hung")
            assert agent.stop() < STOP_S
    assert agent.wait() == OK
    assert site.records() == site.last_status()["outbox"]["made"] > 0
    wait_for(
        lambda: not Path(f"/proc/{worker}").exists()
    )  # a stopped worker would never see its socket close


def test_a_signal_during_delivery_ends_it_at_once_and_keeps_what_is_left(site: Site) -> None:
    site.write(COUNTER, upstream("http://127.0.0.1:9"))
    with running(site, *scaled(), "--for", "20 s") as agent:
        agent.until(lambda s: s["state"] == "stopping")
        assert agent.stop() < STOP_S
        assert agent.wait() == OK
    assert site.records() == site.last_status()["outbox"]["made"] > 0


def test_for_a_time_runs_that_long_and_delivers(site: Site) -> None:
    site.write(COUNTER, "upstream: {stick: {directory: {path: stick}}}")
    with running(site, *scaled(), "--for", "20 s") as agent:
        agent.wait()
    last = site.last_status()
    assert last["uptime_s"] >= 20.0
    assert last["outbox"]["made"] == last["outbox"]["delivered"] == site.records_due() > 10
    assert site.records() == 0
    assert list(site.stick.glob("*.msgpack"))


def test_once_ends_as_soon_as_each_pipeline_has_predicted_and_delivers(site: Site) -> None:
    site.write(MOTION, "upstream: {stick: {directory: {path: stick}}}")
    with running(site, *scaled(2), "--once") as agent:
        assert agent.wait() == OK
    last = site.last_status()
    assert last["pipelines"]["motion"]["label"] is not None
    assert last["outbox"]["delivered"] == last["outbox"]["made"] >= 1


def test_once_gives_up_after_30_s_and_says_what_it_waited_for(site: Site) -> None:
    site.write(MOTION.replace("fake: {", "fake: {nak: 1000000, "))
    with running(site, *scaled(100), "--once") as agent:
        assert agent.wait() == FAULTS
    assert "no prediction of motion" in agent.said
    assert "sensor imu is gone" in agent.said


def test_a_dry_run_prints_and_drives_stores_and_sends_nothing(site: Site) -> None:
    site.write(COUNTER, WIRE, "upstream: {stick: {directory: {path: stick}}}")
    with running(site, *scaled(), "--dry-run") as agent:
        wait_for(lambda: "type=decision rule=many" in agent.printed and "reason=everything" in agent.printed)
        agent.stop()
        assert agent.wait() == OK
    assert site.driven() == []
    assert list(site.stick.iterdir()) == []
    assert sorted(p.name for p in site.state.rglob("*") if p.is_file()) == ["lock", "status.json"]


def test_a_faulty_config_is_told_by_line_and_column_and_nothing_starts(site: Site) -> None:
    site.write(COUNTER.replace("acme_counter, mood", "acme_counter, moud"))
    with running(site) as agent:
        assert agent.wait() == FAULTS
    assert f"{site.config}:4:35: sensors.counter: unknown key 'moud'" in agent.said
    assert not site.state.exists()


def test_a_warning_is_told_and_it_runs(site: Site) -> None:
    site.config.write_text(f"state: {site.state}\nsensors: {{imu: {IMU}}}")
    with running(site, "--once") as agent:
        assert agent.wait() == OK
    assert "warning: device.id is missing" in agent.said


def test_a_second_agent_on_one_state_folder_is_told_who_has_it(site: Site) -> None:
    site.write(COUNTER)
    with running(site) as agent:
        agent.until(lambda s: s["state"] == "ok")
        with running(site, env={"RUNTIME_DIRECTORY": str(site.folder / "other")}) as other:
            assert other.wait() == FAULTS
        assert f"another agent uses this state folder (pid {agent.pid})" in other.said
        assert agent.status()["state"] == "ok"


def test_a_state_folder_that_cannot_be_made_is_told_with_its_cure(site: Site) -> None:
    site.state.write_text("in the way")
    site.write(COUNTER)
    with running(site) as agent:
        assert agent.wait() == FAULTS
    assert f"{site.state}" in agent.said
    assert "set `state:` in the config" in agent.said


def test_a_thread_that_ends_by_a_bug_ends_the_agent_with_70_outputs_safe_and_records_durable(
    site: Site,
) -> None:
    site.write(COUNTER, WIRE)
    with running(site) as agent:
        agent.until(lambda s: s["actuators"]["wire"]["asked"] and s["outbox"].get("made"))
        site.feel("crash")
        assert agent.wait() == BUG
    assert "thread 'reader acme' ended by ZeroDivisionError: a bug in a driver" in agent.said
    assert site.driven()[-2:] == ["on", "off"]
    assert site.records() == site.last_status()["outbox"]["made"] > 0


def test_after_the_safe_values_of_a_stop_nothing_is_driven_any_more(site: Site) -> None:
    # The rule wants `on` with every block; what is in the inbox at the stop must not get its way.
    flutter = WIRE.replace("slow.n >= 0", "counter.n % 2 == 0")
    site.write(COUNTER, flutter)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["counts"]["rules_fired"].get("many", 0) > 3)
        agent.stop()
    assert site.driven()[-1] == "off"


def test_an_upstream_whose_token_cannot_be_read_is_a_fault_before_anything_starts(site: Site) -> None:
    token = "upstream: {fleet: {http: {url: 'http://127.0.0.1:9', token: {file: nowhere}}}}"
    site.write(COUNTER, WIRE, token)
    with running(site) as agent:
        assert agent.wait() == FAULTS
    assert "nowhere cannot be read" in agent.said
    assert site.driven() == []

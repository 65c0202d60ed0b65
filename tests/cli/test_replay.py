"""`edgeagent replay`: what it prints and what it refuses; tests/agent/test_journal.py has what it computes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agents import MOTION, RECORDING, Site

from edgeagent.agent.replay import Journal
from edgeagent.cli import FAULTS, OK, main


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_it_sums_up_and_scores_itself_against_the_labels(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write(MOTION)
    assert main(["replay", str(RECORDING), "-c", str(site.config)]) == OK
    told = capsys.readouterr()
    assert told.out == ""
    assert " windows, 0 unpredicted, 0 decisions, " in told.err
    accuracy = float(told.err.split("accuracy ")[1])
    assert accuracy > 0.8


def test_records_go_to_standard_output_as_lines_of_json_without_what_depends_on_the_machine(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write(MOTION, "sampling: {policies: {everything: {uniform: 1.0}}}")
    assert main(["replay", str(RECORDING), "-c", str(site.config), "--records", "-"]) == OK
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["id"].split("/")[2] for record in records] == [str(n + 1) for n in range(len(records))]
    assert {record["kind"] for record in records} == {"prediction", "sample"}
    assert not any("latency_ns" in json.dumps(record) for record in records)


def test_another_config_than_the_recordings_is_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(MOTION)
    Journal(site.folder / "journal", "ab" * 32).close()
    assert main(["replay", str(site.folder / "journal"), "-c", str(site.config)]) == OK
    assert "was recorded with another config: its decisions may differ" in capsys.readouterr().err


def test_a_recording_of_a_sensor_that_the_config_does_not_have_is_a_fault(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write("sensors: {other: {driver: mpu6050, bus: i2c-1}}")
    assert main(["replay", str(RECORDING), "-c", str(site.config)]) == FAULTS
    assert "the recording is of sensor imu; expected sensors of the config: other" in capsys.readouterr().err


def test_a_folder_that_holds_no_recording_and_a_faulty_config_are_faults(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write(MOTION)
    assert main(["replay", str(site.folder), "-c", str(site.config)]) == FAULTS
    assert "expected a recording: recording.yaml and journal.bin" in capsys.readouterr().err
    site.write("heath: {}")
    assert main(["replay", str(RECORDING), "-c", str(site.config)]) == FAULTS
    assert f"{site.config}:3:1: unknown key 'heath'" in capsys.readouterr().err

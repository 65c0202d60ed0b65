"""`edgeagent model calibrate`: by the running agent, and from a recording."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agents import Running, Site, running, scaled, wait_for

from edgeagent.agent.control import Refused, ask
from edgeagent.cli import FAULTS, OK, USAGE, main
from edgeagent.inference.bundle import own_bundles
from edgeagent.recording import Recording

ARM = own_bundles() / "motion_anomaly"
RECORDING = ARM / "recording"
CONFIG = f"""\
sensors:
  imu: {{driver: recording, folder: {RECORDING}}}
models: {{arm: {{bundle: motion_anomaly}}, activity: {{bundle: activity}}, idle: {{bundle: motion_anomaly}}}}
pipelines:
  motion: {{input: imu, model: arm, window: {{hop: 0.1 s}}, deadline: 60 s}}
rules:
  unusual: {{when: motion.anomaly > 1000}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.write(CONFIG)
    return site


def calibrate(site: Site, *arguments: object) -> int:
    return main(["model", "calibrate", "arm", "-c", str(site.config), *map(str, arguments)])


def told_threshold(text: str) -> float:
    found = re.search(r"([\d.]+) before, ([\d.]+) now", text)
    assert found is not None, text
    return float(found[2])


def serving(agent: Running) -> float | None:
    calibrated = agent.status()["models"]["arm"]["calibrated"]
    return calibrated["found"]["threshold"] if calibrated else None


def predictions(agent: Running, more: int) -> None:
    def made() -> int:
        return int(agent.status()["pipelines"]["motion"]["windows"])

    before = made()
    wait_for(lambda: made() >= before + more)


def test_the_running_agent_is_listened_to_and_goes_by_the_new_threshold_after_restarts_too(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(site, *scaled()) as agent:
        before = agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        assert before["models"]["arm"]["calibrated"] is None
        assert calibrate(site, "--for", "20 s", "--percentile", 90) == OK
        out = capsys.readouterr().out
        assert "motion_anomaly 1.0.0" in out
        assert "The agent goes by it from now on" in out
        threshold = told_threshold(out)
        assert serving(agent) == threshold
        predictions(agent, 20)
        after = agent.status()
        assert after["models"]["arm"]["pid"] == before["models"]["arm"]["pid"], "the model went on serving"
        agent.stop()
    made = [(b["window_seq"], b["threshold"]) for b in site.bodies("prediction") if not b["skipped"]]
    assert {one for _, one in made} == {0.251, threshold}
    assert [one for _, one in sorted(made)] == sorted((one for _, one in made), key=lambda t: t == threshold)
    (audit,) = site.bodies("audit")
    assert (audit["type"], audit["outcome"], audit["model"]) == ("calibration", "done", "arm")
    assert audit["source"] == "20 s of the running agent"
    assert (audit["found"]["before"], audit["found"]["threshold"]) == (0.251, threshold)
    assert audit["found"]["windows"] >= 10
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        assert serving(agent) == threshold
        agent.send(signal.SIGHUP)
        agent.until_said("reloaded")
        assert serving(agent) == threshold


def test_what_a_dry_run_finds_changes_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        assert calibrate(site, "--for", "20 s", "--percentile", 50, "--dry-run") == OK
        assert "Nothing was changed." in capsys.readouterr().out
        assert serving(agent) is None
        agent.stop()
    assert not (site.state / "calibration").exists()
    assert site.bodies("audit") == []


def test_a_recording_gives_the_percentile_of_its_windows_that_are_labelled_normal(
    site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (site.state / "outbox").mkdir(parents=True)
    records = tmp_path / "records.jsonl"
    assert main(["replay", str(RECORDING), "-c", str(site.config), "--records", str(records)]) == OK
    labels = [one for one in Recording(RECORDING).header.labels if one.label == "normal"]
    bodies = [json.loads(line)["body"] for line in records.read_text().splitlines()]
    errors = [
        body["anomaly"]
        for body in bodies
        if "anomaly" in body
        and any(one.t_start_ns <= body["t_start_ns"] and body["t_end_ns"] <= one.t_end_ns for one in labels)
    ]
    capsys.readouterr()
    assert calibrate(site, "--recording", RECORDING, "--percentile", 95) == OK
    out = capsys.readouterr().out
    assert f"{len(errors)} windows, all taken for normal" in out
    assert told_threshold(out) == pytest.approx(np.percentile(errors, 95), rel=1e-3)
    share = np.mean(np.array(errors) > 0.251)
    assert f"{share:.1%} of these windows before, 5." in out
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        assert serving(agent) == told_threshold(out)
        agent.stop()
    (audit,) = site.bodies("audit")
    assert (audit["type"], audit["source"]) == ("calibration", f"the recording {RECORDING}")


def test_a_recording_is_measured_here_and_kept_by_the_agent_that_runs(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        assert calibrate(site, "--recording", RECORDING) == OK
        assert serving(agent) == told_threshold(capsys.readouterr().out)
        agent.stop()
    assert [body["type"] for body in site.bodies("audit")] == ["calibration"]


@pytest.mark.parametrize(
    ("time", "says"),
    [
        ('"2026-11-22T12:00:00Z"', "arm was calibrated on 2026-11-22: above "),
        ("null", "arm was calibrated while the clock was not set: above "),
    ],
)
def test_status_says_on_which_day_or_that_nobody_knew(
    site: Site, capsys: pytest.CaptureFixture[str], time: str, says: str
) -> None:
    (site.state / "outbox").mkdir(parents=True)
    assert calibrate(site, "--recording", RECORDING) == OK
    (file,) = (site.state / "calibration").iterdir()
    file.write_text(re.sub(r'"time": .*', f'"time": {time}', file.read_text()))
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["models"]["arm"]["calibrated"])
        main(["status", "-c", str(site.config)])
        assert says in capsys.readouterr().out


def test_what_cannot_be_calibrated_is_said(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        assert main(["model", "calibrate", *arguments, "-c", str(site.config)]) == FAULTS
        return capsys.readouterr().err

    assert "no agent runs that could be listened to" in refused("arm")
    recording = ("--recording", str(RECORDING))
    assert "activity 1.0.0 has no threshold: it gives 7 labels" in refused("activity", *recording)
    assert "no pipeline asks model idle" in refused("idle", *recording)
    assert "there is no model 'leg'; expected one of `models:`: arm" in refused("leg", *recording)
    assert "expected a recording" in refused("arm", "--recording", str(site.folder))
    assert "there is no outbox" in refused("arm", *recording)
    assert main(["model", "calibrate", "arm", "-c", str(site.config), "--percentile", "100"]) == USAGE
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        capsys.readouterr()
        assert "activity 1.0.0 has no threshold" in refused("activity", "--for", "1 s")
        assert "no pipeline asks model idle" in refused("idle", "--for", "1 s")
        assert "there is no model 'leg'" in refused("leg", "--for", "1 s")
        assert "Measure for longer" in refused("arm", "--for", "0.1 s")
        assert serving(agent) is None


REQUESTS: list[dict[str, Any]] = [
    {"do": "dance", "model": "arm"},
    {"do": ["listen"]},
    {"do": "listen", "model": "arm", "seconds": "1"},
    {"do": "listen", "model": "arm", "seconds": -1},
    {"do": "listen", "model": "arm", "seconds": 1e9},
    {"do": "heard", "model": "arm", "more": 1},
    {"do": "keep", "model": "arm", "models": [], "found": {"threshold": 1}, "source": ""},
]


def test_a_strangers_request_gets_a_sentence_and_the_agent_runs_on(site: Site) -> None:
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        for request in REQUESTS:
            with pytest.raises(Refused, match="not a request about a calibration"):
                ask(site.run, "calibrate", **request)
        with pytest.raises(Refused, match="nobody listens to model arm any more"):
            ask(site.run, "calibrate", do="heard", model="arm")
        found = {"threshold": 1.0, "percentile": 99.0, "windows": 9, "before": 1.0}
        found |= dict.fromkeys(("alarms", "alarms_before", "alarms_later"), 0.0)
        with pytest.raises(Refused, match="another model serves for arm now than was measured"):
            ask(site.run, "calibrate", do="keep", model="arm", models=["0"], found=found, source="")
        assert serving(agent) is None
        agent.stop()
    (audit,) = site.bodies("audit")
    assert (audit["type"], audit["outcome"]) == ("calibration", "refused")


def test_a_model_that_was_swapped_in_is_calibrated_by_itself_and_so_it_stays(
    site: Site, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(ARM, newer, ignore=shutil.ignore_patterns("recording", "*.py"))
    (newer / "bundle.yaml").write_text((newer / "bundle.yaml").read_text().replace("1.0.0", "9.1", 1))
    (site.state / "outbox").mkdir(parents=True)
    assert calibrate(site, "--recording", RECORDING) == OK
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["anomaly"] is not None)
        own = serving(agent)
        assert main(["model", "swap", "arm", str(newer), "-c", str(site.config)]) == OK
        assert serving(agent) is None, "what was found for the one does not hold for the other"
        assert calibrate(site, "--for", "20 s", "--percentile", 90) == OK
        newest = serving(agent)
        agent.stop()
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["models"]["arm"]["version"] == "9.1")
        assert serving(agent) == newest
        assert main(["model", "rollback", "arm", "-c", str(site.config)]) == OK
        assert serving(agent) == own is not None

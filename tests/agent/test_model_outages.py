"""Models that die, hang or are none: it costs their windows, each of which is accounted for, and nothing else."""

from __future__ import annotations

import hashlib
import importlib
import os
import random
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from agents import IMU, MOTION, Site, running, scaled, worker_of

from edgeagent.inference.bundle import own_bundles
from edgeagent.inference.recovery import FAILURES_A_CHOICE

ACTIVITY = own_bundles() / "activity"
MODEL = "activity_int8.tflite"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def bundle(site: Site, name: str, model: bytes, *, honest: bool) -> None:
    """The activity bundle with another model file in it; `honest`: its hash is right."""
    folder = site.folder / "bundles" / name
    shutil.copytree(ACTIVITY, folder, ignore=shutil.ignore_patterns("recording", "*.py"))
    (folder / MODEL).write_bytes(model)
    if honest:
        text = (folder / "bundle.yaml").read_text()
        text = re.sub(r"sha256: \S+(\s+accelerator)", rf"sha256: {hashlib.sha256(model).hexdigest()}\1", text)
        (folder / "bundle.yaml").write_text(text)


def test_models_that_are_none_are_told_and_the_sound_one_predicts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "inference"))
    sound = (ACTIVITY / MODEL).read_bytes()
    bad = {
        "cut": (sound[: len(sound) // 2], False, "altered or cut short"),
        "torn": (sound[: len(sound) // 2], True, ""),
        "empty": (b"", True, "is empty"),
        "noise": (random.Random(7).randbytes(len(sound)), True, ""),
        "alien": (
            importlib.import_module("tiny").classifier(custom_op="NobodyHasThis"),
            True,
            "NobodyHasThis",
        ),
    }
    for name, (model, honest, _) in bad.items():
        bundle(site, name, model, honest=honest)
    models = "\n".join(f"  {name}: {{bundle: ./bundles/{name}}}" for name in bad)
    pipelines = "\n".join(f"  on_{name}: {{input: imu, model: {name}}}" for name in bad)
    site.write(
        f"sensors: {{imu: {IMU}}}\nmodels:\n  activity: {{bundle: activity}}\n{models}",
        f"pipelines:\n  motion: {{input: imu, model: activity}}\n{pipelines}",
    )
    with running(site, *scaled()) as agent:
        status = agent.until(
            lambda s: (
                s["pipelines"]["motion"]["label"]
                and all(s["models"][name]["state"] in ("quarantined", "restarting") for name in bad)
                and all(s["pipelines"][f"on_{name}"]["skipped"] for name in bad)
            )
        )
        for name, (_, _, why) in bad.items():
            told = [reason for reason in status["degraded"] if reason.startswith(f"model {name} is ")]
            assert len(told) == 1
            assert why in told[0]
            assert agent.said.count(f"model {name}: ") == 1, "once, not once a window"
        assert status["models"]["activity"]["state"] == "ok"
        agent.stop()
    skipped = {body["pipeline"] for body in site.bodies("prediction") if body["skipped"]}
    assert {f"on_{name}" for name in bad} <= skipped


@pytest.mark.parametrize(("number", "word"), [(signal.SIGKILL, "died"), (signal.SIGSTOP, "hung")])
def test_a_worker_that_dies_or_hangs_is_replaced_and_every_window_is_accounted_for(
    site: Site, number: int, word: str
) -> None:
    site.write(MOTION, "inference: {deadline: 0.3 s}")
    with running(site, *scaled()) as agent:
        before = agent.until(lambda s: s["pipelines"]["motion"]["label"])
        worker = worker_of(agent)
        os.kill(worker, number)
        agent.until(
            lambda s: s["models"]["activity"]["restarts"] and s["models"]["activity"]["state"] == "ok"
        )
        windows = agent.status()["pipelines"]["motion"]["windows"]
        agent.until(
            lambda s: (
                s["pipelines"]["motion"]["windows"] > windows + 3 and not s["pipelines"]["motion"]["skipped"]
            )
        )
        agent.stop()
    assert before["models"]["activity"]["restarts"] == 0
    assert agent.said.count(f"the worker {word}") == 1
    assert agent.said.count("model activity answers again") == 1
    last = site.last_status()
    predictions = site.bodies("prediction")
    numbers = [body["window_seq"] for body in predictions]
    assert len(set(numbers)) == len(numbers)
    # Each window is a record, but for those that were waiting still at the stop or that a busy machine overran.
    unrecorded = last["pipelines"]["motion"]["windows"] - len(predictions)
    skipped = sum(body["skipped"] is not None for body in predictions)
    assert skipped + unrecorded == last["pipelines"]["motion"]["unpredicted"]
    assert {body["skipped"] for body in predictions} <= {None, "worker", "stale", "missing"}, (
        "the last two: busy"
    )


def test_a_model_that_crashed_its_worker_too_often_is_left_alone_until_the_config_changes(site: Site) -> None:
    """In real time: five crashes within a minute are five in a row."""
    killed: set[int] = set()

    def killable(status: dict[str, Any]) -> bool:
        model = status["models"]["activity"]
        return model["state"] == "quarantined" or model["pid"] not in {None, *killed}

    site.write(MOTION, "inference: {deadline: 30 s}")  # a busy machine is not a model that hangs
    with running(site) as agent:
        while (model := agent.until(killable)["models"]["activity"])["state"] != "quarantined":
            killed.add(model["pid"])
            os.kill(model["pid"], signal.SIGSEGV)
        assert len(killed) == FAILURES_A_CHOICE
        agent.until(lambda s: s["pipelines"]["motion"]["skipped"] == "quarantined")
        assert any(why.startswith("model activity is quarantined") for why in agent.status()["degraded"])
        site.write(MOTION, "inference: {deadline: 31 s}")
        agent.send(signal.SIGHUP)
        agent.until(lambda s: s["models"]["activity"]["state"] == "ok" and s["pipelines"]["motion"]["label"])

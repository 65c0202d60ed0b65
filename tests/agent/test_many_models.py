"""Several models in one agent: they share a process, and one that takes it down is alone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from agents import IMU, Running, Site, running

from edgeagent.inference.bundle import own_bundles

ACTIVITY = own_bundles() / "activity"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    twin = site.folder / "bundles" / "twin"
    shutil.copytree(ACTIVITY, twin, ignore=shutil.ignore_patterns("recording", "*.py"))
    return site


def two_models(site: Site, *more: str) -> None:
    site.write(
        f"sensors: {{imu: {IMU}}}",
        "models: {activity: {bundle: activity}, twin: {bundle: ./bundles/twin}}",
        "pipelines:",
        "  motion: {input: imu, model: activity, window: {hop: 0.2 s}, deadline: 20 s}",
        "  other: {input: imu, model: twin, window: {hop: 0.2 s}, deadline: 20 s}",
        "inference:",
        "  deadline: 30 s",  # a busy machine is not a model that hangs
        *more,
    )


def pids(status: dict[str, Any]) -> set[int]:
    return {model["pid"] for model in status["models"].values()}


def until_all_predict(agent: Running, more: int = 4) -> dict[str, Any]:
    def predicted(status: dict[str, Any]) -> list[int]:
        return [p["windows"] - p["unpredicted"] for p in status["pipelines"].values()]

    before = predicted(agent.until(lambda s: all(predicted(s))))
    return agent.until(
        lambda s: all(now >= then + more for now, then in zip(predicted(s), before, strict=True))
    )


def test_two_models_share_a_process_and_the_one_that_takes_it_down_costs_the_other_nothing(
    site: Site,
) -> None:
    two_models(site)
    with running(site) as agent:
        before = until_all_predict(agent)
        (worker,) = pids(before)
        os.kill(worker, signal.SIGSEGV)
        after = agent.until(
            lambda s: (
                worker not in pids(s)
                and None not in pids(s)
                and all(m["state"] == "ok" and m["restarts"] == 1 for m in s["models"].values())
            )
        )
        assert len(pids(after)) == 2, "the one that was taken for the cause is alone"
        until_all_predict(agent)
        agent.stop()
    skipped = site.last_status()["counts"]["skipped"]
    failed = [name for name, causes in skipped.items() if "worker" in causes]
    assert len(failed) == 1, "of the other one nothing failed"
    assert agent.said.count("the worker died") == 1


def test_inline_models_take_turns_and_both_predict(site: Site) -> None:
    two_models(site, "  isolation: inline")
    with running(site) as agent:
        status = until_all_predict(agent)
        assert pids(status) == {None}
        assert all("worker" not in p["causes"] for p in status["pipelines"].values())


def test_max_rate_passes_windows_over_and_the_status_says_how_many(site: Site) -> None:
    site.write(
        f"sensors: {{imu: {IMU}}}\nmodels: {{activity: {{bundle: activity}}}}",
        "pipelines: {motion: {input: imu, model: activity, window: {hop: 0.1 s}, max_rate: 2 Hz, deadline: 20 s}}",
    )
    with running(site) as agent:
        agent.until(lambda s: s["outbox"].get("by_kind", {}).get("prediction", {}).get("made", 0) >= 4)
        agent.stop()
    motion = site.last_status()["pipelines"]["motion"]
    assert {"max_rate"} <= motion["causes"].keys() <= {"max_rate", "ended", "stale", "missing"}, (
        "the last two: busy"
    )
    ends = [body["t_end_ns"] for body in site.bodies("prediction")]
    assert len(ends) >= 3
    assert min(b - a for a, b in pairwise(ends)) > 0.44e9, "every fifth window"

"""`edgeagent model swap` and `rollback`: another model from one window to the next, and none of them lost."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from agents import IMU, Running, Site, running

from edgeagent.cli import FAULTS, OK, main
from edgeagent.inference.archive import pack
from edgeagent.inference.bundle import own_bundles

ACTIVITY = own_bundles() / "activity"
MODEL = "activity_int8.tflite"
# The deadlines are for busy machines: what waits for a core in vain is no window that a swap has lost.
BUSY = f"""\
sensors:
  imu: {IMU}
models: {{activity: {{bundle: activity}}}}
pipelines:
  motion: {{input: imu, model: activity, window: {{hop: 0.2 s}}, deadline: 20 s}}
  other: {{input: imu, model: activity, window: {{hop: 0.5 s}}, deadline: 20 s, priority: 3}}
inference: {{deadline: 30 s}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.write(BUSY)
    return site


def bundle(site: Site, version: str, change: Callable[[str], str] = lambda text: text) -> Path:
    """The activity bundle as another version, and with this change to its bundle.yaml."""
    folder = site.folder / "brought" / f"activity-{version}"
    shutil.copytree(ACTIVITY, folder, ignore=shutil.ignore_patterns("recording", "*.py"))
    text = (folder / "bundle.yaml").read_text()
    text = re.sub(r"^version: .*$", f'version: "{version}"', text, flags=re.MULTILINE)
    (folder / "bundle.yaml").write_text(change(text))
    return folder


def edgeagent(site: Site, *arguments: object) -> int:
    return main([*map(str, arguments), "-c", str(site.config)])


def until_serving(agent: Running, wanted: tuple[str, str | None]) -> None:
    """Until it is this version, and this one before it: a request that is under way is answered by the old one."""

    def models(status: dict[str, Any]) -> tuple[str, str | None]:
        model = status["models"]["activity"]
        return model["version"], model["previous"]

    agent.until(lambda s: models(s) == wanted)


def until_it_has_predicted(agent: Running, more: int = 5) -> dict[str, Any]:
    def predicted(status: dict[str, Any]) -> int:
        return int(status["pipelines"]["motion"]["windows"] - status["pipelines"]["motion"]["unpredicted"])

    before = predicted(agent.until(lambda s: s["pipelines"]["other"]["label"]))
    return agent.until(lambda s: predicted(s) >= before + more)


def versions(site: Site, pipeline: str) -> list[tuple[int, str, str | None]]:
    """The windows of a pipeline in order: number, version of the model, why not predicted."""
    bodies = (body for body in site.bodies("prediction") if body["pipeline"] == pipeline)
    return sorted((body["window_seq"], body["version"], body["skipped"]) for body in bodies)


def own_version() -> str:
    found = re.search(r"^version: \"?([\w.]+)", (ACTIVITY / "bundle.yaml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


OWN = own_version()


def test_a_swap_under_load_loses_no_window_and_neither_does_the_way_back(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(site) as agent:
        until_it_has_predicted(agent)
        at_the_start = agent.status()["counts"]["skipped"]
        assert edgeagent(site, "model", "swap", "activity", bundle(site, "9.1")) == OK
        assert f"activity 9.1 serves instead of activity {OWN}" in capsys.readouterr().out
        until_serving(agent, ("9.1", f"activity {OWN}"))
        until_it_has_predicted(agent)
        assert edgeagent(site, "model", "rollback", "activity") == OK
        until_serving(agent, (OWN, None))
        until_it_has_predicted(agent)
        agent.stop()
    counts = site.last_status()["counts"]
    for pipeline in ("motion", "other"):
        found = versions(site, pipeline)
        numbers = [number for number, _, _ in found]
        before = sum(at_the_start.get(pipeline, {}).values())
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), (
            "each window once, none left out"
        )
        changes = [pair for pair in pairwise(version for _, version, _ in found) if pair[0] != pair[1]]
        assert changes == [(OWN, "9.1"), ("9.1", OWN)], "each at one window, and for good"
        lost = [one for one in found[before:] if one[2] is not None]
        assert lost == []
        assert counts["windows"][pipeline] - numbers[-1] <= 1, "all but what was under way at the stop"
    deeds = [(body["type"], body["outcome"], body["to"]["version"]) for body in site.bodies("audit")]
    assert deeds == [("swap", "done", "9.1"), ("rollback", "done", OWN)]


def test_a_swap_survives_a_restart_and_so_does_the_way_back(site: Site) -> None:
    brought = bundle(site, "9.1")
    with running(site) as agent:
        until_it_has_predicted(agent)
        assert edgeagent(site, "model", "swap", "activity", brought) == OK
        agent.stop(signal.SIGKILL)
    shutil.rmtree(brought)
    with running(site) as agent:
        until_it_has_predicted(agent)
        until_serving(agent, ("9.1", f"activity {OWN}"))
        assert edgeagent(site, "model", "rollback", "activity") == OK
        agent.stop(signal.SIGKILL)
    with running(site) as agent:
        until_it_has_predicted(agent)
        until_serving(agent, (OWN, None))
        assert [path.name for path in (site.state / "swaps").iterdir()] == ["swaps.json"]


def test_an_archive_can_be_swapped_in_and_only_what_can_serve_again_is_kept(
    site: Site, tmp_path: Path
) -> None:
    with running(site) as agent:
        until_it_has_predicted(agent)
        for version in ("9.1", "9.2", "9.3"):
            pack(bundle(site, version), tmp_path / f"{version}.tar")
            assert edgeagent(site, "model", "swap", "activity", tmp_path / f"{version}.tar") == OK
        until_serving(agent, ("9.3", "activity 9.2"))
        kept = {path.name for path in (site.state / "swaps").iterdir()}
        assert kept == {"swaps.json", "activity-9.2-1", "activity-9.3-1"}
        assert edgeagent(site, "model", "rollback", "activity") == OK
        until_serving(agent, ("9.2", None))
        assert edgeagent(site, "model", "rollback", "activity") == FAULTS, "one step back, no more"


def _other_labels(text: str) -> str:
    return text.replace("abduction", "somersault")


REFUSED = {
    "channels": (lambda t: t.replace("acc_x", "a_x"), "activity 9.1 does not fit in the place of activity"),
    "rate": (lambda t: re.sub(r"rate: \S+ Hz", "rate: 25 Hz", t), "a rate of 25 Hz, not 50 Hz"),
    "window": (lambda t: re.sub(r"window: \S+ s", "window: 1 s", t), "windows of 1 s, not 2 s"),
    "hash": (lambda t: re.sub(r"sha256: \w{6}", "sha256: 000000", t), "altered or cut short"),
    "label of a rule": (_other_labels, "rule raised asks for abduction, which it does not know"),
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_does_not_fit_is_refused_and_the_old_one_never_stopped(
    site: Site, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit, why = REFUSED[change]
    site.write(BUSY, "rules: {raised: {when: 'motion.label == \"abduction\"'}}")
    with running(site) as agent:
        before = until_it_has_predicted(agent)
        assert edgeagent(site, "model", "swap", "activity", bundle(site, "9.1", edit)) == FAULTS
        assert why in capsys.readouterr().err
        after = until_it_has_predicted(agent)
        until_serving(agent, (OWN, None))
        assert after["models"]["activity"]["pid"] == before["models"]["activity"]["pid"]
        assert after["models"]["activity"]["restarts"] == 0
        assert sorted(path.name for path in (site.state / "swaps").iterdir()) == []
        agent.stop()
    (audit,) = site.bodies("audit")
    assert (audit["type"], audit["outcome"], audit["model"]) == ("swap", "refused", "activity")
    assert why in audit["why"]


def model_file(folder: Path, data: bytes) -> Path:
    """Another model file, whose hash is right."""
    (folder / MODEL).write_bytes(data)
    text = (folder / "bundle.yaml").read_text()
    right = rf"sha256: {hashlib.sha256(data).hexdigest()}\1"
    (folder / "bundle.yaml").write_text(re.sub(r"sha256: \S+(\s+accelerator)", right, text))
    return folder


def test_a_model_that_is_none_or_computes_wrongly_is_found_beside_the_one_that_serves(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = (ACTIVITY / MODEL).read_bytes()
    with running(site) as agent:
        before = until_it_has_predicted(agent)
        noise = model_file(bundle(site, "9.1"), os.urandom(len(sound)))
        assert edgeagent(site, "model", "swap", "activity", noise) == FAULTS
        wrong = bundle(site, "9.2", lambda t: re.sub(r"std: \[[^]]*\]", "std: [1, 1, 1, 1, 1, 1]", t))
        assert edgeagent(site, "model", "swap", "activity", wrong) == FAULTS
        assert "golden vectors" in capsys.readouterr().err
        after = until_it_has_predicted(agent)
        assert after["models"]["activity"]["pid"] == before["models"]["activity"]["pid"]
        until_serving(agent, (OWN, None))


def test_what_cannot_be_done_is_said(site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert edgeagent(site, "model", "rollback", "activity") == FAULTS
    assert "no agent runs" in capsys.readouterr().err
    with running(site) as agent:
        until_it_has_predicted(agent)
        assert edgeagent(site, "model", "rollback", "activity") == FAULTS
        assert "model activity has nothing to go back to" in capsys.readouterr().err
        assert edgeagent(site, "model", "swap", "nonesuch", ACTIVITY) == FAULTS
        assert (
            "there is no model 'nonesuch'; expected one of `models:` in the config: activity"
            in capsys.readouterr().err
        )
        assert edgeagent(site, "model", "swap", "activity", own_bundles() / "surface") == FAULTS
        assert "pictures of 48 x 48, not readings" in capsys.readouterr().err
        (tmp_path / "torn.tar").write_bytes(b"no archive")
        assert edgeagent(site, "model", "swap", "activity", tmp_path / "torn.tar") == FAULTS
        assert "no tar" in capsys.readouterr().err


def test_where_the_config_names_another_bundle_the_config_wins(site: Site) -> None:
    with running(site) as agent:
        until_it_has_predicted(agent)
        assert edgeagent(site, "model", "swap", "activity", bundle(site, "9.1")) == OK
        other = bundle(site, "5.0")
        site.config.write_text(site.config.read_text().replace("bundle: activity", f"bundle: {other}"))
        agent.send(signal.SIGHUP)
        agent.until(lambda s: s["models"]["activity"]["version"] == "5.0")
        until_serving(agent, ("5.0", None))
        site.write(BUSY)
        agent.send(signal.SIGHUP)
        agent.until(lambda s: s["models"]["activity"]["version"] == "9.1")


@pytest.mark.parametrize("file", ["swaps.json", "activity-9.1-1/bundle.yaml"])
def test_what_was_swapped_in_and_is_damaged_gives_way_to_the_configs_own(site: Site, file: str) -> None:
    with running(site) as agent:
        until_it_has_predicted(agent)
        assert edgeagent(site, "model", "swap", "activity", bundle(site, "9.1")) == OK
        agent.stop()
    (site.state / "swaps" / file).write_bytes(b"\0")
    with running(site) as agent:
        until_it_has_predicted(agent)
        assert agent.status()["models"]["activity"]["version"] == OWN
        assert "cannot " in agent.status()["last_error"]

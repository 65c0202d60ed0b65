"""What a technician asks for in the YAML and what serves: in `status`, in the health record and in each prediction."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from agents import IMU, Running, Site, running

from edgeagent.cli import DEGRADED, OK, main
from edgeagent.inference.bundle import own_bundles

SOURCE = Path(__file__).parent / "delegate" / "delegate.c"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("COLUMNS", "200")
    return Site(tmp_path)


def delegate(site: Site, kind: str) -> Path:
    """A config whose model is to run on a real delegate of this kind; the delegate's log."""
    library, log = site.folder / "npu.so", site.folder / "npu.log"
    subprocess.run(["cc", "-shared", "-fPIC", f"-D{kind}", "-o", library, SOURCE, "-lm"], check=True)
    log.touch()
    site.write(
        f"sensors: {{imu: {IMU}}}",
        f"""\
models:
  activity:
    bundle: activity
    accelerator: {{external: {{library: {library}, options: {{log: {log}, cache: 3}}}}}}
pipelines: {{motion: {{input: imu, model: activity, window: {{hop: 0.2 s}}, deadline: 20 s}}}}
inference: {{deadline: 30 s}}
health: {{every: 1 s}}
""",
    )
    return log


def until_told(agent: Running) -> dict[str, Any]:
    """The model's status once it has predicted, and a health record could say so."""

    def made(status: dict[str, Any]) -> int:
        return int(status["outbox"].get("by_kind", {}).get("health", {}).get("made", 0))

    before = made(agent.until(lambda s: s["pipelines"]["motion"]["label"]))
    model: dict[str, Any] = agent.until(lambda s: made(s) > before + 1)["models"]["activity"]
    return model


def predictions(site: Site) -> list[dict[str, Any]]:
    """Those that were made: a busy machine leaves windows out."""
    made = [body for body in site.bodies("prediction") if body["skipped"] is None]
    assert made
    return made


def test_a_delegate_of_the_yaml_gets_its_options_and_is_named_wherever_it_served(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    log = delegate(site, "WORKS")
    with running(site) as agent:
        model = until_told(agent)
        assert main(["status", "-c", str(site.config)]) in (
            OK,
            DEGRADED,
        )  # the latter: a sensor, on a busy machine
        shown = capsys.readouterr().out
        agent.stop()
    assert log.read_text().split()[:3] == ["cache3", "create", "invoke"]
    assert (model["asked"], model["got"]) == ("external:npu.so", "external:npu.so")
    assert re.search(r"activity +ok .* external:npu.so +external:npu.so ", shown)
    assert "is the first of the bundle's variants for external:npu.so" in shown
    told = site.bodies("health")[-1]["models"]["activity"]
    assert {key: told[key] for key in ("asked", "got", "why")} == {
        key: model[key] for key in ("asked", "got", "why")
    }
    for body in predictions(site):
        assert (body["requested"], body["accelerator"]) == ("external:npu.so", "external:npu.so")
        assert "why" not in body


def test_a_delegate_that_refuses_leaves_it_to_the_cpu_and_the_reason_is_told_wherever_it_served(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    delegate(site, "REFUSES")
    with running(site) as agent:
        model = until_told(agent)
        assert main(["status", "-c", str(site.config)]) == DEGRADED
        shown = capsys.readouterr().out
        agent.stop()
    refusal = "npu.so refuses: no NPU on this board"
    assert (model["asked"], model["got"], model["state"]) == ("external:npu.so", "cpu", "ok")
    assert re.search(r"activity +ok .* external:npu.so +cpu ", shown)
    health = site.bodies("health")[-1]
    told = health["models"]["activity"]
    assert (told["asked"], told["got"]) == ("external:npu.so", "cpu")
    head = "model activity runs on cpu, not on external:npu.so: "
    (degraded,) = [reason for reason in health["degraded"] if reason.startswith(head)]
    for body in predictions(site):
        assert (body["requested"], body["accelerator"]) == ("external:npu.so", "cpu")
        assert refusal in body["why"]
    for words in (str(model["why"]), str(told["why"]), degraded, " ".join(shown.split())):
        assert refusal in words


def test_model_bench_measures_the_delegate_of_the_yaml_beside_the_cpu(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    delegate(site, "WORKS")
    bench = ["model", "bench", str(own_bundles() / "activity"), "-c", str(site.config)]
    assert main([*bench, "--calls", "10", "--threads", "1", "--json"]) == OK
    cpu, npu = json.loads(capsys.readouterr().out)["figures"]
    assert [(one["accelerator"], one["trouble"]) for one in (cpu, npu)] == [
        ("cpu", ""),
        ("external:npu.so", ""),
    ]
    assert npu["process"]["p50"] > 0
    assert (npu["raw"], npu["inline"]) == (None, None), "a device is not opened twice"
    assert abs(npu["accuracy"] - cpu["accuracy"]) < 0.01

"""`edgeagent status`: exit 0 healthy, 3 degraded, 4 not running; for people and for programs."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from pathlib import Path
from threading import Thread

import pytest
from agents import COUNTER, MOTION, WIRE, Site, running, scaled

from edgeagent.cli import DEGRADED, FAULTS, NOT_RUNNING, OK, main, status


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return Site(tmp_path)


def test_all_is_told_that_there_is_to_tell_and_0_is_healthy(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    imu, *rest = MOTION.removeprefix("sensors:\n").split("\n", 1)
    site.write(
        COUNTER.split("pipelines:")[0],
        imu,
        *rest,
        WIRE,
        "upstream:\n  stick: {directory: {path: stick}}\n"
        "  metered: {directory: {path: stick}, budget: {per_month: 200 MB}}",
    )
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["label"] and s["upstream"]["stick"]["delivered"])
        assert main(["status", "-c", str(site.config)]) == OK
        told = capsys.readouterr().out
        for words in (
            "unit-1  ok", "sensor", "counter", "imu", " Hz", "pipeline", "motion", "ms", "model", "activity",
            "auto", "cpu", "ai-edge-litert", "rule", "many", "active", "output", "wire", "on", "outbox",
            "upstream", "stick", "kB", "metered", "0.0 of 200 MB this month",
        ):  # fmt: skip
            assert words in told
        assert main(["status", "-c", str(site.config), "--json"]) == OK
        everything = json.loads(capsys.readouterr().out)
        assert everything["pid"] == agent.pid
        assert ("the clock is not set" in told) == (not everything["clock"]["synced"])


def test_3_is_degraded_and_says_why_first_whatever_characters_are_in_it(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.feel("gone")
    site.write(COUNTER.replace("mood: mood}", "mood: mood, port: '[/dev/ttyUSB0]'}"))
    with running(site) as agent:
        agent.until(lambda s: s["degraded"])
        assert main(["status", "-c", str(site.config)]) == DEGRADED
        told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("unit-1  degraded")
    assert told[1].startswith("  sensor counter is gone: [/dev/ttyUSB0]: nothing there")


def test_4_is_not_running_also_after_a_kill(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write(COUNTER)
    assert main(["status", "-c", str(site.config)]) == NOT_RUNNING
    told = capsys.readouterr().out
    assert f"no agent runs on {site.run}" in told
    assert f"edgeagent run -c {site.config}" in told
    with running(site) as agent:
        agent.until(lambda s: s["state"] == "ok")
        agent.stop(9)
    assert main(["status", "-c", str(site.config), "--json"]) == NOT_RUNNING
    assert json.loads(capsys.readouterr().out) == {"state": "not running"}


def test_the_services_agent_is_found_though_only_the_service_is_told_its_folder(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = site.folder / "service"
    monkeypatch.setattr(status, "SERVICE", service)
    site.write(COUNTER)
    with running(site, env={"RUNTIME_DIRECTORY": str(service)}) as agent:
        agent.site.run = service
        agent.until(lambda s: s["state"] == "ok")
        assert main(["status", "-c", str(site.config)]) == OK
        assert main(["status"]) == OK
        other = site.folder / "other.yaml"
        other.write_text(f"state: {site.folder}/other\n")
        assert main(["status", "-c", str(other)]) == NOT_RUNNING, "that is another agent's config"
    capsys.readouterr()


def test_a_config_that_cannot_be_read_is_a_fault(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "-c", str(site.folder / "nowhere.yaml")]) == FAULTS
    assert "nowhere.yaml:1:1: the file cannot be read" in capsys.readouterr().err


def test_an_agent_that_hangs_is_degraded_not_gone(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.write(COUNTER)
    site.run.mkdir(parents=True)
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as hung:
        hung.bind(str(site.run / "control.sock"))
        hung.listen()
        hung.settimeout(20)

        def answer() -> None:
            caller, _ = hung.accept()
            with caller:
                caller.recv(1000)
                caller.sendall(b'{"ok": false, "error": "the agent did not answer within 5 s"}\n')

        thread = Thread(target=answer)
        thread.start()
        assert main(["status", "-c", str(site.config)]) == DEGRADED
        thread.join()
    assert "the agent did not answer within 5 s" in capsys.readouterr().err

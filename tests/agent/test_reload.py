"""SIGHUP: what changed is made anew, what did not is left in peace, and a bad file changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from agents import COUNTER, MOTION, WIRE, Running, Site, running, scaled

from edgeagent.agent.control import Refused, ask

RELOADED = "INFO edgeagent.agent.run: reloaded"
TWO_COUNTERS = COUNTER.replace("pipelines:", "  second: {driver: acme_counter, mood: mood2}\npipelines:")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.feel("well", "mood2")
    return site


def reload(agent: Running) -> None:
    """Signal it, and wait until the log says what came of it."""
    before = agent.said.count("reload")
    agent.send(signal.SIGHUP)
    agent.until(lambda _: agent.said.count("reload") > before)


def windows(status: dict[str, Any]) -> int:
    return int(status["counts"]["windows"].get("all", 0))


def test_an_unchanged_sensor_goes_on_without_a_gap_and_the_pause_is_a_gap_record(site: Site) -> None:
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        before = agent.until(lambda s: windows(s) > 10)
        site.write(COUNTER, WIRE)
        reload(agent)
        after = agent.until(lambda s: windows(s) > windows(before) + 10)
        assert "many" in after["rules"]
        assert after["run"] == before["run"]
        assert after["config_sha256"] != before["config_sha256"]
        agent.stop()
    last = site.last_status()
    assert last["sensors"]["counter"]["opened"] == 1
    assert last["counts"]["samples"]["counter"] == last["sensors"]["counter"]["taken"]
    assert last["counts"]["samples_missing"]["counter"] == 0
    (gap,) = site.bodies("gap")
    assert gap["type"] == "reload"
    assert 0 < gap["to_mono_ns"] - gap["from_mono_ns"] < 2e9 * 10, (
        "under 2 s, on a clock that runs ten times as fast"
    )


def test_a_bad_file_changes_nothing_and_the_log_has_file_line_and_column(site: Site) -> None:
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        before = agent.until(lambda s: windows(s) > 5)
        site.write(COUNTER, "heath: {every: 5 s}", "outbox: {flush: 1}")
        reload(agent)
        assert f"{site.config}:12:1: unknown key 'heath'" in agent.said
        assert f"{site.config}:13:17: outbox.flush: no unit" in agent.said
        with pytest.raises(Refused, match="unknown key 'heath'"):
            ask(site.run, "reload")
        after = agent.until(lambda s: windows(s) > windows(before) + 10)
        assert (after["state"], after["config_sha256"]) == ("ok", before["config_sha256"])
        assert "unknown key 'heath'" in after["last_error"]
        agent.stop()
    assert site.bodies("gap") == []


@pytest.mark.parametrize(
    ("section", "found"),
    [
        ("models: {m: {bundle: nowhere}}", "no bundle 'nowhere'"),
        (
            "upstream: {fleet: {http: {url: 'http://127.0.0.1:9', token: {file: nowhere}}}}",
            "nowhere cannot be read",
        ),
        ("state: elsewhere", "cannot change while the agent runs"),
    ],
)
def test_what_only_fails_when_it_is_made_changes_nothing_either(site: Site, section: str, found: str) -> None:
    site.write(COUNTER, WIRE)
    with running(site) as agent:
        before = agent.until(lambda s: s["actuators"]["wire"]["asked"])
        text = site.config.read_text()
        text = text.replace(f"state: {site.state}\n", "") if section.startswith("state") else text
        site.config.write_text(f"{text}\n{section}\n")
        reload(agent)
        assert found in agent.said
        assert agent.until(lambda s: windows(s) > windows(before))["state"] == "ok"
    assert site.driven() == ["off", "on"], "not even the outputs went safe"


def test_a_file_that_is_gone_changes_nothing(site: Site) -> None:
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        before = agent.until(lambda s: windows(s) > 5)
        site.config.unlink()
        reload(agent)
        assert f"{site.config}:1:1: the file cannot be read" in agent.said
        agent.until(lambda s: windows(s) > windows(before) + 10)


def test_a_sensor_is_added_to_a_bus_and_taken_away_without_disturbing_its_neighbour(site: Site) -> None:
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: windows(s) > 5)
        site.write(TWO_COUNTERS)
        reload(agent)
        both = agent.until(
            lambda s: s["sensors"]["second"]["state"] == "ok" and s["counts"]["samples"].get("second")
        )
        site.write(COUNTER)
        reload(agent)
        agent.until(lambda s: windows(s) > windows(both) + 10 and "second" not in s["sensors"])
        agent.stop()
    last = site.last_status()
    assert last["sensors"]["counter"]["opened"] == 1
    assert last["counts"]["samples"]["counter"] == last["sensors"]["counter"]["taken"]


def test_a_sensor_whose_keys_changed_is_opened_anew(site: Site) -> None:
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: windows(s) > 5)
        site.write(COUNTER.replace("mood: mood}", "mood: mood, rate: 50 Hz}"))
        reload(agent)
        status = agent.until(lambda s: s["sensors"]["counter"]["state"] == "ok")
        before = windows(status)
        agent.until(lambda s: windows(s) > before + 5)


def test_outputs_pass_through_their_safe_value_and_are_driven_again_if_the_rule_still_holds(
    site: Site,
) -> None:
    site.write(COUNTER, WIRE)
    with running(site) as agent:
        agent.until(lambda s: s["actuators"]["wire"]["asked"])
        site.write(COUNTER, WIRE.replace(">= 0", "> -1"))
        reload(agent)
        agent.until(lambda s: s["actuators"]["wire"]["asked"])
        site.write(COUNTER)
        reload(agent)
        agent.until(lambda s: not s["actuators"])
    start = ["off"]
    assert site.driven() == [*start, "on", "off", *start, "on", "off"]


def test_an_upstream_that_is_added_gets_what_waited_and_one_that_is_taken_away_nothing_more(
    site: Site,
) -> None:
    stick = "upstream: {stick: {directory: {path: stick}}}"
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        before = agent.until(lambda s: windows(s) > 10)
        assert before["upstream"] == {}
        site.write(COUNTER, stick)
        reload(agent)
        agent.until(lambda s: s["outbox"]["delivered"] >= windows(before))
        site.write(COUNTER)
        reload(agent)
        gone = agent.until(lambda s: s["upstream"] == {})
        agent.until(lambda s: s["outbox"]["waiting"] > 10 and windows(s) > windows(gone) + 10)
        site.write(COUNTER, stick)
        reload(agent)
        agent.until(lambda s: not s["outbox"]["waiting"])
        agent.stop()
    outbox = site.last_status()["outbox"]
    assert outbox["made"] == outbox["delivered"] + site.records()


def test_a_model_is_added_and_predicts(site: Site) -> None:
    without = MOTION[: MOTION.index("models:")]
    site.write(without)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["counts"]["samples"].get("imu"))
        site.write(MOTION)
        reload(agent)
        agent.until(lambda s: s["pipelines"]["motion"]["label"])
        site.write(MOTION.replace("hop: 0.5 s", "hop: 0.4 s"))
        reload(agent)
        status = agent.until(lambda s: s["models"]["activity"]["state"] == "ok")
        before = status["pipelines"]["motion"]["windows"]
        agent.until(lambda s: s["pipelines"]["motion"]["windows"] > before + 5 and not s["degraded"])
        agent.stop()
    assert site.last_status()["counts"]["samples_missing"]["imu"] == 0


def test_the_budget_that_is_spent_stays_spent_over_a_reload_and_a_restart(site: Site) -> None:
    small = COUNTER.replace(
        "1 GB", "252 kB"
    )  # 10.5 in an hour's share: ten windows of 20 B, and 1 kB around each
    site.write(small)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["sampling"]["refused"] > 5)
        reload(agent)
        again = agent.until(lambda s: s["sampling"]["refused"] > 5)
        assert again["sampling"]["kept.everything"] == 0
        agent.stop(signal.SIGKILL)
    assert len(site.bodies("sample")) == 10
    with running(site, *scaled()) as agent:
        assert agent.until(lambda s: s["sampling"]["refused"] > 5)["sampling"]["kept.everything"] == 0
        agent.stop()
    assert len(site.bodies("sample")) == 10


def test_a_reload_does_not_wait_for_an_outbox_that_cannot_be_written(site: Site) -> None:
    site.state.mkdir()
    (site.state / "outbox").write_text("in the way")
    site.write(COUNTER)
    with running(site, *scaled()) as agent:
        agent.until(lambda s: s["outbox"]["trouble"])
        site.write(COUNTER, "upstream: {stick: {directory: {path: stick}}}")
        reload(agent)
        assert RELOADED in agent.said
        (site.state / "outbox").unlink()
        agent.until(lambda s: s["outbox"].get("delivered", 0) > 10)


def test_what_a_reload_cannot_change_is_said(site: Site) -> None:
    site.write(COUNTER)
    with running(site, *scaled(), "--journal", str(site.folder / "journal")) as agent:
        agent.until(lambda s: windows(s) > 5)
        site.write(COUNTER, "outbox: {max_size: 1 GB, flush: 2 s}")
        reload(agent)
        agent.until_said("the journal ends here: a recording is of one config")
        assert "`outbox:` says from now on takes effect at the next start" in agent.said

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config.load import Loaded, load, require
from edgeagent.config.schema import Config
from edgeagent.errors import ConfigFault


def read(tmp_path: Path, text: str) -> Loaded:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    return load(path)


def config(tmp_path: Path, text: str) -> Config:
    return require(read(tmp_path, "device: {id: press-07}\n" + text))


def said(tmp_path: Path, text: str) -> list[str]:
    """The findings without the file's folder."""
    return [str(f).removeprefix(f"{tmp_path}/") for f in read(tmp_path, text).findings]


def test_an_empty_file_is_a_config_of_defaults_that_warns_of_the_device_id(tmp_path: Path) -> None:
    loaded = read(tmp_path, "")
    assert loaded.config is not None
    assert loaded.config.device.id
    assert [f.severity for f in loaded.findings] == ["warning"]


def test_a_section_with_nothing_under_it_is_an_empty_one(tmp_path: Path) -> None:
    assert config(tmp_path, "rules:\noutbox:\nsensors:\n") == config(tmp_path, "")


@pytest.mark.parametrize(("word", "value"), [("on", True), ("off", False), ("true", True), ("False", False)])
def test_a_switch_is_on_off_true_or_false(tmp_path: Path, word: str, value: bool) -> None:
    rule = f"rules: {{r: {{when: a.b > 1, do: [set: {{relay: {word}}}]}}}}"
    assert config(tmp_path, rule).rules["r"].do[0].options == {"relay": value}


def test_yaml_is_1_2_so_on_is_a_word_and_a_time_of_day_is_text(tmp_path: Path) -> None:
    labels = config(tmp_path, "").device.labels
    assert labels == {}
    loaded = require(
        read(tmp_path, "device: {id: a, labels: {on: on, shift: 06:30, line: 3, version: 1.10}}")
    )
    assert loaded.device.labels == {"on": "on", "shift": "06:30", "line": "3", "version": "1.10"}


def test_mb_counts_in_thousands_and_mib_in_1024(tmp_path: Path) -> None:
    outbox = config(tmp_path, "outbox: {max_size: 20 MB, keep_free: 20 MiB}").outbox
    assert (outbox.max_size, outbox.keep_free) == (20_000_000, 20 * 2**20)


def test_a_relative_path_is_relative_to_the_file(tmp_path: Path) -> None:
    assert config(tmp_path, "state: var/state\nmodels_dir: /opt/models").state == tmp_path / "var/state"
    assert config(tmp_path, "models_dir: /opt/models").models_dir == Path("/opt/models")


def test_the_key_for_is_the_rules_hold_time(tmp_path: Path) -> None:
    assert config(tmp_path, "rules: {r: {when: a.b > 1, for: 3 s}}").rules["r"].hold == 3.0


def test_a_policy_is_named_by_its_key_and_owns_those_beside_it(tmp_path: Path) -> None:
    text = "sampling: {policies: {a: {uniform: 0.01}, b: {keep: 0.5, margin_below: 0.2}}}"
    policies = config(tmp_path, text).sampling.policies
    assert [(name, part.file) for name, part in policies.items()] == [("a", "uniform"), ("b", "margin_below")]
    assert (policies["b"].options.margin_below, policies["b"].options.keep) == (0.2, 0.5)


def test_an_action_without_options_has_its_defaults(tmp_path: Path) -> None:
    action = config(tmp_path, "rules: {r: {when: a.b > 1, do: [{capture: }]}}").rules["r"].do[0]
    assert (action.file, action.options.before) == ("capture", 0.0)


def test_a_bare_scalar_fills_the_only_required_option(tmp_path: Path) -> None:
    action = config(tmp_path, "rules: {r: {when: a.b > 1, do: [event: too hot]}}").rules["r"].do[0]
    assert (action.options.message, action.options.severity) == ("too hot", "warning")


def test_all_faults_come_together_each_with_its_place(tmp_path: Path) -> None:
    text = "device: {id: press-07}\nheath: {}\nhealth: {every: 5}\ninference: {threads: 0}\nrules: {r: {}}\n"
    assert said(tmp_path, text) == [
        "agent.yaml:2:1: unknown key 'heath', expected one of device, sensors, models, pipelines, actuators,"
        " rules, sampling, outbox, upstream, health, inference, state, models_dir. Did you mean 'health'?",
        "agent.yaml:3:17: health.every: no unit, found '5', expected a duration such as 5 s"
        " (in s, ms, us, min, h or d)",
        "agent.yaml:4:22: inference.threads: does not fit, found '0', expected a whole number from 1 to 16 or auto",
        "agent.yaml:5:9: rules.r: the key 'when' is missing, expected when: text",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("inference: {threads: 0}", "inference.threads"),
        ("models: {m: {bundle: activity, threads: 0}}", "models.m.threads"),
    ],
)
def test_zero_threads_are_a_fault(tmp_path: Path, text: str, where: str) -> None:
    (fault,) = said(tmp_path, f"device: {{id: press-07}}\n{text}\n")
    assert f"{where}: does not fit, found '0', expected a whole number from 1 to 16 or auto" in fault


def test_a_worker_needs_some_time_and_memory(tmp_path: Path) -> None:
    """Without, it would be killed at each request, and die of what looks like a runtime that is not there."""
    (fault,) = said(tmp_path, "device: {id: press-07}\ninference: {deadline: 0 s}\n")
    assert "inference.deadline: nothing at all, expected more than 0" in fault
    (fault,) = said(tmp_path, "device: {id: press-07}\ninference: {memory: 120 MB}\n")
    assert "inference.memory: 120 MB, expected 200 MB or more. It is a limit" in fault


def test_only_a_syntax_error_stands_alone(tmp_path: Path) -> None:
    text = "device: {id: press-07}\nheath: {}\nsensors:\n\timu: {}\n"
    (only,) = said(tmp_path, text)
    assert only.startswith("agent.yaml:4:1: not YAML")
    assert only.endswith("YAML is indented by spaces, not tabs.")


def test_a_wrong_entry_hides_nothing_of_the_draft(tmp_path: Path) -> None:
    loaded = read(tmp_path, "rules: {r: {when: a.b > 1, for: 3}, s: {when: a.b > 2, fir: 3 s}, t: {}}")
    assert loaded.config is None
    assert loaded.draft is not None
    assert {name: rule.hold for name, rule in loaded.draft.rules.items()} == {"r": 0.0, "s": 0.0}
    with pytest.raises(ConfigFault, match=r"rules\.r\.for"):
        require(loaded)

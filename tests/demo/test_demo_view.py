"""The screen, the lines and the summary, from a status as the agent gives it."""

from __future__ import annotations

import io
import sys
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console
from ruamel.yaml import YAML

from edgeagent.demo.memory import Memory
from edgeagent.demo.panels import OVERLOAD_A, RULES
from edgeagent.demo.scene import Moment
from edgeagent.demo.screen import screen
from edgeagent.demo.summary import Summary, faults
from edgeagent.demo.view import View


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is found, as after an installation."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))


SIZES = [(80, 24), (120, 36)]
LABELS = ("pendulum", "abduction", "elevation", "inward", "outward", "trapezius", "row")

STATUS: dict[str, Any] = {
    "run": "3bdd343314e9",
    "pid": 4194304,
    "outbox": {
        "made": 61,
        "delivered": 30,
        "waiting": 31,
        "by_kind": {
            "event": {"made": 199},
            "gap": {"made": 1},
            "health": {"made": 15},
            "prediction": {"made": 297},
            "sample": {"made": 99},
        },
    },
    "upstream": {"fleet": {"bytes_sent": 8_675_400}},
    "pipelines": {
        "motion": {
            "label": "trapezius",
            "score": 0.97,
            "scores": dict.fromkeys(LABELS, 0.005) | {"trapezius": 0.97},
            "truth": "trapezius",
        }
    },
    "models": {"activity": {"backend": "tflite-runtime 2.14.0"}},
    "rules": {
        "overload": {"state": "active", "said": "overload on demo-press: 5.0 A"},
        "arm_work": {"state": "clear", "said": "doing abduction, 100% sure"},
    },
    "actuators": {"relay": {"reported": 1.0, "changes": 13}},
    "values": {f"imu.{kind}_{axis}": -19.94 for kind in ("acc", "gyro") for axis in "xyz"}
    | {"motor.current": 5.04, "motor.temperature": 44.12},
    "counts": {
        "samples": {"imu": 29_000, "motor": 12_000},
        "samples_missing": {"imu": 0, "motor": 0},
        "rules_fired": {"overload": 12, "arm_work": 11},
        "scored": 270,
        "correct": 217,
        "latency_ms": {"p50": 1.724, "p99": 568.5},
    },
}


def moment(elapsed_s: float = 30.0, **changes: Any) -> Moment:
    as_it_is = Moment(elapsed_s, 60.0, True, 0.0, 0, STATUS, False)
    return as_it_is._replace(**changes)


def status(*path: str, value: Any) -> dict[str, Any]:
    """The status with one thing different."""
    different = deepcopy(STATUS)
    at = different
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return different


def waiting(count: int) -> dict[str, Any]:
    return status("outbox", value=STATUS["outbox"] | {"waiting": count, "delivered": 61 - count})


def console(width: int, height: int, *, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=terminal, highlight=False)


def printed(on: Console) -> str:
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def shown(*moments: Moment, width: int = 80, height: int = 24) -> str:
    """The screen after these moments; nothing on it may be wrapped, cut off or too wide."""
    seen = Memory()
    for each in moments:
        seen.see(each)
    on = console(width, height)
    on.print(screen(seen, width, height))
    lines = printed(on).splitlines()
    assert len(lines) == min(height, 36) - 1
    assert max(map(cell_len, lines)) <= width
    assert cell_len(lines[-1]) <= width - 2, "the ^C that a terminal prints must not begin a new line"
    assert "…" not in printed(on)
    return printed(on)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_screen_tells_what_the_agent_senses_thinks_decides_and_sends(width: int, height: int) -> None:
    text = shown(moment(), width=width, height=height)
    for fact in (
        *("-19.9 m/s²", "-19.9 rad/s", "5.0 A", "> 3.5 A", "44.1 °C", "41000 samples", "✔ 0 missing"),
        *("97% sure", "✔ right", "217 of 270 right: 80%", "p99 568 ms", *LABELS),
        *("● ACTIVE", "○ clear", "fired 12 times", "■ ON", "switched 13 times"),
        *("overload on demo-press: 5.0 A", "doing abduction, 100% sure"),
        *("✔ network up", "61 made", "30 delivered", "31 wait", "8675.4 kB"),
        *("0:30", "1:00", "kill -9 4194304", "Ctrl-C"),
    ):
        assert fact in text


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("label", LABELS)
def test_every_label_fits(label: str, width: int, height: int) -> None:
    different = status("pipelines", "motion", "label", value=label)
    text = shown(moment(agent=different), width=width, height=height)
    assert ("✔ right" if label == "trapezius" else "✘ wrong: it really is trapezius") in text


def test_the_large_terminal_has_room_for_the_rules_in_words() -> None:
    text = shown(moment(), width=120, height=36)
    assert all(words in text for words in RULES.values())
    assert shown(moment(), width=200, height=70) == text, "and one that is larger still shows the same"


def test_the_words_of_the_screen_are_those_of_the_config() -> None:
    text = files("edgeagent.demo").joinpath("edgeagent.yaml").read_text()
    rules = YAML(typ="safe").load(text.replace("$", ""))["rules"]
    assert rules.keys() == RULES.keys()
    assert rules["overload"]["when"] == f"motor.current > {OVERLOAD_A}"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_before_the_agent_answers_the_screen_says_that_it_starts(width: int, height: int) -> None:
    assert "the agent is starting" in shown(moment(0.0, agent={}), width=width, height=height)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("section", [key for key in STATUS if key != "run"])
def test_a_section_that_is_missing_leaves_the_rest_on_the_screen(
    section: str, width: int, height: int
) -> None:
    without = {key: value for key, value in STATUS.items() if key != section}
    text = shown(moment(agent=without), width=width, height=height)
    assert all(title in text for title in ("SENSES", "THINKS", "DECIDES", "SENDS"))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("values",), {}, "- m/s²"),
        (("counts", "samples"), {}, "waiting for the first samples"),
        (("counts", "samples_missing"), {"imu": 92}, "✘ 92 missing"),
        (("counts", "latency_ms"), {}, "p99 -"),
        (("counts", "scored"), 0, "none scored yet"),
        (("counts", "rules_fired"), {}, "fired 0 times"),
        (("pipelines", "motion", "scores"), {}, "waiting for the first window"),
        (("pipelines", "motion", "truth"), None, "between two exercises"),
        (("rules",), {}, "waiting for the first decision"),
        (("rules", "overload", "state"), "unknown", "? no input"),
        (("actuators", "relay", "reported"), None, "? no word from the board"),
        (("actuators", "relay", "reported"), 0.0, "□ off"),
        (("outbox",), {"trouble": ""}, "no record has been made yet"),
    ],
)
def test_what_is_not_known_yet_is_said_in_words(path: tuple[str, ...], value: Any, said: str) -> None:
    assert said in shown(moment(agent=status(*path, value=value)))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_outage_is_a_banner_from_its_start_until_what_waited_has_gone(width: int, height: int) -> None:
    away = moment(28.0, network_up=False, outage_s=7.0, agent=waiting(31))
    back = moment(34.0, outage_s=12.0, agent=waiting(20))
    after = moment(36.0, outage_s=12.0, agent=waiting(0))
    later = moment(40.0, outage_s=12.0, agent=waiting(2))
    size = {"width": width, "height": height}
    assert "NETWORK AWAY" not in shown(moment(20.0), **size)
    text = shown(moment(20.0), away, **size)
    assert "NETWORK AWAY 7 s" in text
    assert "nothing is lost, 31 records wait" in text
    assert "31 waited, 20 still to go" in shown(away, back, **size)
    assert "the 31 that waited have arrived" in shown(away, back, after, later, **size)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_kill_is_shown_while_the_agent_is_down_and_stays_on_the_time_bar(width: int, height: int) -> None:
    killed = moment(31.0, restarts=1, agent={})
    text = shown(moment(), killed, width=width, height=height)
    assert "↻ killed: it starts again" in text
    assert "217 of 270 right" in text, "what was known last stays on the screen"
    text = shown(moment(), killed, moment(35.0, restarts=12), width=width, height=height)
    assert "↻ killed 12 times: nothing durable was lost" in text
    assert "the agent runs" in text
    assert "━↻" in text


def test_each_message_is_told_once_and_after_a_restart_again() -> None:
    seen = Memory()
    for each in (
        moment(10.0),
        moment(10.2),
        moment(31.0, agent={}),
        moment(32.0, agent=STATUS | {"run": "b"}),
    ):
        seen.see(each)
    assert [said.elapsed_s for said in seen.said] == [10.0, 10.0, 32.0, 32.0]


def test_a_sparkline_reaches_back_forty_seconds_and_is_blank_where_nothing_was_known() -> None:
    seen = Memory()
    for t in range(60):
        known = status("values", "motor.current", value=float(t))
        seen.see(moment(float(t), agent={} if 30 <= t < 40 else known))
    assert seen.trace("motor.current", 4) == [29.0, None, 49.0, 59.0]
    assert seen.trace("motor.power", 2) == [None, None]


# --- on a terminal, and without one ---------------------------------------------------------------------

SUMMARY = Summary(
    accuracy=0.766,
    windows=58,
    windows_unpredicted=0,
    samples=4183,
    samples_missing=0,
    rules_fired=4,
    relay_switched=4,
    records_made=91,
    records_acknowledged=91,
    records_in_dataset=91,
    bytes_sent=86_175,
    outage_s=11.9,
    latency_ms={"p50": 1.451, "p99": 6.188},
    dataset="/var/lib/edgeagent/demo/dataset",
)


def run(on: Console, summary: Summary = SUMMARY, *, quiet: bool = False) -> str:
    view = View(quiet=quiet, console=on)
    with view:
        for t in range(120):
            view.show(moment(t / 2))
    view.show_summary(summary, faults(summary))
    return printed(on)


def test_without_a_terminal_there_is_a_line_every_five_seconds_and_then_the_summary() -> None:
    text = run(console(80, 24))
    lines, _, summary = text.partition("What the parts")
    assert len(lines.split("\n")) == 12 + 2
    assert "  30 s  trapezius  motor 5.0 A  relay on    61 records, 31 wait\n" in lines
    assert "91 records made = 91 acknowledged = 91 in the dataset" in summary
    assert "\x1b" not in text


def test_on_a_terminal_the_screen_is_wiped_and_the_summary_stays() -> None:
    text = run(console(80, 24, terminal=True))
    assert "SENSES" in text
    assert "\x1b[2K" in text, "lines are erased"
    assert "SENSES" not in text[text.rindex("\x1b[2K") :]
    assert "What the parts" in text[text.rindex("\x1b[2K") :]


def test_a_terminal_too_small_for_the_screen_gets_lines() -> None:
    assert "SENSES" not in run(console(79, 24, terminal=True))


def test_quiet_is_silent() -> None:
    on = Console(file=io.StringIO(), quiet=True)
    assert run(on, quiet=True) == ""


def test_the_summary_names_every_key_with_its_value_in_eighty_columns() -> None:
    on = console(80, 24)
    View(quiet=False, console=on).show_summary(SUMMARY, {})
    text = printed(on)
    assert "…" not in text
    assert max(map(cell_len, text.splitlines())) <= 80
    for key, value in msgspec.to_builtins(SUMMARY).items():
        if key.startswith("records_"):
            assert str(value) in text
        else:
            assert key in text, key
    for value in ("76.6%", "4183", "86175 B", "11.9 s", "1.5 ms", "6.2 ms"):
        assert value in text
    assert f"edgeagent collector --summary {SUMMARY.dataset}" in text
    assert text.count("✔") == 5
    assert "✘" not in text


def test_the_command_that_looks_at_the_dataset_works_where_edgeagent_is_on_no_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(Path(sys.executable).parents[1])
    on = console(80, 24)
    View(quiet=False, console=on).show_summary(SUMMARY, {})
    assert "  bin/edgeagent collector --summary" in printed(on)


def test_what_is_wrong_is_crossed_and_said_in_words() -> None:
    wrong = msgspec.structs.replace(SUMMARY, samples_missing=3, records_in_dataset=90)
    on = console(80, 24)
    View(quiet=False, console=on).show_summary(wrong, faults(wrong))
    text = printed(on)
    assert "91 records made = 91 acknowledged ≠ 90 in the dataset" in text
    assert "✘ 3 samples are missing" in text
    assert "✘ records made, acknowledged and in the dataset differ" in text
    assert text.count("✘") == 4
    assert "every record arrived" not in text


def test_the_summary_owns_up_to_a_kill() -> None:
    on = console(80, 24)
    view = View(quiet=False, console=on)
    view.show(moment(restarts=2))
    view.show_summary(SUMMARY, {})
    assert "↻ the agent was killed 2 times" in printed(on)
    assert max(map(cell_len, printed(on).splitlines())) <= 80


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"samples_missing": 1}, "samples_missing"),
        ({"relay_switched": 0}, "relay_switched"),
        ({"outage_s": 0.0}, "outage_s"),
        ({"records_made": 92}, "records_in_dataset"),
        ({"records_acknowledged": 90}, "records_in_dataset"),
        ({"records_in_dataset": 92}, "records_in_dataset"),
        ({"records_made": 0, "records_acknowledged": 0, "records_in_dataset": 0}, "records_in_dataset"),
    ],
)
def test_the_demo_fails_for_each_thing_that_it_must_show(changes: dict[str, Any], key: str) -> None:
    assert faults(SUMMARY) == {}
    assert list(faults(msgspec.structs.replace(SUMMARY, **changes))) == [key]


def test_a_kill_or_a_model_that_errs_is_no_fault() -> None:
    assert faults(msgspec.structs.replace(SUMMARY, accuracy=None, windows_unpredicted=3, latency_ms={})) == {}

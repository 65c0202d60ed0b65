"""What `check` says of a rule that names what is not there."""

from __future__ import annotations

from edgeagent.config.schema import Part, Rule
from edgeagent.decisions import Known, capture, event
from edgeagent.decisions.check import check_rule

KNOWN = Known(
    facts=frozenset({"motion.label", "motor.current"}),
    constants=frozenset({"device.id"}),
    sensors=frozenset({"imu", "motor"}),
    actuators=frozenset({"relay"}),
)


def found(rule: Rule) -> list[tuple[tuple[str | int, ...], str, str, str]]:
    return [(f.path, f.fault.where, f.fault.what, f.fault.hint) for f in check_rule(rule, KNOWN)]


def test_a_rule_that_names_only_what_is_there_has_no_faults() -> None:
    do = [
        Part("event", event.Options(message="{device.id} {motor.current:.1f}")),
        Part("set", {"relay": True}),
        Part("capture", capture.Options(before=1.0, sensors=["imu"])),
    ]
    assert found(Rule(when="motor.current > 3", do=do)) == []


def test_every_fault_of_a_rule_is_reported_at_once_each_with_its_key_and_the_nearest_name() -> None:
    do = [
        Part("event", event.Options(message="{motor.curent}")),
        Part("set", {"relay": True, "rellay": True}),
        Part("capture", capture.Options(before=1.0, sensors=["imu", "imo"])),
        Part("capture", capture.Options()),
        Part("event", event.Options(message="{")),
    ]
    assert found(Rule(when="motion.lable == 'x' and device.id == 'y'", do=do)) == [
        (("when",), "column 1", "nothing is called motion.lable", "Did you mean motion.label?"),
        (("when",), "column 25", "nothing is called device.id", ""),
        (
            ("do", 0, "event", "message"),
            "column 2",
            "nothing is called motor.curent",
            "Did you mean motor.current?",
        ),
        (("do", 1, "set", "rellay"), "", "nothing is called rellay", "Did you mean relay?"),
        (("do", 2, "capture", "sensors", 1), "", "nothing is called imo", "Did you mean imu?"),
        (("do", 3, "capture"), "", "captures nothing", ""),
        (
            ("do", 4, "event", "message"),
            "column 1",
            "a brace that is not one of a pair",
            "Write {{ or }} for a brace.",
        ),
    ]


def test_a_broken_expression_does_not_hide_the_faults_of_the_actions() -> None:
    rule = Rule(when="motor.current = 3", do=[Part("set", {"fan": 1.0})])
    assert [path for path, *_ in found(rule)] == [("when",), ("do", 0, "set", "fan")]

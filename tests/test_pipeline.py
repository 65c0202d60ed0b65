"""The core as a sentence: blocks in, records out, the same for the same input."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgeagent.actuators.guard import Guard, Setting
from edgeagent.conditioning import unit
from edgeagent.conditioning.chain import Conditions
from edgeagent.conditioning.limits import Limits
from edgeagent.config.schema import ActuatorEntry, Part, Rule, Sampling
from edgeagent.decisions import capture, event
from edgeagent.decisions.rules import Rules
from edgeagent.inference.tasks import Given
from edgeagent.inference.tasks.anomaly import Anomaly
from edgeagent.inference.tasks.anomaly import Output as AnomalyOutput
from edgeagent.inference.tasks.classification import Classification, Output
from edgeagent.inference.tasks.regression import Regression, Value
from edgeagent.pipeline import Arrival, Core, Effects, ModelPlan, PipelinePlan
from edgeagent.records import NS_PER_S, Block, Channel, Draft, Layout, Priority, Raw, decode_raw
from edgeagent.sampling import uniform
from edgeagent.sampling.report import Report
from edgeagent.sampling.sampler import Sampler

LAYOUT = Layout(50.0, (Channel("x", "m/s2", 0.5),))
PERIOD_NS = 20_000_000
SHA256 = {"m_edgetpu.tflite": "cd" * 32, "m.tflite": "ab" * 32}
CALM_OR_WILD = Classification(Output(labels=["calm", "wild"], scores="probabilities"))
MODEL = ModelPlan("m", "toy", "1", SHA256, "auto", CALM_OR_WILD.read, max_missing=0.1)

OVER = Rule(
    when='motion.label == "wild" and imu.x > 3',
    hold=0.0,
    do=[
        Part("event", event.Options(severity="warning", message="x is {imu.x:.1f}")),
        Part("set", {"relay": True}),
        Part("capture", capture.Options(before=0.5, after=0.5)),
    ],
)
RELAY = ActuatorEntry(part=Part("fake", None), safe=False, max_on=5.0)


def core(
    rules: dict[str, Rule] | None = None,
    keep: float = 0.0,
    report: str = "all",
    conditions: dict[str, Conditions] | None = None,
    *,
    max_rate_hz: float | None = None,
    hop_s: float = 1.0,
    model: ModelPlan = MODEL,
) -> Core:
    plan = PipelinePlan("motion", ("imu",), LAYOUT, 1.0, hop_s, Report(report), model, max_rate_hz)
    policies = {"some": Part("uniform", uniform.Options(uniform=keep))} if keep else {}
    return Core(
        [plan],
        Rules(rules or {}, {"motion": ("imu",), "imu": ("imu",)}, {}),
        Sampler(Sampling(policies=policies), "seed"),
        Guard({"relay": RELAY}),
        capture_s=1.0,
        truths={"imu": lambda _start, end: "wild" if end <= 2 * NS_PER_S else None},
        conditions=conditions or {},
    )


def block(first: int, count: int, value: float = 0.0, lost: int = 0) -> Block:
    t_ns = np.arange(first, first + count) * PERIOD_NS
    values = np.full((count, 1), value, np.float32)
    return Block("imu", first, t_ns, values, int(t_ns[-1]), lost)


def feed(c: Core, first: int, count: int, value: float = 0.0, lost: int = 0) -> Effects:
    return c.block(block(first, count, value, lost), (first + count) * PERIOD_NS)


def started(c: Core) -> Core:
    c.layout("imu", LAYOUT, 0)
    return c


def kinds(drafts: list[Draft]) -> list[str]:
    return [d.body["type"] if d.kind == "event" else d.kind for d in drafts]


def test_a_closed_window_becomes_one_request_and_its_answer_one_prediction_record() -> None:
    c = started(core())
    assert feed(c, 0, 49).requests == []
    (request,) = feed(c, 49, 2).requests
    assert (request.model, request.pipeline, request.window_seq) == ("m", "motion", 1)
    assert request.values.shape == (50, 1)
    assert c.waiting == 1
    (draft,) = c.arrival(Arrival("motion", 1, (0.25, 0.75), "m.tflite", "cpu"), 2 * NS_PER_S).drafts
    assert draft.kind == "prediction"
    assert (draft.body["label"], draft.body["score"], draft.body["margin"]) == ("wild", 0.75, 0.5)
    assert draft.body["sha256"] == "ab" * 32  # of the variant that answered
    assert draft.body["latency_ns"] == 2 * NS_PER_S - 50 * PERIOD_NS
    assert "why" not in draft.body
    assert (c.waiting, c.counts.scored, c.counts.correct) == (0, 1, 1)


def test_a_prediction_by_another_variant_than_the_first_says_why() -> None:
    c = started(core())
    feed(c, 0, 50)
    why = "m.tflite on edgetpu: the Edge TPU's library is not there"
    (draft,) = c.arrival(Arrival("motion", 1, (0.25, 0.75), "m.tflite", "cpu", why=why), NS_PER_S).drafts
    assert draft.body["why"] == why


def test_a_window_with_more_missing_than_its_bundle_allows_is_counted_not_predicted() -> None:
    c = started(core())
    feed(c, 0, 20)
    effects = feed(c, 40, 10, lost=20)
    assert effects.requests == []
    assert effects.drafts[0].body["skipped"] == "missing"
    assert c.counts.windows_unpredicted["motion"] == 1
    assert c.counts.samples_missing["imu"] == 20


def test_a_model_that_fails_costs_its_window_and_says_why() -> None:
    c = started(core())
    feed(c, 0, 50)
    (draft,) = c.arrival(Arrival("motion", 1, skipped="worker", error="died"), NS_PER_S).drafts
    assert (draft.body["skipped"], draft.body["label"], draft.body["error"]) == ("worker", None, "died")
    assert c.counts.windows_unpredicted["motion"] == 1


@pytest.mark.parametrize(
    ("hop_s", "max_rate_hz", "asked"),
    [
        (0.5, 1.0, [1, 3, 5, 7, 9]),
        (0.5, 1.5, [1, 2, 4, 5, 7, 8]),
        (1.0, 0.3, [1, 4]),
        (0.5, 2.0, [*range(1, 10)]),
    ],
)
def test_the_model_is_asked_no_more_often_than_max_rate_and_what_is_passed_over_is_counted(
    hop_s: float, max_rate_hz: float, asked: list[int]
) -> None:
    c = started(core(max_rate_hz=max_rate_hz, hop_s=hop_s))
    requests = [request.window_seq for i in range(5) for request in feed(c, i * 50, 50).requests]
    assert requests == asked
    closed = c.counts.windows["motion"]
    passed_over = closed - len(asked)
    assert c.counts.skipped.get("motion", {}) == ({"max_rate": passed_over} if passed_over else {})
    assert c.counts.windows_unpredicted["motion"] == passed_over


def test_a_rule_over_a_pipeline_that_is_seldom_asked_does_not_take_its_input_for_stale() -> None:
    rule = Rule(when='motion.label == "wild"', hold=0.0, do=[])
    c = started(core({"wild": rule}, max_rate_hz=0.2))
    feed(c, 0, 50)
    c.arrival(Arrival("motion", 1, (0.1, 0.9)), NS_PER_S)
    c.tick(10 * NS_PER_S)
    assert c.rule_status()["wild"]["state"] == "active"
    c.tick(17 * NS_PER_S)
    assert c.rule_status()["wild"]["state"] == "unknown"


def test_what_was_not_predicted_is_counted_by_its_cause() -> None:
    c = started(core())
    feed(c, 0, 150)
    c.arrival(Arrival("motion", 1, skipped="stale"), 4 * NS_PER_S)
    c.arrival(Arrival("motion", 2, skipped="worker", error="hung"), 4 * NS_PER_S)
    c.end(4 * NS_PER_S)
    assert c.counts.as_dict()["skipped"] == {"motion": {"stale": 1, "worker": 1, "ended": 1}}


def test_an_answer_is_read_by_the_model_that_gave_it() -> None:
    """After a swap answers of the old one may still be on their way."""
    c = started(core())
    feed(c, 0, 50)
    other = MODEL._replace(version="2", sha256={"m.tflite": "ef" * 32})
    (draft,) = c.arrival(Arrival("motion", 1, (0.25, 0.75), "m.tflite", "cpu", model=other), NS_PER_S).drafts
    assert (draft.body["version"], draft.body["sha256"]) == ("2", "ef" * 32)


def test_an_answer_to_a_window_of_before_a_reload_is_let_go() -> None:
    assert started(core()).arrival(Arrival("motion", 9, (0.1, 0.9)), NS_PER_S) == Effects([], [], [])


def test_a_rule_drives_alerts_and_captures() -> None:
    c = started(core({"over": OVER}))
    feed(c, 0, 50, value=4.0)
    effects = c.arrival(Arrival("motion", 1, (0.1, 0.9)), NS_PER_S)
    assert effects.settings == [Setting("relay", True, "over")]
    assert kinds(effects.drafts) == ["prediction", "decision", "alert", "output"]
    assert effects.drafts[2].body["message"] == "x is 4.0"
    assert c.counts.rules_fired["over"] == 1
    assert c.rule_status()["over"]["said"] == "x is 4.0"
    (sample,) = [d for d in feed(c, 50, 30, value=4.0).drafts if d.kind == "sample"]
    assert sample.body["reason"] == "capture"
    assert sample.body["samples"] == 51, "half a second before and after, both ends inclusive"
    assert sample.body["encoding"] == "int16"


def test_an_output_goes_safe_when_max_on_has_run_out() -> None:
    c = started(core({"over": OVER}))
    feed(c, 0, 50, value=4.0)
    c.arrival(Arrival("motion", 1, (0.1, 0.9)), NS_PER_S)
    for second in range(1, 6):
        feed(c, second * 50, 50, value=4.0)
        c.arrival(Arrival("motion", second + 1, (0.1, 0.9)), (second + 1) * NS_PER_S)
    (setting,) = c.tick(6 * NS_PER_S + 1).settings
    assert (setting.actuator, setting.value) == ("relay", False)
    assert "max_on of 5 s" in setting.why


def test_an_output_goes_safe_when_its_rule_loses_its_input() -> None:
    c = started(core({"over": OVER}))
    feed(c, 0, 50, value=4.0)
    c.arrival(Arrival("motion", 1, (0.1, 0.9)), NS_PER_S)
    (setting,) = c.tick(2 * NS_PER_S).settings
    assert setting == Setting("relay", False, "rule over has lost its input")
    assert c.tick(3 * NS_PER_S).settings == []


def test_a_sampled_window_gives_back_the_raw_counts() -> None:
    c = started(core(keep=1.0))
    feed(c, 0, 50, value=1.5)
    drafts = c.arrival(Arrival("motion", 1, (0.4, 0.6)), NS_PER_S).drafts
    body = drafts[1].body
    assert (body["reason"], body["probability"], body["pipeline"]) == ("some", 1.0, "motion")
    raw = msgspec.convert(body, Raw)
    assert (decode_raw(raw, LAYOUT.channels) == 1.5).all()
    assert body["samples"] == 50


def test_decisions_captures_and_gaps_are_worth_most_random_samples_least() -> None:
    c = started(core({"over": OVER}, keep=1.0))
    feed(c, 0, 50, value=4.0)
    drafts = c.arrival(Arrival("motion", 1, (0.1, 0.9)), NS_PER_S).drafts
    drafts += feed(c, 50, 30, value=4.0).drafts + feed(c, 90, 10, lost=10).drafts
    drafts += c.tick(3 * NS_PER_S).drafts + c.tick(13 * NS_PER_S).drafts
    worth = {(d.kind, d.body.get("reason", "")): d.priority for d in drafts}
    assert worth == {
        ("prediction", ""): Priority.PREDICTION,
        ("event", ""): Priority.EVENT,
        ("sample", "capture"): Priority.EVENT,
        ("sample", "some"): Priority.BULK,
        ("gap", ""): Priority.EVENT,
    }


def test_losses_become_one_gap_record_not_one_a_block() -> None:
    c = started(core())
    for i in range(5):
        feed(c, i * 20, 10, lost=10 if i else 0)
    assert [d for d in c.tick(3 * NS_PER_S).drafts if d.kind == "gap"] == []
    (gap,) = [d for d in c.tick(13 * NS_PER_S).drafts if d.kind == "gap"]
    assert gap.body["lost"] == 40
    assert c.tick(14 * NS_PER_S).drafts == []


def filters(*parts: Part) -> dict[str, Conditions]:
    return {"imu": {"x": parts}}


def test_rules_windows_and_samples_see_what_the_filters_make() -> None:
    c = started(core({"over": OVER}, keep=1.0, conditions=filters(Part("multiply", 2.0))))
    (request,) = feed(c, 0, 50, value=2.0).requests
    assert (request.values == 4.0).all()
    _, sample, *_, alert, _ = c.arrival(Arrival("motion", 1, (0.1, 0.9)), NS_PER_S).drafts
    assert alert.body["message"] == "x is 4.0"
    assert (sample.body["encoding"], sample.body["channels"][0]["lsb"]) == ("float32", None)
    assert c.layouts() == {"imu": LAYOUT}, "what is handed on at a reload is what the sensor gave"


def test_a_gap_record_says_why_readings_are_missing() -> None:
    c = started(core(conditions=filters(Part("valid", Limits(min=-3, max=3)))))
    feed(c, 0, 50)
    feed(c, 50, 10, value=4.0)
    (gap,) = c.tick(13 * NS_PER_S).drafts
    why = "x is not from -3 to 3 m/s2"
    assert (gap.body["lost"], gap.body["reasons"]) == (10, [why])
    assert c.filtered("imu") == {why: 10}
    assert c.values()["imu.x"] == 0.0


def test_a_sensor_that_does_not_serve_its_filters_stands_still_until_it_does() -> None:
    c = core(conditions=filters(Part("unit", unit.Options("g"))))
    c.layout("imu", Layout(50.0, (Channel("x", "V"),)), 0)
    assert c.unfit["imu"].startswith("what imu gives does not fit its filters: x is in V, which no g")
    assert feed(c, 0, 50) == Effects([], [], [])
    c.layout("imu", LAYOUT, 0)
    assert "imu" not in c.unfit
    assert c.unfit["motion"].endswith("gives x in g; expected m/s2, which the model was trained on")


@pytest.mark.parametrize(("text", "expected"), [("all", 6), ("changes", 2), ("every 2 s", 3)])
def test_report_says_which_predictions_become_records(text: str, expected: int) -> None:
    c = started(core(report=text))
    made = 0
    for i in range(6):
        feed(c, i * 50, 50)
        scores = (0.9, 0.1) if i < 3 else (0.1, 0.9)
        made += len(c.arrival(Arrival("motion", i + 1, scores), (i + 1) * NS_PER_S).drafts)
    assert made == expected


def test_an_answer_that_comes_after_those_to_later_windows_is_a_record_too() -> None:
    c = started(core())
    feed(c, 0, 150)
    answers = [Arrival("motion", 2, skipped="stale"), Arrival("motion", 3, skipped="stale")]
    answers.append(Arrival("motion", 1, skipped="worker", error="hung"))
    made = [draft for arrival in answers for draft in c.arrival(arrival, 4 * NS_PER_S).drafts]
    assert [draft.body["window_seq"] for draft in made] == [2, 3, 1]


def test_nan_reaches_no_rule_and_no_model_as_a_number() -> None:
    c = started(core({"over": OVER}))
    effects = feed(c, 0, 50, value=float("nan"))
    assert effects.requests == []
    assert effects.drafts[0].body["skipped"] == "missing"
    assert c.tick(NS_PER_S).settings == []


def test_the_same_input_gives_the_same_records_to_the_byte() -> None:
    def run() -> list[Draft]:
        c = started(core({"over": OVER}, keep=0.5))
        drafts: list[Draft] = []
        for i in range(20):
            drafts += feed(c, i * 50, 50, value=float(i % 5)).drafts
            drafts += c.arrival(Arrival("motion", i + 1, (0.3, 0.7)), (i + 1) * NS_PER_S).drafts
            drafts += c.tick((i + 1) * NS_PER_S).drafts
        return drafts

    assert run() == run()


def test_a_regressions_value_is_in_the_record_with_its_unit_and_in_the_rules_message() -> None:
    flow = Regression([Value(name="flow", unit="L/min")])
    over = Rule(
        when="motion.value > 3 and motion.flow < 9",
        do=[Part("event", event.Options(message="{motion.value:.1f} L/min"))],
    )
    c = started(core({"over": over}, model=MODEL._replace(read=flow.read)))
    feed(c, 0, 51)
    prediction, _, alert = c.arrival(Arrival("motion", 1, (4.25,)), NS_PER_S).drafts
    assert list(prediction.body["values"]) == [{"name": "flow", "value": 4.25, "unit": "L/min"}]
    assert (prediction.body["label"], prediction.body["score"]) == (None, None)
    assert alert.body["message"] == "4.2 L/min"


def test_an_anomaly_is_in_the_record_with_its_threshold_and_rules_see_it() -> None:
    task = Anomaly(AnomalyOutput(threshold=0.5), Given(50, [0.0], [1.0]))
    odd = Rule(when='motion.label == "anomaly" and motion.anomaly > 0.6', do=[])
    c = started(core({"odd": odd}, model=MODEL._replace(read=task.read)))
    feed(c, 0, 51)
    prediction, decision = c.arrival(Arrival("motion", 1, (0.75,)), NS_PER_S).drafts
    body = prediction.body
    assert (body["label"], body["anomaly"], body["threshold"], body["margin"]) == ("anomaly", 0.75, 0.5, 0.5)
    assert decision.body["state"] == "active"

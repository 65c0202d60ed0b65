"""What is kept, by whom, with what probability - and that the stated probability is the true one."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.schema import Budget, Part, Sampling
from edgeagent.records import Prediction, Priority
from edgeagent.sampling import margin_below, uniform
from edgeagent.sampling.sampler import Kept, Sampler

AMPLE = Budget(per_day=10**12)


def prediction(
    seq: int, margin: float | None = 0.9, skipped: Literal["missing"] | None = None, pipeline: str = "motion"
) -> Prediction:
    return Prediction(
        pipeline=pipeline,
        window_seq=seq,
        t_start_ns=0,
        t_end_ns=0,
        model="activity",
        version="1",
        sha256="",
        variant="int8",
        accelerator="cpu",
        requested="auto",
        label=None if skipped else "running",
        score=None if skipped else 0.5,
        scores=(),
        margin=margin,
        latency_ns=0,
        skipped=skipped,
    )


def baseline(share: float) -> Part:
    return Part("uniform", uniform.Options(uniform=share))


def unsure(below: float, keep: float) -> Part:
    return Part("margin_below", margin_below.Options(margin_below=below, keep=keep))


def choose(sampler: Sampler, prediction: Prediction, size_bytes: int, now_ns: int) -> Kept | None:
    drawn = sampler.draw(prediction)
    return drawn if drawn and sampler.spend(drawn, size_bytes, now_ns) else None


def kept(sampler: Sampler, stream: list[Prediction]) -> dict[int, Kept]:
    chosen = {p.window_seq: choose(sampler, p, 1200, p.window_seq) for p in stream}
    return {seq: k for seq, k in chosen.items() if k is not None}


@pytest.mark.parametrize("seed", ["press-07/0a1b", "press-07/ffee", "x"])
def test_uniform_one_percent_keeps_one_percent(seed: str) -> None:
    sampler = Sampler(Sampling(budget=AMPLE, policies={"baseline": baseline(0.01)}), seed)
    chosen = kept(sampler, [prediction(i) for i in range(40_000)])
    assert 400 - 4 * 20 < len(chosen) < 400 + 4 * 20  # four standard deviations of a binomial count
    assert set(chosen.values()) == {Kept("baseline", 0.01, Priority.BULK)}


def test_margin_keeps_its_share_of_the_unsure_and_none_of_the_others() -> None:
    sampler = Sampler(Sampling(budget=AMPLE, policies={"unsure": unsure(0.2, 0.5)}), "seed")
    stream = [prediction(i, margin=(0.1, 0.2, 0.3, None)[i % 4]) for i in range(8_000)]
    chosen = kept(sampler, stream)
    assert {seq % 4 for seq in chosen} == {0}
    assert 1000 - 4 * 22 < len(chosen) < 1000 + 4 * 22
    assert set(chosen.values()) == {Kept("unsure", 0.5, Priority.UNCERTAIN)}


def test_a_skipped_prediction_is_kept_by_uniform_and_never_by_margin() -> None:
    both = {"unsure": unsure(0.2, 1.0), "baseline": baseline(1.0)}
    sampler = Sampler(Sampling(budget=AMPLE, policies=both), "seed")
    assert choose(sampler, prediction(1, margin=0.0, skipped="missing"), 1, 0) == Kept(
        "baseline", 1.0, Priority.BULK
    )


def test_of_two_policies_that_draw_a_window_the_first_in_the_file_has_it() -> None:
    both = {"unsure": unsure(0.2, 1.0), "baseline": baseline(1.0)}
    sampler = Sampler(Sampling(budget=AMPLE, policies=both), "seed")
    assert choose(sampler, prediction(1, margin=0.1), 1, 0) == Kept("unsure", 1.0, Priority.UNCERTAIN)


def test_a_window_that_two_policies_draw_is_worth_the_more_of_the_two() -> None:
    both = {"baseline": baseline(1.0), "unsure": unsure(0.2, 1.0)}
    sampler = Sampler(Sampling(budget=AMPLE, policies=both), "seed")
    assert choose(sampler, prediction(1, margin=0.1), 1, 0) == Kept("baseline", 1.0, Priority.UNCERTAIN)
    assert choose(sampler, prediction(2, margin=0.9), 1, 0) == Kept("baseline", 1.0, Priority.BULK)


def test_the_stated_probability_is_that_of_being_kept_by_any_policy() -> None:
    both = {"baseline": baseline(0.1), "unsure": unsure(0.2, 0.5)}
    sampler = Sampler(Sampling(budget=AMPLE, policies=both), "seed")
    chosen = kept(sampler, [prediction(i, margin=0.1) for i in range(20_000)])
    assert {k.probability for k in chosen.values()} == {0.1 + 0.5 - 0.1 * 0.5}
    assert abs(len(chosen) / 20_000 - 0.55) < 4 * 0.0036  # and it is true: four standard deviations
    assert {k.policy for k in chosen.values()} == {"baseline", "unsure"}


@pytest.mark.parametrize("seed", ["a", "b", "c", "d"])
def test_weights_of_kept_windows_estimate_the_stream_without_bias(seed: str) -> None:
    """Horvitz-Thompson: the estimated counts of sure and of unsure windows, which are kept at different rates."""
    both = {"unsure": unsure(0.2, 0.5), "baseline": baseline(0.05)}
    sampler = Sampler(Sampling(budget=AMPLE, policies=both), seed)
    stream = [prediction(i, margin=0.1 if i % 5 == 0 else 0.8) for i in range(20_000)]
    chosen = kept(sampler, stream)
    estimate_unsure = sum(1 / k.probability for seq, k in chosen.items() if seq % 5 == 0)
    estimate_sure = sum(1 / k.probability for seq, k in chosen.items() if seq % 5)
    # standard deviation of the estimate: sqrt(N (1 - p) / p)
    assert abs(estimate_unsure - 4_000) < 4 * (4_000 * 0.475 / 0.525) ** 0.5
    assert abs(estimate_sure - 16_000) < 4 * (16_000 * 0.95 / 0.05) ** 0.5


def test_windows_refused_by_the_budget_are_counted_with_their_weight_so_that_the_estimate_stays_right() -> (
    None
):
    sampling = Sampling(budget=Budget(per_day=24 * 12_000), policies={"baseline": baseline(0.1)})
    sampler = Sampler(sampling, "seed")
    chosen = kept(sampler, [prediction(i) for i in range(10_000)])
    counters = sampler.counters()
    assert len(chosen) == counters["kept.baseline"] == 10  # of 1,200 B each: the hour's share of the budget
    assert counters["offered"] == 10_000
    assert counters["refused"] > 800
    assert (
        abs(counters["kept_weight"] + counters["refused_weight"] - 10_000) < 4 * (10_000 * 0.9 / 0.1) ** 0.5
    )
    assert counters["spent_bytes"] == 12_000


def test_the_same_seed_keeps_the_same_windows_and_another_keeps_others() -> None:
    sampling = Sampling(budget=AMPLE, policies={"baseline": baseline(0.1)})
    stream = [prediction(i) for i in range(2_000)]
    first, again, other = (kept(Sampler(sampling, seed), stream) for seed in ("a", "a", "b"))
    assert first == again
    assert first.keys() != other.keys()


def test_windows_of_different_pipelines_are_drawn_independently() -> None:
    sampling = Sampling(budget=AMPLE, policies={"baseline": baseline(0.1)})
    sampler = Sampler(sampling, "seed")
    motion, sound = (
        {i for i in range(20_000) if choose(sampler, prediction(i, pipeline=p), 1, 0)}
        for p in ("motion", "sound")
    )
    assert abs(len(motion & sound) - 200) < 4 * 14


def test_without_policies_nothing_is_kept() -> None:
    assert Sampler(Sampling(), "seed").draw(prediction(1)) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(0, 1000))
def test_a_stated_probability_is_one_and_never_below_any_policys_own(shares: list[float], seq: int) -> None:
    policies = {f"p{i}": baseline(share) for i, share in enumerate(shares)}
    chosen = Sampler(Sampling(budget=AMPLE, policies=policies), "seed").draw(prediction(seq))
    if chosen is not None:
        assert max(shares) * (1 - 1e-12) <= chosen.probability <= min(sum(shares), 1.0) * (1 + 1e-12)

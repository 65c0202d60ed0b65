"""A model that failed comes back by itself, ever more slowly, then gives way to its next variant."""

from __future__ import annotations

import pytest

from edgeagent.inference.recovery import CALM_NS, FAILURES_A_CHOICE, FIRST_PROBE_NS, QUARANTINE_NS, Recovery
from edgeagent.records import NS_PER_MS

pytestmark = pytest.mark.tflite_runtime


def test_the_first_failure_is_tried_again_at_once_and_then_the_pauses_double() -> None:
    recovery = Recovery(1)
    now_ns, pauses_ms = 10**12, []
    for _ in range(FAILURES_A_CHOICE - 1):
        recovery.failed(now_ns, hopeless=False, killed=False)
        assert recovery.state == "restarting"
        assert recovery.retry_ns is not None
        assert not recovery.is_due(recovery.retry_ns - 1)
        assert recovery.is_due(recovery.retry_ns)
        pauses_ms.append((recovery.retry_ns - now_ns) // NS_PER_MS)
        now_ns = recovery.retry_ns
    assert pauses_ms == [0, 200, 400, 800]


def test_after_its_failures_the_next_variant_has_its_turn_at_once() -> None:
    recovery = Recovery(2)
    for now_ns in range(FAILURES_A_CHOICE):
        assert recovery.choice == 0
        recovery.failed(now_ns, hopeless=False, killed=False)
    assert recovery.choice == 1
    assert recovery.is_due(now_ns)


def test_without_hope_a_variant_is_not_tried_again() -> None:
    recovery = Recovery(2)
    recovery.failed(5, hopeless=True, killed=False)
    assert (recovery.choice, recovery.state, recovery.is_due(5)) == (1, "restarting", True)


def test_when_no_variant_is_left_the_model_is_in_quarantine_and_then_tried_from_the_first() -> None:
    recovery = Recovery(2)
    recovery.failed(5, hopeless=True, killed=False)
    recovery.failed(5, hopeless=True, killed=False)
    assert recovery.state == "quarantined"
    assert not recovery.is_due(5 + QUARANTINE_NS - 1)
    assert recovery.is_due(5 + QUARANTINE_NS)
    assert recovery.choice == 0


def test_a_failure_after_a_calm_minute_counts_as_the_first() -> None:
    recovery = Recovery(1)
    now_ns = 0
    for _ in range(3 * FAILURES_A_CHOICE):
        now_ns += CALM_NS + 1
        recovery.loaded(0, now_ns)
        recovery.failed(now_ns, hopeless=False, killed=False)
        assert recovery.state == "restarting"
        assert recovery.retry_ns == now_ns


def test_a_model_that_fails_every_few_seconds_does_not_go_on_for_ever() -> None:
    """Each success in between does not wipe the slate: else a window that kills the worker would do so for days."""
    recovery = Recovery(1)
    for second in range(FAILURES_A_CHOICE):
        recovery.loaded(0, second * 10 * 10**9)
        recovery.failed(second * 10 * 10**9, hopeless=False, killed=False)
    assert recovery.state == "quarantined"


def test_while_a_lesser_choice_serves_the_better_ones_are_probed_in_turn_and_ever_more_rarely() -> None:
    recovery = Recovery(3)
    recovery.failed(5, hopeless=True, killed=False)
    recovery.failed(5, hopeless=True, killed=False)
    recovery.loaded(2, 5)
    now_ns, found = 5, []
    for _ in range(9):
        waited_ns = 0
        while (choice := recovery.probe(now_ns + waited_ns)) is None:
            waited_ns += FIRST_PROBE_NS
        recovery.probe_failed(choice, killed=False)
        now_ns += waited_ns
        found.append((choice, waited_ns // FIRST_PROBE_NS))
    assert found == [(0, 1), (1, 2), (0, 4), (1, 8), (0, 16), (1, 32), (0, 60), (1, 60), (0, 60)]


def test_a_better_choice_that_serves_again_is_the_one_that_runs() -> None:
    recovery = Recovery(2)
    recovery.failed(5, hopeless=True, killed=False)
    recovery.loaded(1, 5)
    assert recovery.probe(5 + FIRST_PROBE_NS) == 0
    recovery.loaded(0, 5 + FIRST_PROBE_NS)
    assert (recovery.choice, recovery.state) == (0, "ok")
    assert recovery.probe(10**18) is None


def test_a_choice_that_kills_its_worker_again_and_again_is_neither_tried_nor_probed_any_more() -> None:
    recovery = Recovery(2)
    for second in range(FAILURES_A_CHOICE):
        recovery.failed(second, hopeless=False, killed=True)
    recovery.loaded(1, 5)
    assert recovery.probe(10**18) is None
    recovery.failed(10, hopeless=True, killed=False)
    assert (recovery.state, recovery.choice, recovery.retry_ns) == ("quarantined", 1, 10 + QUARANTINE_NS)


def test_a_model_all_of_whose_choices_kill_their_worker_stays_in_quarantine() -> None:
    recovery = Recovery(1)
    for second in range(FAILURES_A_CHOICE):
        recovery.failed(second, hopeless=False, killed=True)
    assert recovery.state == "quarantined"
    assert not recovery.is_due(10**18)


def test_a_probe_that_kills_its_worker_counts_like_any_death() -> None:
    recovery = Recovery(2)
    recovery.failed(5, hopeless=True, killed=False)
    recovery.loaded(1, 5)
    for _ in range(FAILURES_A_CHOICE):
        assert recovery.probe(10**18) == 0
        recovery._probe_ns = 0
        recovery.probe_failed(0, killed=True)
    assert recovery.probe(10**18) is None


def test_a_crash_now_and_then_bars_no_choice() -> None:
    recovery = Recovery(1)
    for minute in range(3 * FAILURES_A_CHOICE):
        recovery.failed(minute * (CALM_NS + 1), hopeless=False, killed=True)
        recovery.loaded(0, minute * (CALM_NS + 1))
    assert recovery.state == "ok"

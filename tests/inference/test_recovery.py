"""A model that failed comes back by itself, ever more slowly, then gives way to its next variant."""

from __future__ import annotations

import pytest

from edgeagent.inference.recovery import CALM_NS, FAILURES_A_VARIANT, QUARANTINE_NS, Recovery
from edgeagent.records import NS_PER_MS

pytestmark = pytest.mark.tflite_runtime


def test_pauses_double_from_failure_to_failure() -> None:
    recovery = Recovery(1)
    now_ns, pauses_ms = 10**12, []
    for _ in range(FAILURES_A_VARIANT - 1):
        recovery.failed(now_ns, hopeless=False)
        assert recovery.state == "restarting"
        assert not recovery.is_due(recovery.retry_ns - 1)
        assert recovery.is_due(recovery.retry_ns)
        pauses_ms.append((recovery.retry_ns - now_ns) // NS_PER_MS)
        now_ns = recovery.retry_ns
    assert pauses_ms == [200, 400, 800, 1600]


def test_after_its_failures_the_next_variant_has_its_turn_at_once() -> None:
    recovery = Recovery(2)
    for now_ns in range(FAILURES_A_VARIANT):
        assert recovery.variant == 0
        recovery.failed(now_ns, hopeless=False)
    assert recovery.variant == 1
    assert recovery.is_due(now_ns)


def test_without_hope_a_variant_is_not_tried_again() -> None:
    recovery = Recovery(2)
    recovery.failed(5, hopeless=True)
    assert (recovery.variant, recovery.state, recovery.is_due(5)) == (1, "restarting", True)


def test_when_no_variant_is_left_the_model_is_in_quarantine_and_then_tried_from_the_first() -> None:
    recovery = Recovery(2)
    recovery.failed(5, hopeless=True)
    recovery.failed(5, hopeless=True)
    assert recovery.state == "quarantined"
    assert not recovery.is_due(5 + QUARANTINE_NS - 1)
    assert recovery.is_due(5 + QUARANTINE_NS)
    assert recovery.variant == 0


def test_a_failure_after_a_calm_minute_counts_as_the_first() -> None:
    recovery = Recovery(1)
    now_ns = 0
    for _ in range(3 * FAILURES_A_VARIANT):
        now_ns += CALM_NS + 1
        recovery.loaded()
        recovery.failed(now_ns, hopeless=False)
        assert recovery.state == "restarting"
        assert recovery.retry_ns - now_ns == 200 * NS_PER_MS


def test_a_model_that_fails_every_few_seconds_does_not_go_on_for_ever() -> None:
    """Each success in between does not wipe the slate: else a window that kills the worker would do so for days."""
    recovery = Recovery(1)
    for second in range(FAILURES_A_VARIANT):
        recovery.loaded()
        recovery.failed(second * 10 * 10**9, hopeless=False)
    assert recovery.state == "quarantined"

"""A week without a network, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from outage import HOUR_S, Outage, Receiver, Stratum

WEEK_S = 7 * 24 * HOUR_S
PERIOD_S, A_PERIOD = 300, 10


@pytest.mark.parametrize("max_bytes", [100_000_000, 2_000_000], ids=["room for all", "room for a third"])
def test_of_a_week_offline_all_arrives_once_or_a_gap_record_says_what_does_not(
    tmp_path: Path, max_bytes: int, tell: Callable[[str], None]
) -> None:
    outage = Outage(tmp_path, max_bytes)
    for _ in outage.last(WEEK_S, PERIOD_S, A_PERIOD):
        pass
    before = outage.counters()
    receiver = Receiver(before.made)
    for _ in outage.drain(receiver):
        pass
    after = outage.counters()
    outage.close()
    gaps = receiver.received.pop(Stratum("event", "gap"), 0)
    assert outage.made + gaps == before.made == after.delivered + after.evicted
    assert after.waiting == receiver.doubled == 0
    assert receiver.missing.total() == after.evicted
    made = receiver.received + receiver.missing
    tenth = outage.made // 10
    assert made == {
        Stratum("event", "event"): tenth,
        Stratum("uncertain", "sample"): tenth,
        Stratum("prediction", "prediction"): outage.made - 4 * tenth,
        Stratum("health", "health"): tenth,
        Stratum("bulk", "sample"): tenth,
    }
    if max_bytes < 10_000_000:
        assert receiver.received[Stratum("event", "event")] == tenth, "the most worth is kept whole"
        assert receiver.received[Stratum("bulk", "sample")] < tenth // 50, (
            "the least goes first, as soon as it comes"
        )
        prediction = Stratum("prediction", "prediction")
        assert 0 < receiver.missing[prediction] < made[prediction]
    else:
        assert after.evicted == gaps == 0
    tell(f"a week offline, {max_bytes / 1e6:g} MB: {outage.made} made, {gaps} gap records")
    for stratum, n in made.items():
        tell(f"  {stratum.worth:10} {stratum.kind:10} {n:6} made {receiver.received[stratum]:6} arrived")

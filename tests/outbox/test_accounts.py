"""Whatever is done in whatever order, the counters agree with the rows, and each upstream's accounts add up."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from outboxes import UNSYNCED, drafts, open_outbox, take

from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Kind, Priority

ROUTES: list[dict[str, list[Kind]]] = [
    {},
    {"a": []},
    {"a": [], "b": []},
    {"b": ["event"]},
    {"b": [], "c": ["prediction"]},
]
STEPS = ("append", "deliver", "refuse", "keep", "receipt", "reopen", "route")


def rows(outbox: Outbox) -> int:
    (count,) = outbox._db.execute("SELECT coalesce(sum(n), 0) FROM record").fetchone()
    return int(count)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2**32)), max_size=25))
def test_counters_agree_with_the_rows_whatever_is_done(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        routes = ROUTES[1]
        outbox = open_outbox(Path(name), upstreams=routes, max_bytes=150_000)
        made = 0
        for step, seed in steps:
            dice = random.Random(seed)
            if step == "append":
                kind: Kind = dice.choice(["prediction", "event", "sample"])
                made += outbox.append(
                    drafts(dice.randrange(200), dice.choice(list(Priority)), kind), UNSYNCED
                )
            elif step == "reopen":
                outbox.close()
                outbox = open_outbox(Path(name), upstreams=routes, max_bytes=150_000)
            elif step == "route":
                routes = dice.choice(ROUTES)
                outbox.route(routes)
            elif routes and step == "receipt":
                outbox.arrived(
                    dice.choice(sorted(routes)), -1, lambda record_id: record_id[-1] in "13579", {}
                )
            elif routes:
                upstream = dice.choice(sorted(routes))
                taken = [q.row for q in take(outbox, upstream, dice.randrange(1, 100), 10_000)]
                if step == "deliver":
                    outbox.settle(upstream, taken, {})
                elif step == "refuse":
                    outbox.settle(upstream, [], dict.fromkeys(taken, "no"))
                else:
                    outbox.settle(upstream, [], {}, taken)
            check(outbox, made, ever_one=all(step != "route" for step, _ in steps))
        outbox.close()


def check(outbox: Outbox, made: int, *, ever_one: bool) -> None:
    counters = outbox.counters()
    assert counters.waiting == rows(outbox)
    gaps = counters.by_kind.get("gap", Counter())["made"]
    assert counters.made == made + gaps
    for name, row in counters.by_upstream.items():
        waiting = outbox._db.execute(
            "SELECT coalesce(sum(n), 0) FROM record WHERE waiting & ?", (outbox._routes.bit(name),)
        ).fetchone()[0]
        assert row["waiting"] == waiting
        assert min(row.values()) >= 0
    if ever_one and counters.rejected == 0 and counters.evicted == 0:
        assert counters.made == counters.delivered + counters.waiting

"""What strangers ask of the outbox: whatever they write, they get an answer or a sentence, and the writer goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outboxes import UNSYNCED, bulky, drafts, open_outbox

from edgeagent.agent.desk import request, serve
from edgeagent.errors import Fault
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Priority

NUMBERS = st.integers(-(2**65), 2**65) | st.sampled_from([-1, 0, 1, 2**63 - 1, 2**63, 2**64])
WORDS = st.text(max_size=8) | st.sampled_from(["fleet", "event", "press-07/0123456789ab/1"])
SPANS = st.lists(st.tuples(WORDS, NUMBERS, NUMBERS), max_size=3)
REASONS = st.dictionaries(WORDS, WORDS, max_size=2)
ASKED = st.one_of(
    st.fixed_dictionaries({"do": st.just("list"), "limit": NUMBERS}, optional={"kind": WORDS}),
    st.fixed_dictionaries({"do": st.just("show"), "id": WORDS}),
    st.fixed_dictionaries({"do": st.just("retry") | WORDS}),
    st.fixed_dictionaries({"do": st.just("page"), "after": NUMBERS}, optional={"max_bytes": NUMBERS}),
    st.fixed_dictionaries(
        {"do": st.just("arrived"), "upstream": WORDS, "accepted": SPANS, "refused": REASONS},
        optional={"after": NUMBERS},
    ),
)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Outbox]:
    outbox = open_outbox(tmp_path, large_bytes=700)
    outbox.append([*drafts(20, Priority.EVENT, "event"), *bulky(5, Priority.BULK)], UNSYNCED)
    (refused,) = outbox.take("fleet", 1, 10)
    outbox.settle("fleet", [], {refused: "no"})
    yield outbox
    outbox.close()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ASKED)
def test_whatever_is_asked_is_answered_or_refused_in_words(filled: Outbox, asked: dict[str, Any]) -> None:
    do = asked.pop("do")
    with suppress(Fault):
        serve(filled, request(do, asked), 0, UNSYNCED)
    assert filled.counters().made == 25


@pytest.mark.parametrize(
    ("do", "arguments"),
    [
        ("list", {"limit": -1}),
        ("list", {"limit": 10**9}),
        ("list", {"kind": "events"}),
        ("page", {"after": 2**63}),
        ("page", {"max_bytes": 10**12}),
        ("arrived", {"upstream": "fleet", "accepted": [], "refused": {}, "after": -2}),
        ("purge", {"kind": "evnet"}),
        ("format", {}),
    ],
)
def test_what_would_break_the_writer_or_fill_its_memory_is_refused(
    do: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(Fault, match="not a request about the outbox"):
        request(do, arguments)

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st
from outboxes import UNSYNCED, drafts, drain, open_outbox, seqs, take

from edgeagent.outbox.dispatch import PATIENCE_BATCHES
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Priority

NEWEST = {"fleet": ["prediction"]}
ROOM = 10**6


def accept(outbox: Outbox, count: int, upstream: str = "fleet") -> list[int]:
    """One batch, accepted: its sequence numbers."""
    taken = take(outbox, upstream, count, ROOM)
    outbox.settle(upstream, [queued.row for queued in taken], {})
    return seqs(taken)


def test_a_kind_whose_newest_go_first_leaves_from_the_end(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, newest=NEWEST)
    outbox.append(drafts(5), UNSYNCED)
    assert accept(outbox, 2) == [5, 4]
    outbox.append(drafts(2), UNSYNCED)
    assert accept(outbox, 1) == [7]
    assert accept(outbox, 9) == [6, 3, 2, 1]
    assert accept(outbox, 9) == []


def test_newest_first_of_one_kind_leaves_the_others_of_its_worth_as_they_are(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, newest=NEWEST)
    for kind in ("health", "prediction", "health", "prediction"):
        outbox.append(drafts(1, Priority.PREDICTION, kind=kind), UNSYNCED)
    outbox.append(drafts(1, Priority.EVENT, kind="event"), UNSYNCED)
    assert accept(outbox, 9) == [5, 4, 2, 1, 3]


def test_each_upstream_has_an_order_of_its_own(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []}, newest=NEWEST)
    outbox.append(drafts(3), UNSYNCED)
    assert accept(outbox, 9) == [3, 2, 1]
    assert accept(outbox, 9, "plant") == [1, 2, 3]


def test_what_is_kept_back_of_the_newest_is_the_newest_again(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, newest=NEWEST)
    outbox.append(drafts(6), UNSYNCED)
    first = take(outbox, "fleet", 2, ROOM)
    second = take(outbox, "fleet", 2, ROOM)
    assert (seqs(first), seqs(second)) == ([6, 5], [4, 3])
    outbox.settle("fleet", [second[0].row], {}, [first[0].row, first[1].row, second[1].row])
    assert accept(outbox, 9) == [6, 5, 3, 2, 1]


def test_what_is_passed_over_for_long_goes_first_for_one_batch(tmp_path: Path) -> None:
    """However many events come, a sample leaves in the end."""
    outbox = open_outbox(tmp_path)
    outbox.append(drafts(2, Priority.BULK, kind="sample"), UNSYNCED)
    outbox.append(drafts(100, Priority.EVENT, kind="event"), UNSYNCED)
    batches = [accept(outbox, 5) for _ in range(PATIENCE_BATCHES + 2)]
    assert all(min(batch) > 2 for batch in batches[:PATIENCE_BATCHES])
    assert batches[PATIENCE_BATCHES][:2] == [1, 2]
    assert min(batches[-1]) > 2


def test_nothing_of_less_worth_than_asked_for_is_taken(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([*drafts(2), *drafts(2, Priority.EVENT, kind="event")], UNSYNCED)
    assert seqs(take(outbox, "fleet", 9, ROOM, Priority.EVENT)) == [3, 4]
    assert seqs(take(outbox, "fleet", 9, ROOM)) == [1, 2]


def test_a_batch_that_ends_in_all_three_ways_is_counted_so_for_each_upstream(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, upstreams={"fleet": [], "plant": []}, large_bytes=200)
    outbox.append([*drafts(6), *drafts(3, Priority.EVENT, kind="event")], UNSYNCED)
    taken = take(outbox, "fleet", 9, ROOM)
    rows = [queued.row for queued in taken]
    outbox.settle("fleet", rows[:5], {rows[5]: "no", rows[6]: "no"}, rows[7:])
    counters = outbox.counters()
    assert (counters.delivered, counters.rejected, counters.waiting) == (5, 2, 9)
    assert counters.by_upstream["fleet"] == {"delivered": 5, "rejected": 2, "evicted": 0, "waiting": 2}
    assert accept(outbox, 9) == [5, 6]
    assert sorted(int(r.id.rpartition("/")[2]) for r in drain(outbox, "plant")) == list(range(1, 10))
    counters = outbox.counters()
    assert counters.made == 9
    assert counters.waiting == 0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(list(Priority)), st.integers(1, 7), st.integers(0, 9), st.integers(0, 3)),
        max_size=25,
    )
)
def test_whatever_is_kept_and_when_each_record_leaves_once(
    steps: list[tuple[Priority, int, int, int]],
) -> None:
    """Newest and oldest first, with batches under way beside one another, of which some are kept back."""
    with TemporaryDirectory() as folder:
        outbox = open_outbox(Path(folder), newest=NEWEST)
        made, left = 0, list[int]()
        for priority, new, asked, kept in steps:
            made += outbox.append(drafts(new, priority), UNSYNCED)
            first, second = (take(outbox, "fleet", asked, ROOM) if asked else [] for _ in range(2))
            for taken in (second, first):
                rows = [queued.row for queued in taken]
                outbox.settle("fleet", rows[kept:], {}, rows[:kept])
                left += seqs(taken[kept:])
        left += [int(r.id.rpartition("/")[2]) for r in drain(outbox)]
        outbox.close()
    assert sorted(left) == list(range(1, made + 1))

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edgeagent.errors import UpstreamFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import Result
from edgeagent.upstream.codec import id_of
from edgeagent.upstream.sync import DAMAGED, Limits, Report, pause_s, sync_once

UNSYNCED = Wall(0, synced=False)


class Receiver:
    """A sink that answers what it is told to, by the records' ids."""

    def __init__(self, answer: Result | UpstreamFault | KeyboardInterrupt | None = None) -> None:
        self.answer, self.bytes_sent, self.got = answer, 0, list[Sequence[str]]()

    def send(self, batch: Mapping[int, bytes]) -> Result:
        rows = {id_of(record): row for row, record in batch.items()}
        self.got.append(list(rows))
        self.bytes_sent += sum(map(len, batch.values()))
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is None:
            return Result(accepted=frozenset(batch))
        accepted = frozenset(rows.get(one, -1) for one in self.answer.accepted)
        rejected = {rows[one]: why for one, why in self.answer.rejected.items()}
        return self.answer._replace(accepted=accepted, rejected=rejected)

    def idle(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    outbox = Outbox(tmp_path, "d", "0123456789ab", "boot", {"fleet": []}, max_bytes=10**9)
    outbox.append([Draft("prediction", n, Priority.PREDICTION, {}) for n in range(4)], UNSYNCED)
    return outbox


def ids(*seqs: int) -> list[str]:
    return [f"d/0123456789ab/{seq}" for seq in seqs]


def test_nothing_waits_nothing_is_sent(outbox: Outbox) -> None:
    sink = Receiver()
    sync_once("fleet", outbox, sink, "boot", UNSYNCED)
    assert sync_once("fleet", outbox, sink, "boot", UNSYNCED) == Report()
    assert len(sink.got) == 1


def test_each_record_ends_accepted_rejected_or_kept(outbox: Outbox) -> None:
    sink = Receiver(Result(frozenset(ids(1, 4)), {ids(2)[0]: "no"}))
    report = sync_once("fleet", outbox, sink, "boot", UNSYNCED)
    settled_bytes = sink.bytes_sent * 3 // 4
    assert report == Report(
        4, accepted=2, rejected=1, bytes_sent=sink.bytes_sent, bytes_settled=settled_bytes
    )
    assert sync_once("fleet", outbox, Receiver(), "boot", UNSYNCED).sent == 1
    assert [q.id for q in outbox.quarantined()] == ids(2)
    assert outbox.counters().delivered == 3


@pytest.mark.parametrize("trouble", [UpstreamFault("away"), KeyboardInterrupt()])
def test_whatever_breaks_off_a_send_keeps_all(
    outbox: Outbox, trouble: UpstreamFault | KeyboardInterrupt
) -> None:
    with pytest.raises(type(trouble)):
        sync_once("fleet", outbox, Receiver(trouble), "boot", UNSYNCED)
    sink = Receiver()
    sync_once("fleet", outbox, sink, "boot", UNSYNCED)
    assert sink.got == [ids(1, 2, 3, 4)]


def test_a_send_that_breaks_off_keeps_what_was_accepted_before_and_says_why(outbox: Outbox) -> None:
    with pytest.raises(UpstreamFault, match="cut"):
        sync_once(
            "fleet",
            outbox,
            Receiver(Result(frozenset(ids(1, 2)), {}, UpstreamFault("cut"))),
            "boot",
            UNSYNCED,
        )
    sink = Receiver()
    sync_once("fleet", outbox, sink, "boot", UNSYNCED)
    assert sink.got == [ids(3, 4)]


def test_a_receiver_that_answers_and_does_nothing_is_at_fault(outbox: Outbox) -> None:
    with pytest.raises(UpstreamFault, match="neither takes nor refuses"):
        sync_once("fleet", outbox, Receiver(Result()), "boot", UNSYNCED)
    assert outbox.counters().waiting == 4


def test_a_receiver_can_settle_only_what_it_was_sent(outbox: Outbox) -> None:
    sync_once("fleet", outbox, Receiver(Result(frozenset(ids(1, 3)))), "boot", UNSYNCED, Limits(2, 10_000))
    assert outbox.counters().delivered == 1


def test_a_record_that_the_disk_has_altered_is_refused_here_and_spoils_no_batch(outbox: Outbox) -> None:
    for n in (2, 4):
        begins = b"\x8a\xa2id\xb0" + ids(n)[0].encode()
        query = "UPDATE record SET payload = CAST(replace(payload, ?, ?) AS BLOB)"
        outbox._db.execute(query, (begins, b"\xff" + begins[1:]))
    sink = Receiver()
    report = sync_once("fleet", outbox, sink, "boot", UNSYNCED)
    assert (report.sent, report.accepted, report.rejected) == (2, 2, 2)
    assert {q.reason for q in outbox.quarantined()} == {DAMAGED}
    assert outbox.counters().waiting == 0


def test_a_pause_is_any_part_of_a_quarter_of_the_outage_of_a_second_at_least_and_a_minute_at_most() -> None:
    away_s = [0, 2, 4, 20, 60, 240, 10**9]
    assert [pause_s(s, lambda: 1.0) for s in away_s] == [1, 1, 1, 5, 15, 60, 60]
    assert [pause_s(s, lambda: 0.5) for s in away_s] == [0.5, 0.5, 0.5, 2.5, 7.5, 30, 30]
    assert pause_s(3600, lambda: 0.0) == 0

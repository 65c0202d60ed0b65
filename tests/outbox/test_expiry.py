from __future__ import annotations

from pathlib import Path

from outboxes import UNSYNCED, drain, open_outbox, seqs, take

from edgeagent.outbox.writer import Writer
from edgeagent.records import NS_PER_S, Draft, Kind, Priority
from edgeagent.timebase import Wall

HOUR_NS = 3600 * NS_PER_S
SYNCED = Wall(10**18, synced=True)
WEEK = {"prediction": 7 * 86_400.0}


def made(hour: int, kind: Kind = "prediction", priority: Priority = Priority.PREDICTION) -> Draft:
    return Draft(kind, hour * HOUR_NS, priority, {"hour": hour, "pad": bytes(300)})


def test_what_is_too_old_is_given_up_and_the_gap_says_so(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, expire_s={"prediction": 3600.0})
    outbox.append([made(n) for n in range(5)], UNSYNCED)
    outbox.append([made(0, "event", Priority.EVENT), made(1, "health", Priority.PREDICTION)], UNSYNCED)
    assert outbox.expire(4 * HOUR_NS, UNSYNCED) == 3
    assert outbox.expire(4 * HOUR_NS, UNSYNCED) == 0
    event, gap, *rest = drain(outbox)
    assert gap.body == {"type": "expired", "records": 3, "strata": {"prediction": {"prediction": 3}}}
    assert [r.body["hour"] for r in (event, *rest)] == [0, 3, 4, 1]
    counters = outbox.counters()
    assert (counters.made, counters.delivered, counters.evicted, counters.waiting) == (8, 5, 3, 0)


def test_nothing_expires_unless_it_is_asked_for(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([made(0)], UNSYNCED)
    assert outbox.expire(10**6 * HOUR_NS, SYNCED) == 0


def test_of_another_boot_the_time_tells_the_age_or_the_time_since_this_boot_does(tmp_path: Path) -> None:
    first = open_outbox(tmp_path, boot_id="first")
    first.append([made(100)], SYNCED)
    first.append([made(100)], UNSYNCED)
    first.close()
    outbox = open_outbox(tmp_path, boot_id="second", expire_s=WEEK)
    late = Wall(SYNCED.offset_ns + 100 * HOUR_NS + 8 * 24 * HOUR_NS, synced=True)
    assert outbox.expire(HOUR_NS, UNSYNCED) == 0, "for all that is known they are an hour old"
    assert outbox.expire(HOUR_NS, late) == 1, "one says when it was made"
    assert outbox.expire(8 * 24 * HOUR_NS, UNSYNCED) == 1, "the other is older than this boot"


def test_a_large_records_file_goes_with_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, large_bytes=200, expire_s=WEEK)
    outbox.append([made(0)], UNSYNCED)
    assert list(tmp_path.glob("*.record"))
    assert outbox.expire(8 * 24 * HOUR_NS, UNSYNCED) == 1
    assert not list(tmp_path.glob("*.record"))


def test_what_is_in_flight_does_not_expire(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, expire_s=WEEK)
    outbox.append([made(0), made(0)], UNSYNCED)
    taken = take(outbox, "fleet", 1, 10_000)
    assert outbox.expire(8 * 24 * HOUR_NS, UNSYNCED) == 1
    outbox.settle("fleet", [queued.row for queued in taken], {})
    assert seqs(taken) == [1]
    assert outbox.counters().delivered == 1


def test_the_writer_looks_for_old_records_once_a_minute(tmp_path: Path) -> None:
    writer = Writer(
        lambda seq: open_outbox(tmp_path, first_seq=seq, expire_s={"prediction": 30.0}), flush_s=1
    )
    writer.put([Draft("prediction", 0, Priority.PREDICTION, {})], 0)
    evicted = []
    for second in range(0, 100, 5):
        writer.step(second * NS_PER_S, UNSYNCED)
        evicted.append(writer.use(lambda outbox: outbox.counters().evicted, 0))
    assert evicted.index(1) * 5 == 60
    writer.close()

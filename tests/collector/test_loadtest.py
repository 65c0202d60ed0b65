"""The simulated fleet: what it reports is true, also where something is wrong."""

from __future__ import annotations

import re
import signal
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest
from received import CollectorProcess, collector, ids

from edgeagent.cli import OK, main
from edgeagent.collector.loadtest import Plan, Report, names, run
from edgeagent.collector.tokens import Tokens
from edgeagent.errors import StorageFault

PLAN = Plan(devices=10, batches=6, records=5, every_s=0.01)
DEADLINE_S = 60.0


def _noon() -> datetime:
    return datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_fleet_loses_nothing_and_doubles_nothing_with_a_token_for_each_device(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--devices", "30", "--batches", "6", "--records", "5", "--every", "10ms"]
    assert main(["collector", "loadtest", *options]) == OK
    said = capsys.readouterr().out
    assert "sent     900 records of 30 devices in" in said
    assert re.search(
        r"answers  210: p50 \d+ ms, p99 \d+ ms, the slowest \d+ ms", said
    )  # the sixth batch went twice
    assert "lost     0\ndoubled  0\n" in said


def test_what_is_not_in_the_dataset_is_lost_though_it_was_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "records").mkdir(parents=True)
    with collector(tmp_path / "data") as server:
        report = run(server.url, Tokens(), PLAN, tmp_path / "elsewhere")
    assert (report.lost, report.doubled) == (300, 0)


def test_what_is_in_the_dataset_twice_is_doubled(tmp_path: Path) -> None:
    """A folder that shows each day's file under two names."""
    twice = tmp_path / "twice" / "records"
    twice.mkdir(parents=True)
    for name in ("one.jsonl", "two.jsonl"):
        (twice / name).symlink_to(tmp_path / "data" / "records" / "2026-11-22.jsonl")
    with collector(tmp_path / "data", now=_noon) as server:
        report = run(server.url, Tokens(), PLAN, twice.parent)
    assert (report.lost, report.doubled) == (0, 300)


def test_without_its_dataset_a_collector_is_taken_by_its_word(tmp_path: Path) -> None:
    with collector(tmp_path) as server:
        report = run(server.url, Tokens(), PLAN)
    assert (report.lost, report.doubled) == (0, None)


def test_what_a_collector_does_not_accept_is_lost(tmp_path: Path) -> None:
    tokens = Tokens({name: name[::-1] for name in names(5)})
    with collector(tmp_path, tokens=tokens) as server:
        report = run(server.url, tokens, PLAN._replace(patience_s=0.0))
    assert report.lost == 5 * PLAN.batches * PLAN.records  # those of the other five devices


@pytest.mark.slow
def test_a_fleet_whose_collector_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    plan = Plan(devices=20, batches=10, records=20, every_s=0.2)
    process = CollectorProcess(data)
    found: list[Report] = []
    fleet = Thread(target=lambda: found.append(run(process.url, Tokens(), plan, data)))
    fleet.start()
    for kill in range(1, 4):
        give_up_s = time.monotonic() + DEADLINE_S
        while len(ids(data)) < kill * plan.total // 5 and time.monotonic() < give_up_s:
            time.sleep(0.02)
        process.end(signal.SIGKILL)
        process = CollectorProcess(data, process.port)
    fleet.join(DEADLINE_S)
    process.end(signal.SIGTERM)
    (report,) = found
    assert (report.lost, report.doubled) == (0, 0)
    assert report.repeated > 0


def test_a_collector_that_is_not_there_is_said() -> None:
    with pytest.raises(
        StorageFault, match=r"127\.0\.0\.1:1: no connection \(Connection refused\). Does the collector"
    ):
        run("http://127.0.0.1:1", Tokens(), PLAN)
    for url in ("ftp://x", "127.0.0.1:8377", "http://x:many"):
        with pytest.raises(StorageFault, match="not a collector's URL"):
            run(url, Tokens(), PLAN)


def test_one_who_hangs_up_on_everybody_is_no_collector() -> None:
    def hang_up() -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=hang_up)
        thread.start()
        with pytest.raises(StorageFault, match="no device got an answer"):
            run(f"http://127.0.0.1:{listener.getsockname()[1]}", Tokens(), PLAN._replace(patience_s=0.0))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_percentiles_are_of_the_answers() -> None:
    report = Report(1.0, [n / 1000 for n in range(1, 101)], 0, 0, 0)
    assert (report.percentile_s(0.5), report.percentile_s(0.99), report.percentile_s(1.0)) == (
        0.051,
        0.1,
        0.1,
    )

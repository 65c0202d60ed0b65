"""`edgeagent outbox`, on the outbox itself and through a running agent."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from agents import ACME, COUNTER, Site, running, scaled

from edgeagent.agent.control import Refused, ask
from edgeagent.agent.outgoing import open_outbox
from edgeagent.cli import FAULTS, OK, USAGE, main
from edgeagent.config.load import load, require
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Kind, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream.codec import decode_batch, decode_record

RUN = "0123456789ab"
UPSTREAM = "upstream: {fleet: {http: {url: 'http://127.0.0.1:1', token: abc}}}"
UNSYNCED = Wall(0, synced=False)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.write(UPSTREAM)
    return site


@contextmanager
def outbox(site: Site) -> Iterator[Outbox]:
    opened = open_outbox(require(load(site.config)), RUN, 1)
    yield opened
    opened.close()


def fill(site: Site) -> None:
    """Ten predictions, two events, and a large sample that is refused."""

    def drafts(count: int, kind: Kind, priority: Priority, size: int = 10) -> list[Draft]:
        return [Draft(kind, n, priority, {"n": n, "data": bytes(size)}) for n in range(count)]

    with outbox(site) as filled:
        filled.append(drafts(1, "sample", Priority.EVENT, 30_000), UNSYNCED)
        (refused,) = filled.take("fleet", 1, 10)
        filled.settle("fleet", [], {refused: "too odd"})
        filled.append(drafts(10, "prediction", Priority.PREDICTION), UNSYNCED)
        filled.append(drafts(2, "event", Priority.EVENT), UNSYNCED)


def said(capsys: pytest.CaptureFixture[str], site: Site, *args: str) -> str:
    assert main(["outbox", *args, "-c", str(site.config)]) == OK
    return capsys.readouterr().out


def test_the_status_says_what_waits_and_what_the_flush_time_trades(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(site)
    text = said(capsys, site, "status")
    assert "waiting   12 (2 event, 10 prediction)" in text
    assert "refused   1: edgeagent outbox list --refused" in text
    assert "of 1.0 GB" in text
    assert "flush     1 s: a power cut can cost so much of what came last, but no event" in text
    assert "outbox: {flush: 5 s}" in text


def test_a_longer_flush_says_what_is_at_risk_for_what_it_saves(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write(UPSTREAM, "outbox: {flush: 5 s}")
    fill(site)
    text = said(capsys, site, "status")
    assert "flush     5 s: a power cut can cost so much of what came last, but no event" in text
    assert "The card is written to least so." in text


def test_a_disk_that_is_short_says_why_the_queue_may_not_be_as_large_as_it_is_configured(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write(UPSTREAM, "outbox: {max_size: 9 TB, keep_free: 900 TB}")
    fill(site)
    text = said(capsys, site, "status")
    assert " of 4.0 MB\n" in text
    assert "outbox.max_size is 9000.0 GB, but the disk is short: 900000.0 GB are kept free" in text


@pytest.mark.slow
def test_after_a_minute_the_status_has_days_to_full_and_bytes_written_to_the_card_a_day(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ACME))
    site.write(COUNTER, UPSTREAM)
    with running(site, *scaled()) as agent:
        agent.until(lambda _: ask(site.run, "outbox", do="status")["per_day"])
        text = said(capsys, site, "status")
    told = re.search(r"([\d.]+) MB a day are made: full in ([\d.]+) days if nothing can be sent", text)
    assert told, text
    assert float(told[2]) == pytest.approx(1000 / float(told[1]), rel=0.01, abs=0.1)
    assert re.search(r"card +[\d.]+ [kMG]?B a day are written to it by the agent, at this rate", text)


def test_the_list_is_in_the_order_of_sending(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    fill(site)
    lines = said(capsys, site, "list", "--limit", "4").splitlines()
    assert [line.split()[0].rpartition("/")[2] for line in lines] == ["12", "13", "2", "3"]
    assert lines[0].endswith("for fleet")
    kinds = [
        json.loads(line)["kind"]
        for line in said(capsys, site, "list", "--kind", "event", "--json").splitlines()
    ]
    assert kinds == ["event"] * 2


def test_an_empty_list_says_so_to_people(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with outbox(site):
        pass
    for arguments, words in (
        ([], "nothing waits"),
        (["--kind", "event"], "nothing of kind event waits"),
        (["--refused"], "nothing was refused"),
    ):
        assert main(["outbox", "list", *arguments, "-c", str(site.config)]) == OK
        told = capsys.readouterr()
        assert (told.out, told.err) == ("", f"{words}\n")


def test_a_refused_record_is_listed_with_its_reason_shown_and_tried_again(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(site)
    assert said(capsys, site, "list", "--refused").split() == [
        *(f"unit-1/{RUN}/1", "sample", "fleet:", "too", "odd")
    ]
    shown = json.loads(said(capsys, site, "show", f"unit-1/{RUN}/1"))
    assert shown["body"]["data"] == "<30000 bytes>"
    assert said(capsys, site, "retry") == "1 records wait again\n"
    assert said(capsys, site, "list", "--refused") == ""
    with outbox(site) as again:
        *_, last = again.take("fleet", 3, 10**6).values()  # of its priority it is the newest now
        counters = again.counters()
    assert len(decode_record(last).body["data"]) == 30_000
    assert (counters.waiting, counters.rejected, counters.made) == (13, 0, 13)


def test_a_purge_deletes_one_kind_and_leaves_a_gap_record(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(site)
    assert said(capsys, site, "purge", "--kind", "prediction", "--yes") == "10 records deleted\n"
    with outbox(site) as left:
        records = [decode_record(one) for one in left.take("fleet", 100, 10**7).values()]
        counters = left.counters()
    assert [r.kind for r in records] == ["event", "event", "gap"]
    assert records[-1].body == {"type": "purged", "records": 10, "kinds": {"prediction": 10}}
    assert counters.made == counters.waiting + counters.evicted + counters.rejected
    assert said(capsys, site, "purge", "--refused", "--yes") == "1 records deleted\n"
    assert list((site.state / "outbox").glob("*.record")) == []


def test_a_kind_that_there_is_not_is_told_with_those_that_there_are(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(site)
    for arguments in (["list", "--kind", "events"], ["purge", "--yes", "--kind", "evnet"]):
        assert main(["outbox", *arguments, "-c", str(site.config)]) == USAGE
        assert (
            "is not one of 'prediction', 'event', 'sample', 'health', 'gap', 'audit'"
            in capsys.readouterr().err
        )
    assert "waiting   12" in said(capsys, site, "status")


def test_a_purge_without_yes_asks_first(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(site)
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    assert main(["outbox", "purge", "-c", str(site.config)]) == FAULTS
    assert "nothing was deleted" in capsys.readouterr().err
    assert "waiting   12" in said(capsys, site, "status")


def test_an_export_holds_all_that_waits_with_a_manifest_signed_by_the_token(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(site)
    said(capsys, site, "retry")
    folder = tmp_path / "export"
    assert said(capsys, site, "export", str(folder)) == f"13 records in 1 files in {folder}\n"
    text = (folder / "manifest.json").read_bytes()
    manifest = json.loads(text)
    ids = []
    for name, file in manifest["files"].items():
        body = (folder / name).read_bytes()
        assert file["sha256"] == hashlib.sha256(body).hexdigest()
        ids += [decode_record(payload).id for payload in decode_batch(body)]
    assert sorted(ids) == sorted(f"unit-1/{RUN}/{n}" for n in range(1, 14))
    assert (folder / "manifest.hmac").read_text().strip() == hmac.new(b"abc", text, "sha256").hexdigest()
    assert "waiting   13" in said(capsys, site, "status")
    assert main(["outbox", "export", str(folder), "-c", str(site.config)]) == FAULTS  # not empty any more


def test_an_export_to_where_no_folder_can_be_is_a_fault_that_names_it(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(site)
    (tmp_path / "file").touch()
    assert main(["outbox", "export", str(tmp_path / "file" / "export"), "-c", str(site.config)]) == FAULTS
    told = capsys.readouterr().err
    assert (
        f"{tmp_path / 'file' / 'export'}: the folder cannot be made: Not a directory. Is the stick in" in told
    )


def test_a_record_that_is_not_there_and_an_outbox_that_never_was_are_said(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["outbox", "status", "-c", str(site.config)]) == FAULTS
    assert "there is no outbox. Has the agent ever run on this config?" in capsys.readouterr().err
    fill(site)
    assert main(["outbox", "show", f"unit-1/{RUN}/99", "-c", str(site.config)]) == FAULTS
    assert f"no record unit-1/{RUN}/99 waits or was refused" in capsys.readouterr().err


def test_a_damaged_outbox_that_a_command_finds_is_told_here_and_upstream(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    (site.state / "outbox").mkdir(parents=True)
    (site.state / "outbox" / "outbox.db").write_bytes(b"this is no database " * 500)
    assert main(["outbox", "status", "-c", str(site.config)]) == OK
    (kept,) = (site.state / "outbox").glob("outbox.damaged-*.db")
    told = capsys.readouterr()
    assert f"it is kept as {kept}, what can be read of it is queued again when the agent runs" in told.err
    assert "waiting   1 (1 gap)" in told.out
    with outbox(site) as again:
        (gap,) = again.take("fleet", 10, 10**6).values()
    assert decode_record(gap).body["type"] == "set_aside"


def test_a_running_agent_answers_for_its_outbox(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ACME))
    site.write(COUNTER, UPSTREAM)
    with running(site) as agent:
        agent.until(lambda status: status["outbox"].get("made", 0) > 5)
        assert "waiting   " in said(capsys, site, "status")
        first = said(capsys, site, "list", "--limit", "1").split()[0]
        assert json.loads(said(capsys, site, "show", first))["id"] == first
        assert int(said(capsys, site, "purge", "--kind", "sample", "--yes").split()[0]) > 3
        with pytest.raises(Refused, match="not a request about the outbox"):
            ask(site.run, "outbox", do="list", limit="many")
        with pytest.raises(Refused, match="with one of"):
            ask(site.run, "status", nonsense=1)
        agent.until(lambda status: status["outbox"]["made"] > 20)

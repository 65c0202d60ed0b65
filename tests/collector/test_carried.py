"""An outbox that never sees a network: exported, carried, imported, and cleared by the receipt that comes back."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agents import ACME, COUNTER, Site, running
from hypothesis import given
from hypothesis import strategies as st
from received import ids

from edgeagent.agent.outgoing import open_outbox
from edgeagent.cli import FAULTS, OK, main
from edgeagent.cli.outbox import _parts
from edgeagent.collector.store import Store
from edgeagent.config.load import load, require
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream.archive import Receipt, covers, spans

RUN = "0123456789ab"
UPSTREAM = "upstream: {fleet: {http: {url: 'http://127.0.0.1:1', token: sesame}}}"
UNSYNCED = Wall(0, synced=False)


class Carrier:
    """A site without a network, and an office with a collector's folder."""

    def __init__(self, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self.site, self._capsys = site, capsys
        self.stick, self.data = site.folder / "carried", site.folder / "data"
        self.tokens = site.folder / "tokens"
        self.tokens.write_text("unit-1 sesame\nunit-2 poppy\n")
        self.receipt = self.stick / "receipt.json"

    def _run(self, *args: object) -> tuple[int, str]:
        code = main([str(arg) for arg in args])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def exports(self) -> str:
        code, said = self._run("outbox", "export", self.stick, "-c", self.site.config)
        assert code == OK, said
        return said

    def imports(self, data: Path | None = None) -> tuple[int, str]:
        return self._run(
            "collector", "import", self.stick, "--data", data or self.data, "--token-file", self.tokens
        )

    def clears(self) -> tuple[int, str]:
        return self._run("outbox", "receipt", self.receipt, "-c", self.site.config)

    def manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.stick / "manifest.json").read_bytes())
        return found

    def sign_anew(self, manifest: dict[str, Any], token: str = "sesame") -> None:
        content = json.dumps(manifest).encode()
        (self.stick / "manifest.json").write_bytes(content)
        signature = hmac.new(token.encode(), content, "sha256").hexdigest()
        (self.stick / "manifest.hmac").write_text(signature)


@pytest.fixture
def carrier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Carrier:
    site = Site(tmp_path)
    site.write(UPSTREAM)
    fill(site)
    return Carrier(site, capsys)


@contextmanager
def outbox(site: Site, run: str = RUN) -> Iterator[Outbox]:
    opened = open_outbox(require(load(site.config)), run, 1)
    yield opened
    opened.close()


def fill(site: Site, run: str = RUN, records: int = 12) -> None:
    """Of 300 kB each: an export of several files."""
    drafts = [Draft("event", n, Priority.EVENT, {"n": n, "x": bytes(300_000)}) for n in range(records)]
    with outbox(site, run) as filled:
        filled.append(drafts, UNSYNCED)


def waiting(site: Site) -> int:
    with outbox(site, "f" * 12) as opened:
        counters = opened.counters()
        assert counters.made == counters.waiting + counters.delivered + counters.evicted + counters.rejected
        return counters.waiting


def test_what_was_exported_is_stored_once_and_its_receipt_clears_the_queue(carrier: Carrier) -> None:
    assert carrier.exports().startswith("12 records in ")
    fill(carrier.site, "a" * 12, 3)  # made while the stick was on its way
    for _ in range(2):  # imported twice, stored once
        code, said = carrier.imports()
        assert code == OK
        assert f"12 records of unit-1 are in {carrier.data}, 0 refused" in said
    assert sorted(ids(carrier.data)) == sorted(f"unit-1/{RUN}/{n}" for n in range(1, 13))
    assert carrier.clears() == (OK, "12 records delivered, 0 refused; 3 wait\n")
    assert waiting(carrier.site) == 3
    assert len(list((carrier.site.state / "outbox").glob("*.record"))) == 3


def test_a_receipt_that_comes_again_clears_nothing_more(carrier: Carrier) -> None:
    carrier.exports()
    carrier.imports()
    carrier.clears()
    fill(carrier.site, "a" * 12, 4)
    assert carrier.clears() == (OK, "0 records delivered, 0 refused; 4 wait\n")


def test_a_file_that_was_altered_is_left_out_and_its_records_go_on_waiting(carrier: Carrier) -> None:
    carrier.exports()
    first = carrier.stick / "000001.msgpack"
    body = bytearray(first.read_bytes())
    body[-1] ^= 1
    first.write_bytes(body)
    left = carrier.manifest()["files"]["000001.msgpack"]["records"]
    code, said = carrier.imports()
    assert code == FAULTS
    assert "000001.msgpack: it has been altered or cut: its SHA-256 is another. Its records wait" in said
    assert len(ids(carrier.data)) == 12 - left
    assert carrier.clears() == (OK, f"{12 - left} records delivered, 0 refused; {left} wait\n")


def test_an_archive_that_was_copied_in_part_is_taken_in_part_and_the_rest_later(carrier: Carrier) -> None:
    carrier.exports()
    last = sorted(carrier.stick.glob("*.msgpack"))[-1]
    body = last.read_bytes()
    last.unlink()
    code, said = carrier.imports()
    assert code == FAULTS
    assert f"{last.name}: it cannot be read: No such file" in said
    last.write_bytes(body)
    assert carrier.imports()[0] == OK
    assert len(ids(carrier.data)) == len(set(ids(carrier.data))) == 12
    assert "; 0 wait" in carrier.clears()[1]


def test_a_manifest_that_was_altered_is_refused_whole(carrier: Carrier) -> None:
    carrier.exports()
    manifest = carrier.stick / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"000001", b"000009"))
    code, said = carrier.imports()
    assert code == FAULTS
    assert "not signed with the token of 'unit-1'. Was it altered on its way?" in said
    assert ids(carrier.data) == []
    assert not carrier.receipt.exists()


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ("unit-1 wrong\nunit-2 poppy\n", "not signed with the token of 'unit-1'"),
        ("unit-2 sesame\nunit-3 poppy\n", "no token is known for 'unit-1'"),
    ],
)
def test_an_archive_under_another_token_is_refused(carrier: Carrier, tokens: str, words: str) -> None:
    carrier.exports()
    carrier.tokens.write_text(tokens)
    code, said = carrier.imports()
    assert code == FAULTS
    assert words in said
    assert not any(token in said for token in ("sesame", "poppy", "wrong"))


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"device": 7, "files": {}}'])
def test_a_manifest_that_is_none_is_said(carrier: Carrier, content: bytes) -> None:
    carrier.exports()
    (carrier.stick / "manifest.json").write_bytes(content)
    code, said = carrier.imports()
    assert code == FAULTS
    assert "manifest.json: not a manifest" in said


def test_an_archive_that_nobody_has_signed_is_refused(carrier: Carrier) -> None:
    carrier.exports()
    (carrier.stick / "manifest.hmac").unlink()
    code, said = carrier.imports()
    assert code == FAULTS
    assert "no archive that a device has signed (No such file or directory: manifest.hmac)" in said


def test_a_name_in_a_manifest_cannot_lead_out_of_the_archive(carrier: Carrier) -> None:
    carrier.exports()
    manifest = carrier.manifest()
    (carrier.stick.parent / "000001.msgpack").write_bytes((carrier.stick / "000001.msgpack").read_bytes())
    manifest["files"] = {"../000001.msgpack": manifest["files"]["000001.msgpack"]}
    carrier.sign_anew(manifest)
    code, said = carrier.imports()
    assert code == FAULTS
    assert "not the name of a file that an export writes" in said
    assert ids(carrier.data) == []


def test_records_under_another_devices_id_are_refused_though_the_archive_is_signed(carrier: Carrier) -> None:
    carrier.exports()
    carrier.sign_anew(carrier.manifest() | {"device": "unit-2"}, "poppy")
    code, said = carrier.imports()
    assert (code, ids(carrier.data)) == (OK, [])
    assert "0 records of unit-2 are in" in said
    assert "12 refused" in said


def test_a_receipt_for_another_device_is_refused(carrier: Carrier) -> None:
    carrier.exports()
    carrier.sign_anew(carrier.manifest() | {"device": "unit-2"}, "poppy")
    carrier.imports()
    code, said = carrier.clears()
    assert code == FAULTS
    assert "the receipt is for unit-2, and this is unit-1" in said
    assert waiting(carrier.site) == 12


def test_a_receipt_that_was_altered_or_signed_by_a_stranger_clears_nothing(carrier: Carrier) -> None:
    carrier.exports()
    (carrier.stick / "000001.msgpack").unlink()
    carrier.imports()
    line, signature = carrier.receipt.read_bytes().splitlines()
    wider = json.loads(line) | {"accepted": [[RUN, 1, 12]]}
    stranger = hmac.new(b"poppy", line, "sha256").hexdigest().encode()
    for forged in (json.dumps(wider).encode() + b"\n" + signature, line, line + b"\n" + stranger):
        carrier.receipt.write_bytes(forged + b"\n")
        code, said = carrier.clears()
        assert code == FAULTS
        assert "the receipt is not signed with this device's token" in said
        assert "sesame" not in said
    assert waiting(carrier.site) == 12


def test_a_manifest_is_no_receipt(carrier: Carrier) -> None:
    """They are signed by the same token: neither can stand for the other."""
    carrier.exports()
    manifest = json.dumps(carrier.manifest()).encode()
    carrier.receipt.write_bytes(
        manifest + b"\n" + hmac.new(b"sesame", manifest, "sha256").hexdigest().encode()
    )
    code, said = carrier.clears()
    assert code == FAULTS
    assert "not a receipt; expected the receipt.json that `edgeagent collector import` wrote" in said


def test_a_device_without_a_token_says_what_it_needs(carrier: Carrier) -> None:
    carrier.exports()
    carrier.imports()
    carrier.site.write(UPSTREAM.replace(", token: sesame", ""))
    code, said = carrier.clears()
    assert code == FAULTS
    assert "no upstream has a token. Give the upstream that gets the exports a `token:`" in said


def test_what_the_collector_refuses_is_set_apart_with_its_reason(carrier: Carrier) -> None:
    with outbox(carrier.site, "a" * 12) as filled:
        filled.append([Draft("sample", 1, Priority.EVENT, {"data": b"?", "encoding": "html"})], UNSYNCED)
    carrier.exports()
    carrier.imports()
    assert carrier.clears() == (OK, "12 records delivered, 1 refused; 0 wait\n")
    with outbox(carrier.site, "f" * 12) as opened:
        (refused,) = opened.quarantined()
    assert refused.id == f"unit-1/{'a' * 12}/1"
    assert refused.reason


def test_what_waits_for_another_upstream_too_goes_on_waiting_for_that(carrier: Carrier) -> None:
    stick = carrier.site.folder / "other"
    stick.mkdir()
    carrier.site.write(UPSTREAM[:-1] + f", other: {{directory: {{path: {stick}}}}}}}")
    fill(carrier.site, "a" * 12, 2)
    carrier.exports()
    carrier.imports()
    assert carrier.clears() == (OK, "14 records delivered, 0 refused; 2 wait\n")
    with outbox(carrier.site, "f" * 12) as opened:
        assert len(opened.take("other", 100, 10**9)) == 2
        assert not opened.take("fleet", 100, 10**9)


def test_an_import_while_a_collector_runs_on_the_folder_says_so(carrier: Carrier) -> None:
    carrier.exports()
    running_one = Store(carrier.data)
    code, said = carrier.imports()
    running_one.close()
    assert code == FAULTS
    assert "another process writes to the dataset. Stop the collector that runs on it" in said


def test_a_running_agent_exports_and_is_cleared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ACME))
    site = Site(tmp_path)
    site.write(COUNTER, UPSTREAM)
    carrier = Carrier(site, capsys)
    with running(site) as agent:
        agent.until(lambda status: status["outbox"].get("made", 0) > 20)
        exported = int(carrier.exports().split()[0])
        assert carrier.imports()[0] == OK
        code, said = carrier.clears()
        assert code == OK, said
        assert 0 < int(said.split()[0]) <= exported  # the failing sender may hold some in flight
        agent.until(lambda status: status["outbox"]["made"] > 40)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 40)), max_size=60), st.integers(1, 40))
def test_spans_cover_what_was_given_and_nothing_else(given_ids: list[tuple[str, int]], seq: int) -> None:
    found = spans(f"unit-1/{run}/{n}" for run, n in given_ids)
    is_covered = covers(found)
    for run in "abc":
        assert is_covered(f"unit-1/{run}/{seq}") == ((run, seq) in given_ids)
    assert not is_covered("unreadable/7")
    assert len(found) <= len(set(given_ids))


def test_a_receipt_of_many_gaps_goes_through_a_running_agents_socket_in_parts(carrier: Carrier) -> None:
    """Its lines have 64 kB: every second record of 3000 makes 1500 spans."""
    found = Receipt("unit-1", "", "", spans(f"unit-1/{RUN}/{n}" for n in range(1, 3000, 2)), {})
    parts = list(_parts(found))
    assert sum(len(part["accepted"]) for part in parts) == 1500
    assert all(len(json.dumps(part)) < 60_000 for part in parts)

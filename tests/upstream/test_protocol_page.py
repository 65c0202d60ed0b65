"""PROTOCOL.md says what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from scripted import answer, scripted

from edgeagent.errors import UpstreamFault
from edgeagent.records import Record
from edgeagent.upstream import http
from edgeagent.upstream.codec import decode_answer, decode_batch, decode_record

PAGE = (Path(http.__file__).parent / "PROTOCOL.md").read_text()


def test_the_worked_batch_is_one_and_its_json_says_the_same() -> None:
    worked = PAGE.partition("## A worked batch")[2]
    hexdump, told = re.findall(r"```(?:json)?\n(.*?)```", worked, re.DOTALL)[:2]
    (payload,) = decode_batch(bytes.fromhex(hexdump))
    assert msgspec.msgpack.decode(payload) == json.loads(told)
    assert decode_record(payload).id == "press-07/5f0c9a1be2d4/1"
    answered = re.search(r"The answer is `(.*)`", worked)
    assert answered
    assert decode_answer(answered[1].encode(), ["x"]).accepted == {"x"}


def test_the_table_of_a_record_has_its_fields() -> None:
    table = PAGE.partition("## A record")[2].partition("The body of each kind")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(Record.__struct_fields__)


@pytest.mark.parametrize(
    "status", [int(s) for s in re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE) if s != "200"]
)
def test_after_each_status_of_the_table_no_record_is_given_up(status: int) -> None:
    batch = {"a": b"\xa1a", "b": b"\xa1b"}
    fine = answer(200, b'{"results": ["accepted"]}')
    with scripted(answer(status, b"why"), fine) as server:
        sink = http.build("fleet", http.Options(url=server.url), "d")
        if status == 413:
            assert sink.send(batch).accepted == {"a"}
        else:
            with pytest.raises(UpstreamFault, match="why"):
                sink.send(batch)
        sink.close()

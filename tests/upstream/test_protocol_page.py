"""PROTOCOL.md tells the truth: its tables and its worked batch are the code's."""

from __future__ import annotations

import ast
import json
import re
from http import HTTPStatus
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from edgeagent.collector import server
from edgeagent.records import Channel, Kind, Layout, Record, encode_raw
from edgeagent.sampling.captures import raw_body
from edgeagent.upstream import codec, http
from edgeagent.upstream.sync import LIMITS
from edgeagent.windows import Ring

PAGE = Path(codec.__file__).with_name("PROTOCOL.md").read_text()


def _fields(heading: str) -> set[str]:
    """The first column of the table of fields that follows a text."""
    table = PAGE.partition(heading)[2].partition("| field |")[2].partition("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_worked_batch_is_the_record_below_it() -> None:
    (block,) = re.findall(r"```\n((?:[0-9a-f]{2}[ \n])+)```", PAGE)
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (payload,) = codec.decode_batch(bytes.fromhex(block))
    assert msgspec.to_builtins(codec.decode_record(payload)) == json.loads(shown)


def test_the_answer_shown_is_what_a_receiver_encodes_and_a_device_reads() -> None:
    (shown,) = re.findall(r"```\n(\{\"results\".*?)\n```", PAGE)
    why = "the id is not device/run/seq: 'x'"
    assert shown.encode() == codec.encode_answer([None, why])
    assert codec.decode_answer(shown.encode(), ["a", "b"]).rejected == {"b": why}


def test_the_page_has_every_field_and_kind_of_a_record() -> None:
    assert _fields("## A record") == set(Record.__struct_fields__)
    (kinds,) = re.findall(r"\| `kind` \| text \| (.*?) \|", PAGE)
    assert set(re.split(", | or ", kinds)) == set(get_args(Kind))


def test_the_page_has_every_field_of_a_sample() -> None:
    body = raw_body("imu", Ring(Layout(50.0, (Channel("x", "A"),)), 1.0), 0, 1)
    assert _fields("- *sample*") == set(body)


def test_the_page_has_every_status_that_the_collector_gives() -> None:
    tree = ast.parse(Path(server.__file__).read_text())
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    named = {node.attr for node in attributes if ast.unparse(node.value) == "HTTPStatus"}
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert listed == {HTTPStatus[name].value for name in named}


def test_path_and_limits_on_the_page_are_the_codes() -> None:
    assert f"POST {http.PATH} HTTP/1.1" in PAGE
    assert http.PATH == server.PATH
    assert f"up to {LIMITS.max_records} of them or {LIMITS.max_bytes // 1_000_000} MB" in PAGE
    assert f"at most {codec.MAX_ID_LENGTH} characters" in PAGE


def test_counts_lie_as_the_page_says_channel_by_channel() -> None:
    channels = (Channel("x", "A", 0.5), Channel("y", "A", 0.5))
    raw = encode_raw(np.array([[0.5, 1.0], [1.5, 2.0]], np.float32), channels)
    assert (raw.encoding, np.frombuffer(raw.data, "<i2").tolist()) == ("int16", [1, 3, 2, 4])

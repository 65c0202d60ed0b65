"""vectors.json on the Python side; tests/firmware holds the C side to the same file."""

from __future__ import annotations

import json
from typing import Any

import pytest

from firmware_bridge.codec import Decoder, decode, encode
from firmware_bridge.generate import VECTORS
from firmware_bridge.messages import MESSAGES

GOLDEN = json.loads(VECTORS.read_text())


@pytest.mark.parametrize("cut", [1, 7, 10_000])
@pytest.mark.parametrize("vector", GOLDEN["streams"], ids=lambda v: v["name"])
def test_a_stream_gives_its_contents_however_it_is_cut(vector: dict[str, Any], cut: int) -> None:
    decoder = Decoder(vector["max_bytes"])
    stream = bytes.fromhex(vector["stream"])
    found = [c.hex() for at in range(0, len(stream), cut) for c in decoder.feed(stream[at : at + cut])]
    assert found == vector["contents"]
    assert decoder.bad_frames == vector["bad_frames"]


@pytest.mark.parametrize("vector", GOLDEN["messages"], ids=lambda v: v["message"])
def test_a_message_is_read_and_written_as_its_frame(vector: dict[str, Any]) -> None:
    (content,) = Decoder().feed(bytes.fromhex(vector["frame"]))
    message = decode(content)
    assert repr(message) == vector["says"]
    assert encode(message).hex() == vector["frame"]


def test_there_is_a_frame_of_every_message() -> None:
    assert {v["message"] for v in GOLDEN["messages"]} == {m.__name__ for m in MESSAGES.values()}

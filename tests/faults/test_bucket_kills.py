"""`kill -9` of a device that sends into a bucket, whenever it hurts most: each record is there once."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device_at_work import Device
from relay import Relay
from stores import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed, records

LIVES = 9
KEYS = {"ACCESS": ACCESS_KEY, "SECRET": SECRET_KEY}


def device(folder: Path, way: Relay) -> Device:
    keys = "access_key: {env: ACCESS}, secret_key: {env: SECRET}"
    return Device(folder, f"s3: {{bucket: {BUCKET}, endpoint: {way.url!r}, {keys}}}", env=KEYS)


def more_than(made: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: status["made"] > made


@pytest.mark.slow
def test_a_device_killed_before_while_and_after_it_puts_objects_stores_each_record_once(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    dice, store = random.Random(8), Seaweed(tmp_path)
    late: list[Relay] = []
    try:
        for life in range(LIVES):
            way = Relay(store.port)
            one = device(tmp_path, way)
            gate = (way.asks, way.answers, None)[life % 3]
            before = one.wait(lambda status: status["made"] or status["waiting"] == 0)["made"]
            if gate:
                gate.clear()
            one.tell(f"put {dice.randrange(50, 700)}")
            one.wait(more_than(before))
            if gate:
                assert way.holds.wait(60)
            one.kill()
            if gate:
                late.append(way)
            if len(late) > 1:  # what was held back arrives in the middle of a later life
                late.pop(0).asks.set()
        for way in late:
            way.asks.set()
        last = device(tmp_path, Relay(store.port))
        made = last.wait(lambda status: status["made"] and not status["waiting"], hurry=True)["made"]
        last.close()
        stored = [record["id"] for record in records(store.objects())]
    finally:
        store.kill()
    assert len(stored) == len(set(stored)) == made
    tell(f"{LIVES} times kill -9 while a device put objects: {made} records, each in the bucket once")

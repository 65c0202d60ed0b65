"""The last will of MQTT 5, which the broker keeps for a while: who is back in time was never gone."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
from mosquitto import Listener, Mosquitto

from edgeagent.upstream import broker, mqtt

PRESENCE = "edge/press-07/presence"


def until_heard(listener: Listener, state: bytes) -> None:
    while listener.heard()[-1:] != [(PRESENCE, state)]:
        Event().wait(0.05)


def test_a_device_that_stays_away_is_offline_once_its_will_has_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "_WILL_DELAY_S", 1)
    server = Mosquitto(tmp_path)
    listener = Listener(server)
    try:
        options = mqtt.Options(url=server.url, version="5", presence="edge/{device.id}/presence")
        sink = mqtt.build("plant", options, "press-07")
        sink.idle()
        until_heard(listener, b"online")
        assert sink._connection is not None
        sink._connection._hang_up()
        until_heard(listener, b"offline")
    finally:
        listener.leave()
        server.kill()

"""How often a device knocks at a door that is shut, and a thousand devices at one that opens again."""

from __future__ import annotations

import random
import socket
from collections import Counter
from threading import Thread

import pytest

from edgeagent.errors import UpstreamFault
from edgeagent.upstream import mqtt
from edgeagent.upstream.sync import pause_s


def test_a_broker_that_hangs_up_at_once_sees_one_connection_a_try_and_a_hundred_an_hour() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"mqtt://127.0.0.1:{listener.getsockname()[1]}"
        sink = mqtt.build("plant", mqtt.Options(url=url), "press-07")
        chance, tries, passed_s = random.Random(3).random, 0, 0.0
        while passed_s < 3600:
            hang_up = Thread(target=lambda: listener.accept()[0].close())
            hang_up.start()
            with pytest.raises(UpstreamFault, match="before the broker greeted us"):
                sink.idle()
            hang_up.join()
            tries += 1
            passed_s += pause_s(passed_s, chance)
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert tries < 160


@pytest.mark.parametrize(("outage_s", "most_a_second"), [(600, 60), (60, 150), (20, 400)])
def test_a_thousand_devices_do_not_come_back_to_a_broker_in_the_same_second(
    outage_s: int, most_a_second: int
) -> None:
    comebacks_s: Counter[int] = Counter()
    for device in range(1000):
        chance, at_s = random.Random(device).random, 0.0
        while at_s < outage_s:
            at_s += pause_s(at_s, chance)
        assert at_s < outage_s * 1.25
        comebacks_s[int(at_s)] += 1
    assert max(comebacks_s.values()) < most_a_second

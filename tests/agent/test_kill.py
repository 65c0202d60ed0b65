"""`kill -9` at any moment, of the agent and of the receiver: nothing durable is lost, and nothing counts twice."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from agents import COUNTER, Running, Site, process, running, scaled
from low_ports import low_port

from edgeagent.collector.dataset import count_ids

KILLS = 20
STARTS_WITHIN_S = 5.0


def until_made(agent: Running, count: int) -> float:
    """Until so many more records are durable; how much the processor had to do for the start, in seconds."""
    before = agent.until(lambda s: s["outbox"].get("made"))["outbox"]["made"]
    busy = psutil.Process(agent.pid).cpu_times()
    agent.until(lambda s: s["outbox"]["made"] >= before + count)
    return busy.user + busy.system


@pytest.mark.slow
def test_after_twenty_kills_made_is_delivered_is_in_the_dataset(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    dice, slowest_s = random.Random(7), 0.0
    site, dataset = Site(tmp_path), tmp_path / "dataset"
    port = low_port()
    receive = ("collector", "--data", dataset, "--port", port)
    site.write(COUNTER, f"upstream: {{fleet: {{http: {{url: 'http://127.0.0.1:{port}'}}}}}}")

    for kill in range(KILLS):
        with ExitStack() as here:  # the network is away every third time
            if kill % 3:
                receiver = here.enter_context(process(site, *receive))
            agent = here.enter_context(running(site, *scaled()))
            if kill % 2:
                agent.run_for(dice.uniform(0.0, 0.5))
            else:
                slowest_s = max(slowest_s, until_made(agent, dice.randint(1, 20)))
            agent.stop(signal.SIGKILL)
            if kill % 3:
                receiver.stop(signal.SIGKILL)

    with process(site, *receive), running(site, *scaled(), "--for", "1 s") as agent:
        assert agent.wait() == 0
    outbox = site.last_status()["outbox"]
    assert outbox["made"] == outbox["delivered"] == sum(count_ids(dataset).values()) > 50
    assert outbox["set_aside"] == []
    assert slowest_s < STARTS_WITHIN_S
    tell(
        f"{KILLS} times kill -9 of the agent: {outbox['made']} records, each in the dataset once; slowest start"
        f" {slowest_s:.1f} s"
    )

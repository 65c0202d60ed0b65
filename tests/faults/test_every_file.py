"""Every file that the agent keeps, cut short, zeroed or with flipped bits: it starts, says so, and goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest
from agents import COUNTER, Site, running
from outboxes import RUN, UNSYNCED, bulky, open_outbox

from edgeagent.agent.swaps import Served, Swap
from edgeagent.records import Priority
from edgeagent.upstream.codec import decode_batch, decode_record

STARTS_WITHIN_S = 5.0
WAITING = 30
WAITED = {f"unit-1/{RUN}/{seq}" for seq in range(1, 2 * WAITING + 1)}
STICK = "upstream: {stick: {directory: {path: stick}}}"


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def zeroed(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def bits_flipped(file: Path) -> None:
    dice, content = random.Random(file.name), bytearray(file.read_bytes())
    for _ in range(max(len(content) // 1000, 3) if content else 0):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


DAMAGES = (cut_short, zeroed, bits_flipped, emptied)


def lived_in(folder: Path) -> Site:
    """What a power cut leaves of an agent that had records waiting, small and large, and a model swapped in."""
    folder.mkdir()
    site = Site(folder)
    outbox = open_outbox(site.state / "outbox", device="unit-1")
    outbox.append(bulky(WAITING, Priority.BULK, size=20_000), UNSYNCED)
    outbox.append(bulky(WAITING, Priority.BULK, size=200), UNSYNCED)
    outbox.close()
    site.write(COUNTER)
    with running(site) as agent:
        agent.until(lambda s: s["outbox"].get("made", 0) > 2 * WAITING + 20)
        agent.stop(signal.SIGKILL)
    swapped = {
        "motion": Swap(
            "activity", Served("activity-2", "activity", "1.0.1"), Served("activity-1", "activity", "1.0.0")
        )
    }
    (site.state / "swaps").mkdir(exist_ok=True)
    (site.state / "swaps" / "swaps.json").write_bytes(msgspec.json.encode(swapped))
    return site


def copy_of(site: Site, folder: Path) -> Site:
    folder.mkdir()
    copy = Site(folder)
    shutil.copytree(site.state, copy.state, ignore=shutil.ignore_patterns("*.sock"))
    copy.write(COUNTER, STICK)
    return copy


def files_of(site: Site) -> list[Path]:
    """Relative to the state folder; of the large records' files one."""
    found = sorted(p.relative_to(site.state) for p in site.state.rglob("*") if p.is_file())
    large = [p for p in found if p.suffix == ".record"]
    return [p for p in found if p not in large[1:]]


def arrived(site: Site) -> list[str]:
    """The ids that the upstream has, as often as it has them."""
    batches = [decode_batch(file.read_bytes()) for file in site.stick.glob("*.msgpack")]
    return [decode_record(payload).id for batch in batches for payload in batch]


def started(site: Site, damaged: Path, damage: Callable[[Path], None]) -> float:
    """Start the agent, and see that it delivers; how many seconds the start took."""
    began_s = time.monotonic()
    with running(site) as agent:
        agent.until(lambda s: s["counts"]["windows"].get("all"))
        took_s = time.monotonic() - began_s
        busy = psutil.Process(agent.pid).cpu_times()
        status = agent.until(
            lambda s: s["upstream"]["stick"]["delivered"] and not s["upstream"]["stick"]["waiting"]
        )
        assert agent.stop() < 30
    assert busy.user + busy.system < STARTS_WITHIN_S
    outbox, upstream, ids = status["outbox"], status["upstream"]["stick"], arrived(site)
    is_queue = damaged.name.startswith("outbox.db")
    if not (is_queue and damage is bits_flipped):  # which may make of an id another's
        assert len(ids) == len(set(ids)), f"{damaged} {damage.__name__}: doubled"
    if is_queue:
        told = outbox["set_aside"] or upstream["rejected"]
        assert told or set(ids) >= WAITED, f"{damaged} {damage.__name__}: {status}"
    elif damaged.suffix == ".record":
        assert upstream["rejected"] == 1, "the one that is altered is told, and holds up no other"
        assert len(WAITED - set(ids)) == 1
    else:
        assert outbox["set_aside"] == []
        assert upstream["rejected"] == 0
        assert set(ids) >= WAITED
    return took_s


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whichever_file_is_damaged_the_agent_starts_within_five_seconds_and_delivers(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    origin = lived_in(tmp_path / "origin")
    files = files_of(origin)
    names = {file.name for file in files}
    assert names > {"outbox.db", "outbox.db-wal", "swaps.json", "spent_bytes", "lock", "status.json"}, names
    slowest_s, slowest = 0.0, ""
    for number, (file, damage) in enumerate((f, d) for f in files for d in DAMAGES):
        site = copy_of(origin, tmp_path / str(number))
        damage(site.state / file)
        took_s = started(site, file, damage)
        slowest_s, slowest = max((slowest_s, slowest), (took_s, f"{file} {damage.__name__}"))
        shutil.rmtree(site.folder)
    tell(
        f"{len(files)} files, each damaged in {len(DAMAGES)} ways: slowest start {slowest_s:.1f} s ({slowest})"
    )

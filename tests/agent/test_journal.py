"""Recordings: what the core was handed, so that a replay decides what the live run decided, to the byte."""

from __future__ import annotations

import gc
import json
import resource
import signal
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
from agents import MOTION, RECORDING, Site, process, running, scaled

from edgeagent.agent import compose
from edgeagent.agent.clock import VirtualClock
from edgeagent.agent.fit import check
from edgeagent.agent.replay import Journal, Replay
from edgeagent.agent.state import read_status
from edgeagent.agent.threads import Announced
from edgeagent.config.load import require
from edgeagent.errors import StorageFault
from edgeagent.inference.inline import Inline
from edgeagent.recording import BlockEntry, Entry, Header, Recording, Writer, write_series
from edgeagent.records import NS_PER_S, Block, Channel, Layout, Raw

RULES = """\
rules:
  moving: {when: motion.score > 0.8, do: [{event: {message: "{motion.label} {motion.score:.3f}"}}]}
  quick: {when: imu.gyro_z > 0.5 or imu.gyro_z < -0.5, for: 0.3 s, do: [{capture: {before: 1 s, after: 1 s}}]}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def replayed(site: Site, journal: Path, name: str = "replayed.jsonl") -> bytes:
    """The records of a replay, a line of JSON each."""
    with process(site, "replay", journal, "-c", site.config, "--records", site.folder / name) as replay:
        assert replay.wait() == 0, replay.said
    return (site.folder / name).read_bytes()


def decisions(bodies: list[dict[str, object]]) -> list[dict[str, object]]:
    return [json.loads(msgspec.json.encode(body)) for body in bodies if body["type"] in ("decision", "alert")]


def test_a_replay_of_a_live_journal_gives_the_live_runs_decisions_and_two_are_alike_to_the_byte(
    site: Site,
) -> None:
    site.write(MOTION, RULES)
    journal = site.folder / "journal"
    with running(site, *scaled(), "--journal", str(journal)) as agent:
        agent.until(
            lambda s: (
                s["counts"]["rules_fired"].get("moving", 0) > 1 and s["counts"]["rules_fired"].get("quick")
            )
        )
        agent.stop()
    live = decisions(site.bodies("event"))
    first = replayed(site, journal)
    records = [json.loads(line) for line in first.splitlines()]
    assert decisions([r["body"] for r in records if r["kind"] == "event"]) == live
    assert len(live) > 4
    assert {r["kind"] for r in records} >= {"prediction", "event", "sample"}
    assert replayed(site, journal, "again.jsonl") == first


def predictions_told(site: Site) -> int:
    """By the status file, which is written at a tick, after the journal of what came before it was flushed."""
    outbox = (read_status(site.run) or {}).get("outbox", {})
    return int(outbox.get("by_kind", {}).get("prediction", {}).get("made", 0))


def test_the_journal_of_a_killed_run_replays_up_to_the_kill(site: Site) -> None:
    site.write(MOTION, RULES)
    journal = site.folder / "journal"
    with running(site, *scaled(), "--journal", str(journal)) as agent:
        agent.until(lambda s: s["pipelines"]["motion"]["label"] and predictions_told(site) >= 10)
        agent.stop(signal.SIGKILL)
    made = predictions_told(site)
    records = [json.loads(line) for line in replayed(site, journal).splitlines()]
    predictions = [r for r in records if r["kind"] == "prediction"]
    assert len(predictions) >= made
    assert any(r["body"]["label"] for r in predictions)


def test_a_recording_is_never_written_over(site: Site) -> None:
    site.write(MOTION)
    journal = site.folder / "journal"
    Journal(journal, "ab" * 32).close()
    before = (journal / "recording.yaml").read_bytes()
    with running(site, "--journal", str(journal)) as agent:
        assert agent.wait() == 1
    assert "expected a new or empty folder" in agent.said
    assert (journal / "recording.yaml").read_bytes() == before


def test_a_disk_that_is_full_ends_the_journal_and_not_the_agent(site: Site) -> None:
    site.write(MOTION)
    with running(site, *scaled(), "--journal", str(site.folder / "journal")) as agent:
        agent.until(lambda s: s["counts"]["samples"].get("imu"))
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))
        agent.until_said("ends here: [Errno 27]")
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        before = agent.status()["counts"]["samples"]["imu"]
        agent.until(lambda s: s["counts"]["samples"]["imu"] > before)
        agent.stop()
    assert agent.wait() == 0
    assert agent.said.count("the journal in") == 1


def test_a_recording_of_blocks_only_replays_with_ticks_and_predictions_of_its_own(site: Site) -> None:
    site.write(MOTION, RULES)
    first = replayed(site, RECORDING)
    records = [json.loads(line) for line in first.splitlines()]
    assert {r["kind"] for r in records} == {"prediction", "event", "sample"}
    assert all(r["body"]["skipped"] is None for r in records if r["kind"] == "prediction")
    assert replayed(site, RECORDING, "again.jsonl") == first


LAYOUT = Layout(50.0, (Channel("x", "V"),))


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """The folder of a short recording."""
    folder = tmp_path / "recording"
    journal = Journal(folder, "ab" * 32)
    journal.note(Announced("imu", LAYOUT), 1)
    for seq in range(3):
        journal.note(Block("imu", seq, np.array([seq], np.int64), np.zeros((1, 1), np.float32), seq), seq)
    journal.close()
    return folder


def entries(folder: Path) -> list[Entry]:
    return list(Recording(folder).entries())


def test_a_frame_that_was_cut_short_is_left_out(recorded: Path) -> None:
    whole = (recorded / "journal.bin").read_bytes()
    for cut in range(1, 20):
        (recorded / "journal.bin").write_bytes(whole[:-cut])
        assert len(entries(recorded)) == 3


def test_a_damaged_recording_says_where(recorded: Path) -> None:
    damaged = bytearray((recorded / "journal.bin").read_bytes())
    damaged[8] ^= 0xFF
    (recorded / "journal.bin").write_bytes(damaged)
    with pytest.raises(StorageFault, match=r"journal\.bin: byte 4: "):
        entries(recorded)


@pytest.mark.parametrize(
    ("sensor", "times", "found"),
    [
        ("imu", bytes(7), "block 1 of 'imu' is damaged: "),
        ("imu", bytes(16), "block 1 of 'imu' is damaged: 2 times for 1 samples"),
        ("meter", bytes(8), "a block of 'meter' before its layout"),
    ],
)
def test_a_block_that_cannot_be_is_told(site: Site, sensor: str, times: bytes, found: str) -> None:
    site.write(MOTION)
    config = require(check(site.config))
    core = compose.core(config, compose.bundles(config, site.config), {}, "0" * 12)
    writer = Writer(site.folder / "recording", Header(1, {"imu": LAYOUT}))
    writer.write(BlockEntry(1, sensor, 1, times, Raw("float32", 1, bytes(4)), 1, 0, ()))
    writer.close()
    with pytest.raises(StorageFault, match=found):
        list(Replay(Recording(site.folder / "recording"), core, {}).drafts())


@pytest.mark.parametrize("damage", ["journal.bin", "recording.yaml"])
def test_a_folder_that_lacks_a_file_is_no_recording(recorded: Path, damage: str) -> None:
    (recorded / damage).unlink()
    with pytest.raises(StorageFault, match=r"expected a recording: recording.yaml and journal.bin"):
        Recording(recorded)


def test_a_header_that_is_none_is_told(recorded: Path) -> None:
    (recorded / "recording.yaml").write_text("schema: [1")
    with pytest.raises(StorageFault, match="expected a recording"):
        Recording(recorded)
    (recorded / "recording.yaml").write_text("{schema: 2, sensors: {}}")
    with pytest.raises(StorageFault, match=r"recording of schema 2.*expected schema 1"):
        Recording(recorded)


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_an_hour_of_samples_leaves_memory_as_it_was(site: Site) -> None:
    site.write(MOTION.replace(", window: {hop: 0.5 s}", ""), RULES)
    config = require(check(site.config))
    models = compose.bundles(config, site.config)
    short = Recording(RECORDING)
    values = np.resize(short.series("imu")[1], (3600 * 50, 6))
    write_series(site.folder / "hour", Header(1, short.header.sensors), "imu", values)
    with closing(Inline(models["activity"], "auto", VirtualClock())) as engine:
        engine.start()
        core = compose.core(config, models, {}, "0" * 12)
        replay = Replay(Recording(site.folder / "hour"), core, {"activity": engine})
        made = after_ten_minutes = 0
        for _ in replay.drafts():
            made += 1
            if not after_ten_minutes and replay.now_ns >= 600 * NS_PER_S:
                after_ten_minutes = resident_bytes()
    assert made > 3500, "a prediction a second"
    assert resident_bytes() < 1.02 * after_ten_minutes

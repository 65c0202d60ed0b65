"""From a real outbox through a real sink into a real collector: the counts are exact, whatever is cut."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Thread

import pytest
from received import CollectorProcess, collector, ids

from edgeagent.collector.dataset import count_ids
from edgeagent.errors import UpstreamFault
from edgeagent.outbox.outbox import Outbox
from edgeagent.records import Draft, Priority
from edgeagent.timebase import Wall
from edgeagent.upstream import directory, http
from edgeagent.upstream.codec import decode_batch
from edgeagent.upstream.sync import Limits, sync_once

UNSYNCED = Wall(0, synced=False)


def filled(folder: Path, records: int, upstreams: tuple[str, ...] = ("fleet",)) -> Outbox:
    outbox = Outbox(
        folder, "press-07", "0123456789ab", "boot", {name: [] for name in upstreams}, max_bytes=10**9
    )
    outbox.append([Draft("prediction", n, Priority.PREDICTION, {"n": n}) for n in range(records)], UNSYNCED)
    return outbox


def sink(url: str) -> http.Http:
    return http.build("fleet", http.Options(url=url, timeout=30.0), "press-07")


def message(of: socket.socket) -> bytes:
    """One whole request or answer of HTTP."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + body_bytes(data[:end]):
        part = of.recv(1 << 20)
        if not part:
            break
        data += part
    return data


def body_bytes(head: bytes) -> int:
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


@contextmanager
def proxy(url: str, swallow: int) -> Iterator[str]:
    """Passes a request a connection on, and hangs up instead of passing the first `swallow` answers back."""
    host, port = url.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for exchange in count(1):
            try:
                near, _ = listener.accept()
            except OSError:  # the test is over
                return
            with near, socket.create_connection((host, int(port))) as far:
                far.sendall(message(near))
                answer = message(far)  # by now it is stored
                if exchange > swallow:
                    near.sendall(answer)

    thread = Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def test_a_connection_cut_after_the_store_and_before_the_answer_stores_each_record_once(
    tmp_path: Path,
) -> None:
    outbox = filled(tmp_path / "outbox", 60)
    with collector(tmp_path / "data") as server, proxy(server.url, swallow=3) as url:
        one = sink(url)
        for _ in range(3):
            with pytest.raises(UpstreamFault, match="cut"):
                sync_once("fleet", outbox, one, "boot", UNSYNCED, Limits(25, 10**6))
            assert outbox.counters().delivered == 0
        assert len(ids(tmp_path / "data")) == 25
        while sync_once("fleet", outbox, one, "boot", UNSYNCED, Limits(25, 10**6)).sent:
            pass
        one.close()
    counters = outbox.counters()
    assert counters.made == counters.delivered == len(ids(tmp_path / "data")) == 60
    assert count_ids(tmp_path / "data") == {"prediction": 60}


def test_two_upstreams_each_get_all(tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    outbox = filled(tmp_path / "outbox", 30, ("fleet", "stick"))
    stick = directory.build("stick", directory.Options(path=tmp_path / "stick"), "press-07")
    with collector(tmp_path / "data") as server:
        one = sink(server.url)
        sync_once("fleet", outbox, one, "boot", UNSYNCED)
        sync_once("stick", outbox, stick, "boot", UNSYNCED)
        one.close()
    assert len(ids(tmp_path / "data")) == 30
    (file,) = (tmp_path / "stick").iterdir()
    assert file.name.startswith("press-07,0123456789ab,1,")
    assert len(decode_batch(file.read_bytes())) == 30
    assert outbox.counters().waiting == 0


@pytest.mark.slow
def test_a_collector_killed_again_and_again_ends_with_each_record_once(tmp_path: Path) -> None:
    records = 3000
    outbox = filled(tmp_path / "outbox", records)
    process = CollectorProcess(tmp_path / "data")
    port, kills = process.port, 0
    one = sink(process.url)
    while outbox.counters().waiting:
        if outbox.counters().delivered >= records * (kills + 1) // 6:
            if kills % 2:  # in the middle of a batch: it may be stored, and the answer is lost
                Thread(target=process.end, args=(signal.SIGKILL,)).start()
            else:
                process.end(signal.SIGKILL)
            kills += 1
        try:
            sync_once("fleet", outbox, one, "boot", UNSYNCED, Limits(20, 10**6))
        except UpstreamFault:
            process = CollectorProcess(tmp_path / "data", port)
    one.close()
    assert process.end(signal.SIGTERM) == 0
    stored = ids(tmp_path / "data")
    assert kills >= 5
    assert len(stored) == len(set(stored)) == outbox.counters().delivered == records


def test_the_command_says_its_url_takes_a_token_and_sums_up(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame\n")
    process = CollectorProcess(tmp_path / "data", 0, "--token-file", str(tmp_path / "token"))
    outbox = filled(tmp_path / "outbox", 4)
    with pytest.raises(UpstreamFault, match="does not accept the token"):
        sync_once("fleet", outbox, sink(process.url), "boot", UNSYNCED)
    assert process.end(signal.SIGINT) == 0
    command = [sys.executable, "-m", "edgeagent", "collector", "--summary", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0 records of 0 devices (none); 0 samples\n"

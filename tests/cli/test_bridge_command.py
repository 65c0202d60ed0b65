"""`edgeagent bridge` against the virtual board on a pty."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from edgeagent.agent.clock import RealClock
from edgeagent.buses.fake.board import Firmware, VirtualBoard
from edgeagent.buses.fake.port import FakePort
from edgeagent.cli import FAULTS, OK, USAGE, main


@contextmanager
def served(board: VirtualBoard) -> Iterator[VirtualBoard]:
    stop = Event()
    thread = Thread(target=board.serve, args=(stop,))
    thread.start()
    try:
        yield board
    finally:
        stop.set()
        thread.join()
        board.unplug()


@pytest.fixture
def board() -> Iterator[VirtualBoard]:
    with served(VirtualBoard(RealClock(), firmware=Firmware(rate_hz=100.0))) as board:
        yield board


class Printing(Firmware):
    """A firmware that also prints text when it hears the first host."""

    printed = False

    def step(self, now_ns: int, data: bytes, room_bytes: int = 4096) -> bytes:
        out = super().step(now_ns, data, room_bytes)
        if data and not self.printed:
            self.printed = True
            return b"\0Booting v1...\r\n\0" + out
        return out


def bridge(*args: str) -> int:
    return main(["bridge", *args])


def test_monitor_prints_the_traffic_of_both_directions_decoded(
    board: VirtualBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bridge("monitor", board.path, "--for", "1.5s") == OK
    out = capsys.readouterr().out
    assert re.search(r"^ +0\.\d{3} > HelloRequest", out, re.MULTILINE)
    assert "< Hello           virtual-motor 1.0.0 (build virtual) on virtual-0001" in out
    assert re.search(
        r"< Samples +seq \d+ x \d+  temperature [\d.]+ Cel  current [\d.]+ A$", out, re.MULTILINE
    )
    assert re.search(r"< Heartbeat +up \d\.\d s  relay = 0 \(0 changes\)  failsafes 0$", out, re.MULTILINE)
    assert out.splitlines()[-1].endswith("good frames; nothing wrong")


def test_monitor_shows_what_is_no_frame_and_the_bytes_when_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with served(VirtualBoard(RealClock(), firmware=Printing())) as board:
        assert bridge("monitor", board.path, "--for", "1.5s", "--raw") == OK
    out = capsys.readouterr().out
    assert r"not a frame     15 bytes: 'Booting v1...\r\n'" in out
    assert re.search(r"HostHeartbeat\n.*  04 03 d1 93 00$", out, re.MULTILINE)
    assert "1 bad frames" in out


def test_monitor_that_listens_sends_nothing_and_so_gets_no_samples(
    board: VirtualBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bridge("monitor", board.path, "--for", "2s", "--listen") == OK
    out = capsys.readouterr().out
    assert " > " not in out
    assert "Samples" not in out
    assert "Heartbeat" in out


def test_monitor_shows_a_board_that_only_prints_text(capsys: pytest.CaptureFixture[str]) -> None:
    port = FakePort()

    def print_text() -> None:
        port.receive(wait_s=60.0)
        port.send(b"23.5,1.25\r\n" * 20)

    writer = Thread(target=print_text)
    writer.start()
    assert bridge("monitor", port.path, "--for", "1.5s") == OK
    writer.join()
    assert r"not a frame     220 bytes: '23.5,1.25\r\n" in capsys.readouterr().out
    port.unplug()


def test_set_drives_an_output_holds_it_and_lets_it_go_safe(
    board: VirtualBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bridge("set", board.path, "relay", "on", "--for", "0.3s") == OK
    assert capsys.readouterr().out == "relay is 1, says virtual-motor 1.0.0\nholding it for 0.3 s\n"
    while board.firmware.relay_on:  # until BYE has been obeyed; the test's own time-out is the limit
        Event().wait(0.01)
    assert (board.firmware.relay_changes, board.firmware.failsafes) == (2, 0)


def test_set_to_the_safe_value_returns_at_once(board: VirtualBoard) -> None:
    assert bridge("set", board.path, "relay", "off") == OK


@pytest.mark.parametrize(
    ("output", "value", "said"),
    [
        ("valve", "on", "the board has no output 'valve'; it has: relay"),
        ("relay", "7", "the board refused the value; 'relay' takes 0 to 1"),
    ],
)
def test_set_that_the_board_cannot_obey_fails_in_words(
    board: VirtualBoard, capsys: pytest.CaptureFixture[str], output: str, value: str, said: str
) -> None:
    assert bridge("set", board.path, output, value) == FAULTS
    assert f"edgeagent: {board.path}: {said}" in capsys.readouterr().err


def test_set_says_when_the_board_has_let_go_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with served(VirtualBoard(RealClock(), firmware=Firmware(max_on_ms=200))) as board:
        assert bridge("set", board.path, "relay", "on") == FAULTS
    assert "relay: the board reports 0" in capsys.readouterr().out


def test_bench_measures_round_trips_samples_and_the_clock(
    board: VirtualBoard, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bridge("bench", board.path, "--for", "1.5s") == OK
    out = capsys.readouterr().out
    assert re.search(r"^ping of 32 bytes: (\d+) of \d+ answered", out, re.MULTILINE)
    assert re.search(r"[\d.]+ ms median, [\d.]+ ms p99, [\d.]+ ms least", out)
    assert re.search(r"^samples: [1-9]\d* in 1.5 s .*, 0 lost$", out, re.MULTILINE)
    assert re.search(r"^clock: [+-]\d+ ppm", out, re.MULTILINE)


def test_a_board_of_another_version_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with served(VirtualBoard(RealClock(), firmware=Firmware(protocol=9))) as board:
        assert bridge("bench", board.path) == FAULTS
    assert "the board speaks protocol version 9" in capsys.readouterr().err


def test_a_port_that_is_not_there_is_a_fault_and_a_bad_value_is_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert bridge("monitor", "/dev/none") == FAULTS
    assert "/dev/none: does not exist" in capsys.readouterr().err
    assert bridge("set", "/dev/none", "relay", "maybe") == USAGE
    assert "'maybe'; expected on, off or a number" in capsys.readouterr().err

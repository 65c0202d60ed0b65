"""The control socket: whoever calls, and however badly, the agent goes on."""

from __future__ import annotations

import select
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from typing import Any

import msgspec
import pytest

from edgeagent.agent.control import CALLERS, ControlServer, Refused, ask
from edgeagent.agent.threads import Command, Inbox, spawn
from edgeagent.errors import ConfigFault, StorageFault


def refuse() -> None:
    raise ConfigFault("agent.yaml:3:1: unknown key")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The run folder of a core that runs what it is asked, in a thread that stands for the agent's main one."""
    inbox, over = Inbox(), Event()
    server = ControlServer(
        tmp_path / "control.sock", {"status": lambda: {"state": "ok"}, "reload": refuse}, inbox
    )
    spawn("control", server.run, inbox)

    def core() -> None:
        while not over.is_set():
            message = inbox.get(0.02)
            if message is not None:
                assert isinstance(message, Command), message
                message.run()

    thread = Thread(target=core)
    thread.start()
    yield tmp_path
    server.close()
    over.set()
    thread.join()
    assert not (tmp_path / "control.sock").exists()


def call(run: Path) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    caller.settimeout(10)
    caller.connect(str(run / "control.sock"))
    return caller


def say(caller: socket.socket, line: bytes) -> dict[str, Any]:
    caller.sendall(line)
    with caller.makefile("rb") as lines:
        answer: dict[str, Any] = msgspec.json.decode(lines.readline())
    return answer


def test_owner_and_group_may_ask_and_nobody_else(run: Path) -> None:
    assert stat.S_IMODE((run / "control.sock").stat().st_mode) == 0o660


def test_a_command_is_answered_and_one_that_fails_says_why(run: Path) -> None:
    assert ask(run, "status") == {"state": "ok"}
    with pytest.raises(Refused, match=r"agent.yaml:3:1: unknown key"):
        ask(run, "reload")


@pytest.mark.parametrize(
    "line",
    [
        b"status\n",
        b"\n",
        b"[]\n",
        b'"status"\n',
        b"7\n",
        b'{"command": "format_disk"}\n',
        b'{"command": []}\n',
        b'{"command": "\xff\xfe"}\n',
        b"\xff\xfe\n",
        b"[" * 60_000 + b"\n",
        b"x" * 100_000 + b"\n",
    ],
    ids=lambda line: line[:20].decode("latin-1").strip(),
)
def test_what_is_no_request_gets_a_sentence_and_the_next_is_answered(run: Path, line: bytes) -> None:
    with closing(call(run)) as caller:
        assert say(caller, line) == {
            "ok": False,
            "error": 'expected {"command": NAME} with one of: reload, status',
        }
    assert ask(run, "status") == {"state": "ok"}


def test_one_caller_may_ask_again_and_again(run: Path) -> None:
    with closing(call(run)) as caller:
        for _ in range(3):
            assert say(caller, b'{"command": "status"}\n')["ok"]


def test_callers_who_say_nothing_hold_up_nobody(run: Path) -> None:
    silent = [call(run) for _ in range(CALLERS - 1)]
    silent[0].sendall(b'{"comm')
    with closing(call(run)) as caller:
        assert say(caller, b'{"command": "status"}\n')["ok"]
    assert not select.select(silent, [], [], 0)[0], "and they have all their time still"
    for one in silent:
        one.close()


def test_no_agent_and_an_agent_that_was_killed_are_both_told_as_not_running(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="no agent answers"):
        ask(tmp_path, "status")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as left_behind:
        left_behind.bind(str(tmp_path / "control.sock"))
    with pytest.raises(StorageFault, match="no agent answers"):
        ask(tmp_path, "status")


def test_a_path_too_long_for_a_socket_is_told_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match="Give the agent another `state:`"):
        ControlServer(tmp_path / ("long" * 40), {}, Inbox())

"""What the service manager is told, over real datagram sockets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from edgeagent.health.notify import Notifier, watchdog_period_ns


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """$NOTIFY_SOCKET and the socket that listens at it."""
    if request.param == "path":
        address = bound = str(tmp_path / "notify")
    else:
        name = f"edgeagent-{uuid4().hex}"
        address, bound = f"@{name}", f"\0{name}"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.bind(bound)
        listener.settimeout(5)
        yield address, listener


def test_each_message_arrives_as_one_datagram(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    with closing(Notifier({"NOTIFY_SOCKET": address})) as notifier:
        notifier.ready("3 sensors, 1 model")
        notifier.status("meter is gone")
        notifier.watchdog()
        notifier.reloading()
        notifier.stopping()
    assert [listener.recv(4096) for _ in range(5)] == [
        b"READY=1\nSTATUS=3 sensors, 1 model",
        b"STATUS=meter is gone",
        b"WATCHDOG=1",
        b"RELOADING=1",
        b"STOPPING=1",
    ]


def test_a_line_break_in_a_status_cannot_become_a_message(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    with closing(Notifier({"NOTIFY_SOCKET": address})) as notifier:
        notifier.status("first\nREADY=1")
    assert listener.recv(4096) == b"STATUS=first READY=1"


def test_a_manager_that_does_not_read_makes_nothing_wait(manager: tuple[str, socket.socket]) -> None:
    address, listener = manager
    with closing(Notifier({"NOTIFY_SOCKET": address})) as notifier:
        for _ in range(10_000):
            notifier.watchdog()
    assert listener.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_without_a_manager_nothing_happens(environ: dict[str, str]) -> None:
    with closing(Notifier(environ)) as notifier:
        notifier.ready("up")
        notifier.stopping()


@pytest.mark.parametrize(
    ("environ", "period_ns"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15_000_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 15_000_000_000),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_limit_by_the_process_it_names(
    environ: dict[str, str], period_ns: int | None
) -> None:
    assert watchdog_period_ns(environ, pid=42) == period_ns

"""What the service manager is told: sd_notify(3) without a package.

Datagrams of `KEY=VALUE` lines to the Unix socket in $NOTIFY_SOCKET; a leading @ names an abstract one. Without
that variable nobody listens, and every call does nothing. Nothing here raises or waits: a manager that has gone
away must not take the agent with it, and one that is busy gets the next message.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress

_NS_PER_US = 1_000


class Notifier:
    """The way to the service manager. `status` is what `systemctl status` shows."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ready(self, status: str) -> None:
        """The start, or a reload, is over: the agent does its job."""
        self._send("READY=1", _status(status))

    def status(self, status: str) -> None:
        self._send(_status(status))

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send("RELOADING=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        """All is well for another `WatchdogSec`."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        self._socket.close()

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with suppress(OSError):
            self._socket.sendto("\n".join(lines).encode(), self._address)


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())


def watchdog_period_ns(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> int | None:
    """How often to call `watchdog`: half of the unit's WatchdogSec; None if no watchdog waits for this process."""
    if environ.get("WATCHDOG_PID", "") not in ("", str(os.getpid() if pid is None else pid)):
        return None
    try:
        limit_us = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return limit_us * _NS_PER_US // 2 if limit_us > 0 else None

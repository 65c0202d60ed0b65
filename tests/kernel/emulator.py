"""The emulated computer from its inside: what is plugged in and pulled, which modules are loaded, and patience."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

PORTS = Path("/dev/virtio-ports")
PATIENCE_S = 300.0  # an emulated processor on a busy machine

T = TypeVar("T")


def until(seen: Callable[[], T | None]) -> T:
    """What is seen as soon as it is something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := seen()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s"
        time.sleep(0.02)
    return found


def load(module: str, *options: str) -> None:
    subprocess.run(["modprobe", module, *options], check=True)


class Emulator:
    """QEMU's monitor (QMP), spoken from the inside."""

    def __init__(self) -> None:
        self._monitor = (PORTS / "emulator").open("r+b", buffering=0)
        self._monitor.readline()  # its greeting
        self._do("qmp_capabilities")

    def plug(self, serial: str, line: str) -> None:
        """Plug in a USB serial adapter, as FTDI's are, with that serial number, at the end of a line."""
        names = {"driver": "usb-serial", "id": serial, "serial": serial, "always-plugged": True}
        self._do("device_add", **names, chardev=line, bus="usb.0")

    def pull(self, serial: str) -> None:
        self._do("device_del", id=serial)

    def close(self) -> None:
        self._monitor.close()

    def _do(self, command: str, **arguments: Any) -> None:
        self._monitor.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while "return" not in (answer := json.loads(self._monitor.readline())):
            assert "error" not in answer, answer


class FarEnd:
    """The far end of an adapter's line."""

    def __init__(self, line: str) -> None:
        self._fd = os.open(PORTS / line, os.O_WRONLY)

    def says(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def close(self) -> None:
        os.close(self._fd)

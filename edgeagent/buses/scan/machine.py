"""The machine that is scanned: this one, or a tree of folders that looks like one (`scan --fake demo`, the tests)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from edgeagent.buses.i2c import Adapter, LinuxAdapter
from edgeagent.timebase import Clock


class Machine(NamedTuple):
    """Where its files are, and how its I2C buses are reached: `connect("/dev/i2c-1")`."""

    clock: Clock
    root: Path = Path("/")
    connect: Callable[[str], Adapter] = LinuxAdapter

    def path(self, name: str) -> Path:
        """Where `/dev/ttyUSB0` really lies."""
        return self.root / name.lstrip("/")

    def name(self, path: Path) -> str:
        """What the machine itself calls it: the inverse of `path`."""
        return f"/{path.relative_to(self.root)}"

    def entries(self, pattern: str) -> list[Path]:
        """The files that fit a pattern such as `sys/class/tty/*`, in order."""
        return sorted(self.root.glob(pattern), key=_by_number)

    def holders(self) -> dict[str, tuple[str, ...]]:
        """By device: the processes that have it open, as far as this user may see. This process does not count."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for process in self.root.glob("proc/[0-9]*"):
            if process.name != str(os.getpid()):
                for device in _open_devices(process):
                    found[device].add(f"{text(process / 'comm') or '?'} (pid {process.name})")
        return {device: tuple(sorted(who)) for device, who in found.items()}


def _open_devices(process: Path) -> Iterator[str]:
    try:
        for fd in (process / "fd").iterdir():
            target = os.readlink(fd)
            if target.startswith("/dev/"):
                yield target
    except OSError:
        return  # another user's process, or one that has just ended


def _by_number(path: Path) -> tuple[str, int, str]:
    """ttyUSB2 before ttyUSB10."""
    stem = path.name.rstrip("0123456789")
    number = path.name[len(stem) :]
    return str(path.parent / stem), int(number) if number else -1, path.name


def text(file: Path) -> str:
    """What a file of sysfs says; "" if there is none."""
    try:
        return file.read_text(errors="replace").strip().strip("\0")
    except OSError:
        return ""

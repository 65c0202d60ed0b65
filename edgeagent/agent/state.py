"""The state folder: where it lies, the lock that says one agent a folder, and the small files in it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.errors import StorageFault


def state_folder(configured: Path | None) -> Path:
    """`state:` of the config, else systemd's, else /var/lib for root and ~/.local/state for anyone else."""
    if configured is not None:
        return configured
    if from_systemd := os.environ.get("STATE_DIRECTORY"):
        return Path(from_systemd.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/edgeagent")
    return Path.home() / ".local" / "state" / "edgeagent"


def run_folder(state: Path) -> Path:
    """Where status file and control socket lie: systemd's runtime folder, else `run/` in the state."""
    from_systemd = os.environ.get("RUNTIME_DIRECTORY")
    return Path(from_systemd.split(":")[0]) if from_systemd else state / "run"


def make_folder(folder: Path) -> None:
    """Raises StorageFault if it is not there and cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    except OSError as e:
        raise StorageFault(
            f"the folder cannot be made ({e.strerror})",
            where=str(folder),
            expected="a folder that this user may write",
            hint=_cure(e),
        ) from e


def _cure(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return (
            "Linux makes a disk read-only after errors: look at `dmesg`, check the card, "
            "and mount it writable (`sudo mount -o remount,rw /`)"
        )
    if error.errno == errno.ENOSPC:
        return "The disk is full: delete what is not needed (`df -h` shows how full)"
    return "Give the agent's user the folder, or set `state:` in the config"


class Lock:
    """Held by one agent a state folder for as long as it lives, however it dies.

    It lies in the state folder and not in the run folder: an agent that someone starts by hand has another of those
    than the service, but it may have the same state.
    """

    def __init__(self, state: Path) -> None:
        path = state / "lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as e:
            raise StorageFault(
                f"the lock cannot be opened ({e.strerror})",
                where=str(path),
                expected="a state folder that this user may write",
                hint=_cure(e),
            ) from e
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = os.read(self._fd, 32).decode() or "unknown"
            os.close(self._fd)
            raise StorageFault(
                f"another agent uses this state folder (pid {holder.strip()})",
                where=str(path),
                hint="Stop that one (`sudo systemctl stop edgeagent`), or give this one a `state:` of its own",
            ) from e
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        os.close(self._fd)


def write_status(run: Path, status: dict[str, Any]) -> None:
    """Replace `status.json`."""
    _replace(run / "status.json", msgspec.json.encode(status))


def read_status(run: Path) -> dict[str, Any] | None:
    """The status that the agent wrote last, or None."""
    try:
        status: dict[str, Any] = msgspec.json.decode((run / "status.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return status


class SpentBytes:
    """What of the sampling budget is spent, over restarts: a device that starts often must not spend it each time."""

    def __init__(self, state: Path) -> None:
        self._path = state / "spent_bytes"
        try:
            self.value = int(self._path.read_text())
        except (OSError, ValueError):
            self.value = 0

    def remember(self, value: int) -> None:
        if value != self.value:
            self.value = value
            _replace(self._path, str(value).encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a file anew; a disk that refuses is the outbox's to report, not worth a second word here."""
    young = path.with_name(f"{path.name}.tmp")
    try:
        young.write_bytes(content)
        young.replace(path)
    except OSError:
        return

"""What a power cut may leave of a disk: after any step of a `watched_disk.Disk`, the files as they could be found.

A write, truncation, creation, rename or deletion that nothing has synced may have happened or not, in any mix.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from watched_disk import Create, Delete, Note, Rename, Step, Sync, SyncFolder, Truncate, Write

Fate = Literal["kept", "dropped", "cut", "shuffled", "torn"]
FATES: tuple[Fate, ...] = ("kept", "dropped", "cut", "shuffled", "torn")
"""What becomes of unsynced steps: all kept, none, the first few, a random subset, a random subset of sectors."""

SECTOR_BYTES = 512

Change = Write | Truncate
Names = dict[str, "_File"]
Renaming = Create | Rename | Delete


class State(NamedTuple):
    """What is found after a power cut, and what had been promised before it."""

    files: dict[str, bytes]
    promise: Any

    def write(self, folder: Path) -> None:
        """Make the folder hold these files, and nothing else."""
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


class _File:
    """One file, whatever its name: what is durable of it, and what is not yet."""

    def __init__(self) -> None:
        self.stable = bytearray()
        self.pending: list[Change] = []

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.stable, change)
        self.pending.clear()

    def content(self, fate: Fate, dice: random.Random) -> bytes:
        content = bytearray(self.stable)
        for change in _survivors(self.pending, fate, dice):
            _apply(content, change)
        return bytes(content)


class Wreck:
    """Plays a log step by step, and says after each what a power cut would leave."""

    def __init__(self) -> None:
        self._names: Names = {}  # as the running system sees them
        self._stable: Names = {}  # as they are on the disk for certain
        self._pending: list[tuple[Renaming, _File]] = []
        self._promise: Any = None

    def step(self, step: Step) -> None:
        match step:
            case Note(promise):
                self._promise = promise
            case Write(path) | Truncate(path):
                self._names[path].pending.append(step)
            case Sync(path, failed=True):
                self._names[path].pending.clear()  # clean for the kernel, and not on the disk
            case Sync(path):
                self._names[path].sync()
                self._sync_name(self._names[path])
            case SyncFolder():
                self._sync_names(len(self._pending))
            case Create(path) if path in self._names:
                pass
            case Create() | Rename() | Delete():
                file = _File() if isinstance(step, Create) else self._names.pop(step.path)
                _rename(self._names, step, file)
                self._pending.append((step, file))

    def after_a_cut(self, fate: Fate, dice: random.Random) -> State:
        names = dict(self._stable)
        some = dice.randint(0, len(self._pending))
        count = {"kept": len(self._pending), "dropped": 0}.get(fate, some)
        for step, file in self._pending[:count]:  # a journalling file system keeps their order
            _rename(names, step, file)
        return State(
            {Path(path).name: file.content(fate, dice) for path, file in names.items()}, self._promise
        )

    def _sync_name(self, synced: _File) -> None:
        """With a young file its name is made durable, and so is all that was renamed before."""
        for at, (step, file) in enumerate(self._pending):
            if file is synced and isinstance(step, Create):
                self._sync_names(at + 1)
                break

    def _sync_names(self, count: int) -> None:
        for step, file in self._pending[:count]:
            _rename(self._stable, step, file)
        del self._pending[:count]


def _rename(names: Names, step: Renaming, file: _File) -> None:
    names.pop(step.path, None)
    if isinstance(step, Create):
        names[step.path] = file
    elif isinstance(step, Rename):
        names[step.target] = file


def states(log: list[Step], count: int, dice: random.Random) -> Iterator[State]:
    """So many states, drawn at random from those of each fate after each step of a log."""
    wreck = Wreck()
    drawn = Counter(dice.choices(range(len(log)), k=count))
    for at, step in enumerate(log):
        wreck.step(step)
        for _ in range(drawn[at]):
            yield wreck.after_a_cut(dice.choice(FATES), dice)


def after_all(log: list[Step]) -> State:
    """What is left if the power is cut at the end, and nothing of what was not synced has reached the disk."""
    wreck = Wreck()
    for step in log:
        wreck.step(step)
    return wreck.after_a_cut("dropped", random.Random(0))


def _survivors(pending: list[Change], fate: Fate, dice: random.Random) -> Iterator[Change]:
    match fate:
        case "kept":
            yield from pending
        case "dropped":
            return
        case "cut":
            yield from pending[: dice.randint(0, len(pending))]
        case "shuffled":
            yield from (change for change in pending if dice.random() < 0.5)
        case "torn":
            for change in pending:
                yield from _torn(change, dice)


def _torn(change: Change, dice: random.Random) -> Iterator[Change]:
    if isinstance(change, Truncate):
        if dice.random() < 0.5:
            yield change
        return
    for at in range(0, len(change.data), SECTOR_BYTES):
        if dice.random() < 0.5:
            yield Write(change.path, change.offset + at, change.data[at : at + SECTOR_BYTES])


def _apply(content: bytearray, change: Change) -> None:
    if isinstance(change, Truncate):
        del content[change.size :]
        return
    if len(content) < change.offset:
        content.extend(bytes(change.offset - len(content)))
    content[change.offset : change.offset + len(change.data)] = change.data

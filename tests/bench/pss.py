"""How much memory processes take, by what the kernel counts in smaps and smaps_rollup."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ +(?P<path>.*)$")
_FIELD = re.compile(r"^(?P<name>\w+): +(?P<kib>\d+) kB$")
_MB_PER_KIB = 1024 / 1e6


def pss_mb(pids: Iterable[int]) -> float:
    """Proportional set size: a page that n processes share counts 1/n in each of them."""
    return sum(_rollup_kib(pid)["Pss"] for pid in pids) * _MB_PER_KIB


def alone_mb(pids: Iterable[int]) -> float:
    """What the proportional set size of these processes would be on a machine where nobody else runs Python.

    Elsewhere on a busy machine the same libraries are mapped, and the kernel charges them a share. So: the memory
    that is their own, and for each file the most that one of them has mapped of it.
    """
    pids = list(pids)
    own_kib = sum(_rollup_kib(pid)["Pss"] - _rollup_kib(pid)["Pss_File"] for pid in pids)
    files: Counter[str] = Counter()
    for pid in pids:
        files |= _file_kib(pid)
    return (own_kib + files.total()) * _MB_PER_KIB


def share_mb(pid: int, beside: int) -> float:
    """What the proportional set size of one process would be on a machine where only it and another run Python."""
    ours, theirs = _file_kib(pid), _file_kib(beside)
    files_kib = sum(kib - min(kib, theirs[file]) / 2 for file, kib in ours.items())
    rollup = _rollup_kib(pid)
    return (rollup["Pss"] - rollup["Pss_File"] + files_kib) * _MB_PER_KIB


def _rollup_kib(pid: int) -> Counter[str]:
    return _fields(Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines())


def _file_kib(pid: int) -> Counter[str]:
    """By file, what is resident of it and unchanged: a page that was written to is the process's own."""
    files: Counter[str] = Counter()
    path = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if mapping := _MAPPING.match(line):
            path = mapping["path"]
        elif path.startswith("/") and not path.startswith("/memfd:"):
            fields = _fields([line])
            files[path] += fields["Rss"] - fields["Anonymous"]
    return files


def _fields(lines: Iterable[str]) -> Counter[str]:
    found = (_FIELD.match(line) for line in lines)
    return Counter({field["name"]: int(field["kib"]) for field in found if field})

"""What edgeagent installs beyond LiteRT and numpy, from the metadata of this environment; extras are not counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from bench.figure import Figure

GIVEN = ("ai-edge-litert", "numpy")
MAX_MB, MAX_PACKAGES = 25, 14


def measure() -> Iterator[Figure]:
    given = _closure(GIVEN)
    ours = _closure(["edgeagent"]) - given - {"edgeagent"}
    size_mb, given_mb = _size_mb(ours), _size_mb(given)
    yield Figure(
        "installed beyond LiteRT and numpy",
        f"{size_mb:.1f} MB",
        f"{given_mb:.1f} MB",
        f"{size_mb / given_mb:.2f}",
        f"<= {MAX_MB} MB",
        size_mb <= MAX_MB,
    )
    yield Figure(
        "packages beyond LiteRT and numpy",
        f"{len(ours)}",
        floor=f"<= {MAX_PACKAGES}",
        met=len(ours) <= MAX_PACKAGES,
    )
    for name in sorted(ours):
        yield Figure(f"  {name} {distribution(name).version}", f"{_size_mb([name]):.1f} MB")


def _closure(names: Iterable[str]) -> set[str]:
    """These packages and all that they need on this machine, without extras."""
    seen: set[str] = set()
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            wanted += _needed(name)
    return seen


def _needed(name: str) -> list[str]:
    requirements = [Requirement(text) for text in distribution(name).requires or []]
    return [_normal(r.name) for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]


def _normal(name: str) -> str:
    return name.lower().replace(".", "-").replace("_", "-")


def _size_mb(names: Iterable[str]) -> float:
    """All files that pip installed for them, compiled ones included."""
    files = (Path(str(file.locate())) for name in names for file in distribution(name).files or [])
    return sum(file.stat().st_size for file in files if file.exists()) / 1e6

"""`python -m bench [NAME ...]`: measures and prints the table as it grows."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path

from bench.figure import Figure

_COLUMNS = "{:<46} {:>14} {:>14} {:>8}  {:<16} {}"
_LONG = {"fleet", "offline"}  # by name alone
_NOT_FLOORS = {"__init__", "__main__", "agent", "fast_board", "figure", "pss", "sized_models"}


def main(names: list[str]) -> None:
    there = sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - _NOT_FLOORS)
    if unknown := set(names) - set(there):
        sys.exit(f"no bench called {', '.join(sorted(unknown))}; there are: {', '.join(there)}")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}"
    )
    print(_COLUMNS.format("", "measured", "raw", "ratio", "floor", ""))
    for name in names or sorted(set(there) - _LONG):
        print(f"make bench ARGS={name}", flush=True)
        for figure in importlib.import_module(f"bench.{name}").measure():
            print(_line(figure), flush=True)


def _line(figure: Figure) -> str:
    verdict = {True: "met", False: "NOT MET", None: ""}[figure.met]
    return _COLUMNS.format(
        "  " + figure.name, figure.measured, figure.raw, figure.ratio, figure.floor, verdict
    )


main(sys.argv[1:])

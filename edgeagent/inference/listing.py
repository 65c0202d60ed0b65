"""The bundles of a folder in a table: for `model list`, and for the README beside them."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from edgeagent.errors import StorageFault, disk
from edgeagent.inference.bundle import BundleKeys, bundle_files, load_bundle, read_keys

BEGIN = "<!-- table: written by `edgeagent model list --write` -->"
END = "<!-- end of table -->"
COLUMNS = ("bundle", "what it tells", "input", "gives", "size", "held out, int8")
_TITLE = re.compile(r"^# (?:.*?: )?(.*)", re.MULTILINE)


class Row(msgspec.Struct, frozen=True):
    """One bundle: the name of its folder, the title of its card, what it takes, and what it was measured to be."""

    bundle: str
    tells: str
    takes: str
    gives: str
    size_bytes: int
    accuracy: str

    def cells(self) -> tuple[str, ...]:
        """As COLUMNS has them."""
        size = f"{self.size_bytes / 1000:.0f} kB"
        return self.bundle, self.tells, self.takes, self.gives, size, self.accuracy


def rows(place: Path) -> list[Row]:
    """A row for each bundle in a folder, by name. Raises BundleFault if one cannot be read."""
    return [_row(file.parent) for file in bundle_files(place)]


def write_table(page: Path, place: Path) -> None:
    """Put the table into a page of Markdown, between its two marks. Raises StorageFault if they are not there."""
    with disk("it cannot be written", where=page):
        before, begin, rest = page.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            page.write_text(f"{before}{BEGIN}\n{markdown(rows(place))}\n{END}{after}")
    if not (begin and end):
        raise StorageFault(
            "the marks are not there", where=str(page), expected=f"{BEGIN} and {END}, a line each"
        )


def markdown(table: list[Row]) -> str:
    """With a link from each name to the card beside the page."""
    lines = [COLUMNS, ["---"] * len(COLUMNS)]
    lines += [(f"[{name}]({name}/README.md)", *rest) for name, *rest in (row.cells() for row in table)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(folder: Path) -> Row:
    keys = read_keys(folder)
    metrics: dict[str, Any] = keys.metrics if isinstance(keys.metrics, dict) else {}
    return Row(
        bundle=folder.name,
        tells=_title(folder / "README.md"),
        takes=_taken(keys),
        gives=load_bundle(folder).task.gives,
        size_bytes=sum(file.stat().st_size for v in keys.variants if (file := folder / v.file).is_file()),
        accuracy=_measured(metrics),
    )


def _measured(metrics: dict[str, Any]) -> str:
    """What the bundle says of itself as it is shipped: the share that is right, or the area under the ROC curve."""
    for key, form in (("accuracy_int8", "{:.1%} right"), ("auc_int8", "AUC {:.3f}")):
        if isinstance(measured := metrics.get(key), float):
            return form.format(measured)
    return ""


def _title(card: Path) -> str:
    """What the card's heading says after the name."""
    heading = _TITLE.search(card.read_text()) if card.is_file() else None
    return heading[1] if heading else ""


def _taken(keys: BundleKeys) -> str:
    """`acc_x acc_y acc_z (m/s2), 50 Hz, 2 s`."""
    groups = groupby(keys.input.channels, key=lambda channel: channel.unit)
    channels = ", ".join(f"{' '.join(c.name for c in group)} ({unit})" for unit, group in groups)
    if keys.input.shape:
        channels = f"pictures of {keys.input.shape[1]} x {keys.input.shape[0]}"
    return f"{channels}; {keys.input.rate:g} Hz, {keys.input.window:g} s"

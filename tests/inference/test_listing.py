"""The table of bundles is made from the bundles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny import write_bundle

from edgeagent.errors import StorageFault
from edgeagent.inference.bundle import own_bundles
from edgeagent.inference.listing import BEGIN, END, rows, write_table

pytestmark = pytest.mark.tflite_runtime


def test_a_row_says_what_a_bundle_tells_and_takes(tmp_path: Path) -> None:
    size = write_bundle(tmp_path / "b").variants[0].file.stat().st_size
    write_bundle(tmp_path / "a")
    (tmp_path / "b" / "README.md").write_text("# tiny: how one walks\n\nIt: is tiny.\n")
    without, with_card = rows(tmp_path)
    assert (without.bundle, without.tells) == ("a", "")
    assert with_card.tells == "how one walks"
    assert with_card.takes == "x y z (m/s2); 4 Hz, 1 s"
    assert (with_card.gives, with_card.size_bytes, with_card.accuracy) == ("3 labels", size, "")


def test_the_table_of_the_shipped_bundles_is_not_stale(tmp_path: Path) -> None:
    """If it is: edgeagent model list --write models/README.md."""
    page = tmp_path / "README.md"
    shutil.copy(own_bundles() / "README.md", page)
    write_table(page, own_bundles())
    assert page.read_text() == (own_bundles() / "README.md").read_text()


def test_only_what_is_between_the_marks_is_written(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nstale\n{END}\nafter\n")
    write_table(page, tmp_path)
    head, *_, last = page.read_text().splitlines()
    assert (head, last, "stale" in page.read_text()) == ("before", "after", False)


def test_a_page_without_the_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\n")
    with pytest.raises(StorageFault, match="the marks are not there"):
        write_table(page, tmp_path)
    assert page.read_text() == f"before\n{BEGIN}\n"
    with pytest.raises(StorageFault, match="cannot be written"):
        write_table(tmp_path / "absent.md", tmp_path)

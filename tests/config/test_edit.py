"""A key of somebody's config is changed, and not a byte beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.config.edit import set_keys
from edgeagent.errors import ConfigFault, StorageFault

BEFORE = """\
# press 7, hall 2: do not move
device: {id: press-07}

models:
%s
  other:   {bundle: other}   # untouched
rules: {}
"""


def changed(path: Path, model: str, **values: str) -> str:
    """What `motion` reads like after these keys were set; the rest must be as it was."""
    path.write_text(BEFORE % model)
    set_keys(path, {("models", "motion", key): value for key, value in values.items()})
    head, tail = BEFORE.split("%s")
    text = path.read_text()
    assert text.startswith(head)
    assert text.endswith(tail)
    return text[len(head) : -len(tail)]


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (
            "  motion:  {bundle: a, accelerator: auto}    # of May",
            "  motion:  {bundle: a, accelerator: cpu, threads: 2}    # of May",
        ),
        (
            "  motion: {threads:  4 , bundle: a }  # of May",
            "  motion: {threads:  2 , bundle: a, accelerator: cpu }  # of May",
        ),
        (
            "  motion:\n    # old\n    bundle: a   # of May\n    # and so on",
            "  motion:\n    # old\n    bundle: a   # of May\n    accelerator: cpu\n    threads: 2\n    # and so on",
        ),
        (
            '  motion:\n      bundle: "a"\n      accelerator:\n        external:\n          library: libvx.so # NPU',
            '  motion:\n      bundle: "a"\n      accelerator:\n        cpu # NPU\n      threads: 2',
        ),
        (
            "  motion: {bundle: a, accelerator: {external: {library: libvx.so, options: {a: 1}}}}",
            "  motion: {bundle: a, accelerator: cpu, threads: 2}",
        ),
    ],
    ids=["in braces", "in braces, with spaces", "on lines", "a block for a value", "braces for a value"],
)
def test_a_key_is_changed_or_added_as_its_neighbours_are_written(
    tmp_path: Path, model: str, wanted: str
) -> None:
    assert changed(tmp_path / "agent.yaml", model, accelerator="cpu", threads="2") == wanted


def test_a_file_whose_last_line_has_no_end_gets_its_key_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text("models:\n  motion:\n    bundle: a")
    set_keys(path, {("models", "motion", "threads"): "2"})
    assert path.read_text() == "models:\n  motion:\n    bundle: a\n    threads: 2"


def test_what_would_make_the_config_wrong_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(BEFORE % "  motion: {bundle: a}")
    with pytest.raises(ConfigFault, match=r"agent\.yaml: it would not be right any more"):
        set_keys(path, {("models", "motion", "threads"): "many"})
    assert path.read_text() == BEFORE % "  motion: {bundle: a}"
    assert [file.name for file in tmp_path.iterdir()] == ["agent.yaml"]


def test_a_config_that_cannot_be_read_is_a_fault_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(StorageFault, match=r"none\.yaml: the config cannot be written \(No such file"):
        set_keys(tmp_path / "none.yaml", {("models", "motion", "threads"): "2"})

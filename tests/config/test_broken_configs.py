"""Each file in broken/ says what `check` must say of it: `#! line:column | what | cure`, in order, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent.agent.fit import check

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_check_names_line_and_cure_of_every_fault_at_once(path: Path) -> None:
    expected = re.findall(r"^#! (\d+):(\d+) \| (.+?)(?: \| (.+))?$", path.read_text(), re.MULTILINE)
    loaded = check(path)
    said = [str(finding) for finding in loaded.findings]
    assert loaded.config is None
    assert len(said) == len(expected), said
    for text, (line, column, what, cure) in zip(said, expected, strict=True):
        assert text.startswith(f"{path}:{line}:{column}: ")
        assert what in text
        assert cure in text


def test_there_are_at_least_ten_broken_configs() -> None:
    assert len(BROKEN) >= 10

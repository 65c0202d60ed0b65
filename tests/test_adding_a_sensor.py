"""`docs/adding-a-sensor.md` shows the files that the contract suite runs, and configs that check accepts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent import cli

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding-a-sensor.md").read_text()
SHOWN = dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


def test_the_page_shows_a_driver_its_fake_and_its_case() -> None:
    assert [Path(path).parent.as_posix() for path in SHOWN] == [
        "edgeagent/sensors",
        "edgeagent/buses/fake",
        *["tests/testcases/mcp9808_below_zero"] * 2,
    ]


@pytest.mark.parametrize("path", SHOWN)
def test_what_the_page_shows_is_the_file_word_for_word(path: str) -> None:
    assert (ROOT / path).read_text() == SHOWN[path]


def test_every_config_on_the_page_passes_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configs = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(configs) == 2
    for i, text in enumerate(configs):
        file = tmp_path / f"{i}.yaml"
        file.write_text(text)
        assert cli.main(["check", str(file)]) == cli.OK, capsys.readouterr().out


def test_every_file_and_name_that_the_page_points_to_exists() -> None:
    for path in re.findall(r"`((?:edgeagent/)?sensors/\w+\.py)`", PAGE):
        assert (ROOT / "edgeagent" / path.removeprefix("edgeagent/")).is_file(), path

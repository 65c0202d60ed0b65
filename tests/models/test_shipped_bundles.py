"""What is true of every bundle that ships, whatever it tells."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from edgeagent.cli import OK, main
from edgeagent.inference.archive import pack, unpack
from edgeagent.inference.bundle import bundle_files, own_bundles, read_keys

FOLDERS = [file.parent for file in bundle_files(own_bundles())]
every_bundle = pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])


@every_bundle
def test_it_passes_its_check_on_every_variant(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "check", str(folder), "--json"]) == OK
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert {step["result"] for step in steps} == {"ok"}
    assert "golden vectors" in steps[-1]["detail"]


@every_bundle
def test_it_can_be_benched(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "bench", str(folder), "--calls", "10", "--json"]) == OK
    for figures in json.loads(capsys.readouterr().out)["figures"]:
        assert figures["trouble"] == ""
        assert figures["process"]["p50"] > 0


@every_bundle
def test_it_is_packed_and_unpacked_with_all_that_belongs_to_it(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "bundle.tar")
    (tmp_path / "there").mkdir()
    again = unpack(tmp_path / "bundle.tar", tmp_path / "there").folder

    def files(of: Path) -> set[str]:
        return {str(file.relative_to(of)) for file in of.rglob("*") if "__pycache__" not in file.parts}

    assert files(again) == files(folder)


@every_bundle
def test_make_models_trains_it_and_its_card_has_data_figures_limits_and_a_licence(folder: Path) -> None:
    makefile = (own_bundles().parent / "Makefile").read_text()
    recipe = makefile.partition("\nmodels:")[2].partition("\n\n")[0]
    assert folder.name in recipe.replace(";", " ").split()
    assert (folder / "train.py").is_file()
    card, keys = (folder / "README.md").read_text(), read_keys(folder)
    assert card.startswith(f"# {folder.name}: ")
    for heading in ("## Data", "## Figures", "## How", "## Limits"):
        assert heading in card
    assert "<!-- figures: written by train.py -->\n| " in card
    assert {"source"} <= set(keys.data)
    assert keys.licence
    assert keys.metrics["size_bytes"] < 20_000


@every_bundle
def test_training_prepares_its_windows_by_the_agents_own_code(folder: Path) -> None:
    trees = [ast.parse(file.read_text()) for file in (folder / "train.py", own_bundles() / "making.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    taken = {f"{n.module}.{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    assert "edgeagent.inference.tensors.scale" in taken
    if read_keys(folder).input.preprocess:
        assert "edgeagent.inference.preprocess.chain.Chain" in taken

"""The documentation is under test: what it names exists, and what exists is named."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pytest

from edgeagent import cli
from edgeagent.config import parts
from edgeagent.records import decode_raw, encode_raw
from edgeagent.sensors import mpu6050

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TOUR = (ROOT / "docs" / "one-samples-way.md").read_text()
DESIGN = (ROOT / "docs" / "design.md").read_text()
IGNORED = (".git", *(ROOT / ".gitignore").read_text().replace("/", "").split())

# What every project has, and a tree need not explain.
NOT_IN_THE_TREE = {
    *(".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
    *("Makefile", "NOTICE", "README.md", "pyproject.toml"),
}


def _is_ours(path: Path) -> bool:
    return not any(fnmatch(part, pattern) for part in path.relative_to(ROOT).parts for pattern in IGNORED)


PAGES = {str(p.relative_to(ROOT)): p for p in sorted(ROOT.rglob("*.md")) if _is_ours(p)}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _fences(text: str, language: str) -> list[str]:
    """The blocks of code in a language; "" is none."""
    return [block for found, block in FENCE.findall(text) if found == language]


def _code(text: str) -> Iterator[str]:
    """Each line of a block of code, and each code span."""
    for _, block in FENCE.findall(text):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def _first_column(text: str, header: str) -> list[str]:
    """The first column of the table that begins with `| header |`."""
    table = text.partition(f"| {header} |")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


# --- commands, options, exit codes --------------------------------------------------------------------


@cache
def _commands() -> dict[str, set[str]]:
    """Every command with its options; "" has those of `edgeagent` itself."""
    context = click.Context(cli._group)
    commands = {name: cli._group.get_command(context, name) for name in cli._group.list_commands(context)}
    return {name: _options(command) for name, command in {"": cli._group, **commands}.items() if command}


def _options(command: click.Command) -> set[str]:
    """Of a group: those of its commands too."""
    shown = [p for p in command.get_params(click.Context(command)) if not getattr(p, "hidden", False)]
    own = {option for p in shown for option in p.opts if option.startswith("-")}
    if isinstance(command, click.Group) and command is not cli._group:
        return own.union(*map(_options, command.commands.values()))
    return own


class Call(NamedTuple):
    """A use of the command line in a page."""

    command: str
    options: list[str]


def _calls(text: str) -> Iterator[Call]:
    for code in _code(text):
        for part in re.split(r"\s*(?:&&|[|;>])\s*", code.partition(" #")[0]):
            words = shlex.split(part.removeprefix("sudo ")) if re.match(r"(sudo )?edgeagent\b", part) else []
            if words[:1] == ["edgeagent"]:
                command = words[1] if words[1:] and not words[1].startswith("-") else ""
                yield Call(command, [w.partition("=")[0] for w in words if w.startswith("-")])


@every_page
def test_every_command_and_option_that_a_page_shows_exists(page: Path) -> None:
    calls = list(_calls(page.read_text()))
    assert {call.command for call in calls} <= _commands().keys()
    assert [c for c in calls if not set(c.options) <= _commands()[c.command] | _commands()[""]] == []


def test_every_command_is_in_the_readme() -> None:
    named = [shlex.split(row.strip("`"))[1] for row in _first_column(README, "command")]
    assert sorted(named) == sorted(_commands().keys() - {""})


def test_the_options_in_the_readmes_table_of_commands_are_those_of_the_command() -> None:
    table = README.partition("| command |")[2].partition("\n\n")[0]
    for row in table.splitlines()[2:]:
        command = shlex.split(row.split("`")[1])[1]
        shown = {option for code in _code(row) for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", code)}
        assert shown <= _commands()[command], row


def test_the_readmes_exit_codes_are_those_of_the_command_line() -> None:
    exist = {cli.OK, cli.FAULTS, cli.USAGE, cli.DEGRADED, cli.NOT_RUNNING, cli.BUG}
    assert {int(code) for code in _first_column(README, "exit code")} == exist


@every_page
def test_no_page_names_an_exit_code_that_does_not_exist(page: Path) -> None:
    exist = {int(code) for code in _first_column(README, "exit code")}
    named = re.findall(r"\bexit(?: code|s with)? (\d+)\b", page.read_text())
    assert {int(code) for code in named} <= exist


@every_page
def test_every_make_target_and_script_that_a_page_runs_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in _code(page.read_text()):
        words = re.sub(r"\s*#.*|\b[A-Z_]+=(\"[^\"]*\"|\S+)", "", code).removeprefix("sudo ").split()
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, code
        if words[:1] == ["sh"]:
            assert (ROOT / words[1]).is_file(), code


# --- the parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "folder"),
    [
        ("Filters", "conditioning"),
        ("Steps", "inference.preprocess"),
        ("Tasks", "inference.tasks"),
        ("Outputs", "actuators"),
        ("Actions", "decisions"),
        ("Sampling", "sampling"),
        ("Upstream", "upstream"),
    ],
)
def test_the_readme_names_each_part_of_a_kind_and_no_other(word: str, folder: str) -> None:
    found = re.search(rf"\b{word}: ((?:`\w+`(?:, )?)+)", README)
    assert found is not None
    assert sorted(re.findall(r"`(\w+)`", found[1])) == parts.names(folder)


def test_the_readmes_table_of_drivers_has_each_driver_and_no_other() -> None:
    assert sorted(row.strip("`") for row in _first_column(README, "`driver:`")) == parts.names("sensors")


def test_the_readmes_config_passes_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = _fences(README, "yaml")
    file = tmp_path / "edgeagent.yaml"
    file.write_text(text)
    assert cli.main(["check", str(file)]) == cli.OK, capsys.readouterr().out


# --- trees, links, paths ------------------------------------------------------------------------------


def _tree(text: str) -> list[str]:
    """The paths of the tree that a page draws: a name a line, two spaces a level."""
    (block,) = (block for block in _fences(text, "") if block.startswith("edgeagent/"))
    paths, folder = [], ""
    for line in block.splitlines():
        name = line.split()[0]
        folder = name if not line.startswith(" ") else folder
        paths.append(folder + name if line.startswith(" ") else name)
    return paths


@pytest.mark.parametrize("text", [README, DESIGN], ids=["README", "design"])
def test_the_tree_exists(text: str) -> None:
    assert [path for path in _tree(text) if not (ROOT / path).exists()] == []
    assert [path for path in _tree(text) if (ROOT / path).is_dir() != path.endswith("/")] == []


def test_everything_at_the_top_is_in_the_readmes_tree() -> None:
    top = {p.name for p in ROOT.iterdir() if _is_ours(p)}
    assert top - NOT_IN_THE_TREE == {path.rstrip("/") for path in _tree(README)}


def test_every_folder_and_module_of_the_agent_is_in_the_designs_tree() -> None:
    there = {p for p in (ROOT / "edgeagent").iterdir() if _is_ours(p) and not p.name.startswith("_")}
    names = {f"edgeagent/{p.name}/" if p.is_dir() else f"edgeagent/{p.name}" for p in there}
    assert names - {"edgeagent/py.typed"} == {p for p in _tree(DESIGN) if p.count("/") + p.count(".py") == 2}


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            target = (page.parent / file) if file else page
            assert target.exists(), link
            assert not anchor or anchor in _anchors(target), link


def _places(page: Path) -> tuple[Path, ...]:
    """What a path in a page may be relative to."""
    return page.parent, ROOT, ROOT / "edgeagent"


@every_page
def test_every_path_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    """A path with a slash, of letters that stand for nothing: NAME and DATE do."""
    tops = {p.name for place in _places(page) for p in place.iterdir() if p.is_dir()}
    for span in _code(page.read_text()):
        for path in re.findall(r"^(\.?[a-z_][\w.-]*/[\w./-]*\w/?|[a-z_]\w*/)(?:: .*)?$", span):
            if path.split("/")[0] in tops and not re.search(r"\b[A-Z]{2,}\b", path):
                assert any((place / path).exists() for place in _places(page)), path


# --- one sample's way ---------------------------------------------------------------------------------

NAMED = re.findall(r"`([\w/]+\.py): ([\w.]+)(?: = ([\d._]+))?`", TOUR)


def _file(path: str) -> Path:
    return ROOT / path if path.startswith("firmware_bridge/") else ROOT / "edgeagent" / path


@cache
def _names_in(file: Path) -> set[str]:
    """Functions, classes, methods as Class.method, and constants."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            methods = (n.name for n in node.body if isinstance(n, ast.FunctionDef))
            names.update(f"{node.name}.{method}" for method in methods)
        if isinstance(node, ast.Assign):
            names.update(t.id for t in node.targets if isinstance(t, ast.Name))
    return names


def test_the_tour_names_functions() -> None:
    assert len(NAMED) > 80


@pytest.mark.parametrize(("path", "name"), sorted({(path, name) for path, name, _ in NAMED}))
def test_every_function_of_the_tour_exists(path: str, name: str) -> None:
    assert name in _names_in(_file(path))


@pytest.mark.parametrize(("path", "name", "value"), [named for named in NAMED if named[2]])
def test_every_bound_in_the_tour_is_the_codes(path: str, name: str, value: str) -> None:
    module = importlib.import_module("edgeagent." + path.removesuffix(".py").replace("/", "."))
    assert getattr(module, name) == float(value)


def _thread_names() -> Iterator[str]:
    """The first word of each name that is given to `spawn`, in place or in a variable of the same function."""
    files = (ROOT / "edgeagent" / "agent").glob("*.py")
    functions = (
        n for f in files for n in ast.walk(ast.parse(f.read_text())) if isinstance(n, ast.FunctionDef)
    )
    for function in functions:
        nodes = list(ast.walk(function))
        assigned = dict(pair for node in nodes if isinstance(node, ast.Assign) for pair in _assigned(node))
        for call in nodes:
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "spawn":
                name = ast.unparse(call.args[0])
                yield assigned.get(name, name).strip("f'\"").split()[0]


def _assigned(node: ast.Assign) -> Iterator[tuple[str, str]]:
    """`a, b = x, y` is a with x and b with y."""
    left, right = node.targets[0], node.value
    if isinstance(left, ast.Tuple) and isinstance(right, ast.Tuple):
        yield from zip(map(ast.unparse, left.elts), map(ast.unparse, right.elts), strict=True)
    else:
        yield ast.unparse(left), ast.unparse(right)


def test_the_tours_table_has_every_thread_that_the_agent_starts() -> None:
    named = {re.findall(r"\w+", row)[0] for row in _first_column(TOUR, "thread")}
    assert named == {"main", *_thread_names()}


def test_the_tours_number_makes_the_whole_way() -> None:
    """The bytes `10 00` of the chip, 9.80665 m/s² in between, `00 10` in the record, and back."""
    layout = mpu6050.layout(mpu6050.Options(bus="fake:mpu6050"))
    lsb = np.array([c.lsb for c in layout.channels])
    values = (np.frombuffer(bytes.fromhex("1000") * 6, dtype=">i2").reshape(1, 6) * lsb).astype(np.float32)
    raw = encode_raw(values, layout.channels)
    assert values[0, layout.index("acc_z")] == np.float32(9.80665)
    assert raw.data == bytes.fromhex("0010") * 6
    assert np.array_equal(decode_raw(raw, layout.channels), values)
    assert all(figure in TOUR for figure in ("`10 00`", "9.80665", "`00 10`"))


# --- decisions, changelog, manners --------------------------------------------------------------------


def test_the_decisions_are_numbered_without_a_hole() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [file.name[:4] for file in files] == [f"{n:04}" for n in range(1, len(files) + 1)]
    for file in files:
        text = file.read_text()
        assert text.startswith(f"# {file.name[:4]}: ")
        assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_the_changelog_has_room_for_what_comes() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text()


@every_page
def test_no_page_names_a_path_of_one_machine(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"/home/\w|/Users/\w|/root/|file://", text)
    here = {str(ROOT), str(Path.home()), sys.prefix} - {"/"}
    assert [place for place in here if f"{place}/" in text] == []

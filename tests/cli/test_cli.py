from __future__ import annotations

import ast
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import edgeagent.cli as cli
from edgeagent import __version__
from edgeagent.errors import DeviceGone


def modules_after(*args: str) -> set[str]:
    """What a process has imported when it has run a command line."""
    script = f"""
import sys
from edgeagent.cli import main
main({list(args)!r})
print("modules:", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("modules:")[2].split())


def test_help_imports_no_numpy() -> None:
    modules = modules_after("--help")
    assert "click" in modules
    assert modules.isdisjoint({"numpy", "msgspec", "ruamel.yaml", "rich", "ai_edge_litert", "tflite_runtime"})


def test_check_starts_no_runtime(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text((Path(cli.__file__).parent.parent / "config" / "initial.yaml").read_text())
    modules = modules_after("check", str(config))
    assert "edgeagent.inference.bundle" in modules
    assert modules.isdisjoint(
        {"ai_edge_litert", "tflite_runtime", "tensorflow", "onnxruntime", "serial", "rich"}
    )


def test_every_command_is_a_file_whose_first_line_is_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == cli.OK
    out = capsys.readouterr().out
    files = list(Path(cli.__file__).parent.glob("[!_]*.py"))
    assert {"check", "init"} <= {file.stem for file in files}
    for file in files:
        first_line = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]
        assert first_line
        assert f"{file.stem} " in out


def commands(group: click.Group) -> Iterator[click.Command]:
    """Every command, however deep."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_no_command_demands_the_config_that_run_finds_by_itself() -> None:
    files = [p for command in commands(cli._group) for p in command.params if "--config" in p.opts]
    assert len(files) > 10
    assert not any(file.required for file in files)
    # The others look for an agent that runs, wherever its state is.
    assert sum(file.default == cli.DEFAULT_CONFIG for file in files) > 10


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == cli.OK
    assert capsys.readouterr().out == f"edgeagent {__version__}\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["chek"], "There is no command 'chek'. Did you mean 'check'?"),
        (["check"], "Missing argument 'FILE'"),
        (["--log-level", "loud", "init"], "'loud' is not one of"),
    ],
)
def test_wrong_usage_ends_in_2(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(args) == cli.USAGE
    assert said in capsys.readouterr().err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception]:
    """A command that raises what the test puts in."""
    to_raise: dict[str, Exception] = {}

    @click.command
    def command() -> None:
        raise to_raise["error"]

    monkeypatch.setattr(cli._Commands, "get_command", lambda *_: command)
    return to_raise


def test_a_fault_is_one_line_and_ends_in_1(
    failing: dict[str, Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    failing["error"] = DeviceGone("nothing answers", where="/dev/ttyACM0", hint="Plug it in")
    assert cli.main(["check"]) == cli.FAULTS
    assert capsys.readouterr().err == "edgeagent: /dev/ttyACM0: nothing answers. Plug it in\n"


def test_our_bug_ends_in_70_and_shows_a_traceback_only_at_log_level_debug(
    failing: dict[str, Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    failing["error"] = KeyError("lost")
    assert cli.main(["check"]) == cli.BUG
    err = capsys.readouterr().err
    assert "KeyError: 'lost'" in err
    assert "report" in err
    assert len(err.splitlines()) == 1
    assert cli.main(["--log-level", "debug", "check"]) == cli.BUG
    assert "Traceback" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def _logging_as_before() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("python", "system", "machine", "bits", "said"),
    [
        ((3, 10, 12), "Linux", "aarch64", 64, "needs Python 3.11 to 3.13, and this is 3.10.12"),
        ((3, 14, 0), "Linux", "aarch64", 64, "needs Python 3.11 to 3.13, and this is 3.14.0"),
        ((3, 11, 2), "Linux", "armv6l", 32, "this is Linux on armv6l"),
        ((3, 11, 2), "Darwin", "arm64", 64, "this is Darwin on arm64"),
        ((3, 11, 2), "Linux", "aarch64", 32, "32-bit one on a 64-bit kernel"),
    ],
)
def test_a_machine_out_of_range_is_told_in_one_sentence(
    python: tuple[int, ...], system: str, machine: str, bits: int, said: str
) -> None:
    sentence = cli.why_not_here(python, system, machine, bits)
    assert said in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "armv7l"])
def test_a_machine_in_range_is_let_in(machine: str) -> None:
    assert cli.why_not_here((3, 13, 1), "Linux", machine, 32 if machine == "armv7l" else 64) == ""


def test_a_machine_out_of_range_ends_in_2_before_any_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "why_not_here", lambda: "needs Python 3.11 to 3.13.")
    assert cli.main(["check", "x"]) == cli.USAGE
    assert capsys.readouterr().err == "edgeagent: needs Python 3.11 to 3.13.\n"

"""The command line: one file a command, and nothing is imported but the command that was asked for.

`cli/NAME.py` is `edgeagent NAME`: it has a click command named `command`, which returns one of the exit codes
below or None, and the first line of its docstring is its line in `--help` (read from the file, not imported:
`--help` must not wait for numpy). A Fault that reaches this file is printed and ends in exit code 1; any other
exception is ours and ends in 70.
"""

from __future__ import annotations

import ast
import importlib
import logging
import platform
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeagent import __version__
from edgeagent.errors import Fault

OK, FAULTS, USAGE, DEGRADED, NOT_RUNNING, BUG = 0, 1, 2, 3, 4, 70
"""Exit codes, as in the README's table: fine, faults were found, wrong usage, runs but not well, no agent, our bug."""

DEFAULT_CONFIG = "/etc/edgeagent/edgeagent.yaml"  # where the service has it
_MACHINES = ("x86_64", "aarch64", "armv7l")
_FOLDER = Path(__file__).parent
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """`10s`, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from edgeagent.config.quantities import DURATION, parse_quantity

        try:
            return parse_quantity(str(value), DURATION)
        except Fault as fault:
            self.fail(str(fault), param, ctx)


def config_option(name: str = "config") -> Callable[[_Decorated], _Decorated]:
    """`-c FILE`, for a command that cannot do without one."""
    return click.option(
        "-c",
        "--config",
        name,
        type=click.Path(path_type=Path),
        default=DEFAULT_CONFIG,
        show_default=True,
        help="The agent's YAML file.",
    )


class _Commands(click.Group):
    """Finds the commands by their files."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(file.stem for file in _FOLDER.glob("[!_]*.py"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"edgeagent.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        there = self.list_commands(ctx)
        if args[0] not in there:
            from edgeagent.config.findings import alike  # with msgspec, which help has no need of

            near = alike(args[0], there)
            hint = f" Did you mean '{near}'?" if near else f" There are: {', '.join(there)}."
            raise click.UsageError(f"There is no command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_line(name)) for name in self.list_commands(ctx)])


def _first_line(name: str) -> str:
    docstring = ast.get_docstring(ast.parse((_FOLDER / f"{name}.py").read_text())) or ""
    return docstring.partition("\n")[0]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgeagent", message="%(prog)s %(version)s")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much is said on standard error; debug adds tracebacks.",
)
def _group(log_level: str) -> None:
    """Senses, thinks, acts and learns on a single-board computer."""
    logging.basicConfig(
        level=log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr, force=True
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line (default: the process's own) and return its exit code."""
    if unfit := why_not_here():
        print(f"edgeagent: {unfit}", file=sys.stderr)
        return USAGE
    try:
        result = _group.main(args=args, prog_name="edgeagent", standalone_mode=False)
    except click.ClickException as e:
        e.show()
        return USAGE
    except click.Abort:
        print("edgeagent: interrupted", file=sys.stderr)
        return FAULTS
    except Fault as e:
        print(f"edgeagent: {e}", file=sys.stderr)
        return FAULTS
    except Exception as e:
        return _our_bug(e)
    return result if isinstance(result, int) else OK


def why_not_here(
    python: tuple[int, ...] = sys.version_info[:3],
    system: str = platform.system(),
    machine: str = platform.machine(),
    bits: int = 64 if sys.maxsize > 2**32 else 32,
) -> str:
    """Why edgeagent cannot run on this Python or machine, in one sentence; "" if it can."""
    if not (3, 11) <= python < (3, 14):
        found = ".".join(map(str, python))
        return f"needs Python 3.11 to 3.13, and this is {found} ({sys.executable})."
    if system != "Linux" or machine not in _MACHINES:
        return f"runs on Linux on {', '.join(_MACHINES)}, and this is {system} on {machine}."
    if bits == 32 and machine != "armv7l":
        return f"this Python is a 32-bit one on a 64-bit kernel ({machine}): install the 64-bit system image."
    return ""


def _our_bug(error: Exception) -> int:
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    text = f"{type(error).__name__}: {error}"
    print(
        f"edgeagent: a bug of ours ({text}). Please report it, with what --log-level debug adds.",
        file=sys.stderr,
    )
    return BUG

"""The demo's face: a live screen on a terminal, a line every few seconds where there is none, and the summary."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from shutil import which

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgeagent.demo.memory import Memory
from edgeagent.demo.panels import milliseconds, times
from edgeagent.demo.scene import Moment
from edgeagent.demo.screen import SMALLEST, screen
from edgeagent.demo.summary import CHECKED, Summary

_LINE_EVERY_S = 5.0
_NETWORK = {"up": "", "away": "NETWORK AWAY", "draining": "network back", "drained": "all delivered"}


def _us() -> str:
    """How edgeagent is called from here: `make demo` has it in `.venv`, where no PATH finds it."""
    beside = Path(sys.executable).with_name("edgeagent")
    return "edgeagent" if which("edgeagent") else shlex.quote(min(str(beside), relpath(beside), key=len))


class View:
    """Shows moments while the demo runs, and the summary at its end; `quiet` shows nothing.

    Args:
        quiet: Show nothing at all.
        console: Where to; the terminal if there is one.
    """

    def __init__(self, *, quiet: bool, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, quiet=quiet)
        self._seen = Memory()
        self._next_line_s = 0.0
        self._size = self._console.size
        large_enough = self._size.width >= SMALLEST[0] and self._size.height >= SMALLEST[1]
        self._live: Live | None = None
        if self._console.is_terminal and large_enough and not quiet:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> View:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """Show how things stand; to be called some four times a second."""
        self._seen.see(moment)
        if self._live is not None:
            if self._size != self._console.size:  # what was drawn for another size lies elsewhere now
                self._size = self._console.size
                self._console.clear()
            self._live.update(screen(self._seen, self._size.width, self._size.height), refresh=True)
        elif moment.elapsed_s >= self._next_line_s:
            self._next_line_s = moment.elapsed_s + _LINE_EVERY_S
            self._console.print(line(self._seen), soft_wrap=True)

    def show_summary(self, summary: Summary, wrong: Mapping[str, str]) -> None:
        """The table to check the demo by; `wrong` says, by key, what is not as it must be."""
        say = self._console.print
        say("\n What the parts of the agent, the board and the collector have counted:\n")
        say(table(summary, wrong))
        say(records(summary, wrong))
        say(f"\n   dataset     {summary.dataset}", soft_wrap=True)
        say(f"   look at it  {_us()} collector --summary {shlex.quote(summary.dataset)}\n", soft_wrap=True)
        if kills := len(self._seen.kills_s):
            say(
                f" ↻ the agent was killed {times(kills)}; records, relay and outage are counted over all of it,"
            )
            say("   what the agent counts in memory since it last started")
        for fault in wrong.values():
            say(f" ✘ {fault}", style="bold red")
        if not wrong:
            say(" ✔ the whole loop ran, and every record arrived", style="bold green")


def line(seen: Memory) -> str:
    """How things stand, for where there is no terminal."""
    moment = seen.moment
    if not moment.agent:
        return f"{moment.elapsed_s:4.0f} s  the agent is starting"
    current, relay = seen.find("values", "motor.current"), seen.find("actuators", "relay", "reported")
    parts = (
        f"{moment.elapsed_s:4.0f} s",
        f"{seen.find('pipelines', 'motion', 'label') or '-':<9}",
        "motor   - A" if current is None else f"motor {current:.1f} A",
        f"relay {'-' if relay is None else 'on' if relay else 'off':<3}",
        f"{seen.find('outbox', 'made') or 0:>3} records, {seen.find('outbox', 'waiting') or 0:>2} wait",
        _NETWORK[seen.network],
    )
    return "  ".join(parts).rstrip()


def table(summary: Summary, wrong: Mapping[str, str]) -> Table:
    """The summary's keys but for the records and the dataset: value, unit and words, and the key in `--json`."""
    accuracy = "-" if summary.accuracy is None else f"{summary.accuracy:.1%}"
    latency = summary.latency_ms
    rows = (
        ("senses", "samples", f"{summary.samples}", "samples"),
        ("", "samples_missing", f"{summary.samples_missing}", "samples missing"),
        ("thinks", "windows", f"{summary.windows}", "windows"),
        ("", "windows_unpredicted", f"{summary.windows_unpredicted}", "windows without a prediction"),
        ("", "accuracy", accuracy, "right, by the recording's labels"),
        ("", "latency_ms.p50", milliseconds(latency.get("p50")), "from read to decision, the median"),
        ("", "latency_ms.p99", milliseconds(latency.get("p99")), "and in 99 of 100"),
        ("decides", "rules_fired", f"{summary.rules_fired}", "times a rule fired"),
        ("", "relay_switched", f"{summary.relay_switched}", "times the board's relay switched"),
        ("sends", "bytes_sent", f"{summary.bytes_sent} B", "in HTTP bodies"),
        ("", "outage_s", f"{summary.outage_s} s", "without network"),
    )
    shown = Table.grid(padding=(0, 1))
    for justify in ("left", "left", "right", "left", "left"):
        shown.add_column(justify=justify, no_wrap=True)
    for part, key, value, words in rows:
        shown.add_row(
            mark(key, wrong), Text(part, "bold"), Text(value, "bold"), words, Text(f"  {key}", "dim")
        )
    return shown


def records(summary: Summary, wrong: Mapping[str, str]) -> Text:
    """The three counts that must be one, side by side."""
    made, acknowledged, held = summary.records_made, summary.records_acknowledged, summary.records_in_dataset
    first, second = (" = " if same else " ≠ " for same in (made == acknowledged, acknowledged == held))
    sum_style = "bold red" if "records_in_dataset" in wrong else "bold green"
    counts = f"{made} records made{first}{acknowledged} acknowledged{second}{held} in the dataset"
    return Text.assemble(mark("records_in_dataset", wrong), "         ", (counts, sum_style))


def mark(key: str, wrong: Mapping[str, str]) -> Text:
    """A tick or a cross for what the exit code hangs on."""
    if key in wrong:
        return Text(" ✘", "bold red")
    return Text(" ✔", "bold green") if key in CHECKED else Text("  ")

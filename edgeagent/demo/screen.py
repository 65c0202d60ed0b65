"""The demo's screen: four panels in the order of the sentence, and the time with the outage marked on it."""

from __future__ import annotations

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgeagent.demo.memory import Memory
from edgeagent.demo.panels import Space, decides, sends, senses, spread, thinks, times
from edgeagent.demo.scene import OUTAGE_FROM, OUTAGE_UNTIL

SMALLEST = (80, 24)
_ROOMY = (120, 36)
_FRAME = 4  # a panel's border and padding, left and right
_PARTS = (
    ("1 SENSES", "cyan", senses),
    ("2 THINKS", "magenta", thinks),
    ("3 DECIDES", "yellow", decides),
    ("4 SENDS", "green", sends),
)


def screen(seen: Memory, width: int, height: int) -> Group:
    """The whole screen for a terminal of this size, one line less high so that it never scrolls."""
    roomy = width >= _ROOMY[0] and height >= _ROOMY[1]
    whole = Space(_ROOMY[0] if roomy else SMALLEST[0], roomy)
    half = Space(whole.width // 2 - _FRAME, roomy)
    upper, lower = (18, 12) if roomy else (12, 8)
    panels = [
        Panel(
            Text("\n", no_wrap=True).join(part(seen, half)),
            title=f"[bold {colour}] {title} [/]",
            title_align="left",
            border_style=f"dim {colour}",
            width=half.width + _FRAME,
            height=rows,
        )
        for (title, colour, part), rows in zip(_PARTS, (upper, upper, lower, lower), strict=True)
    ]
    grid = Table.grid()
    grid.add_row(*panels[:2])
    grid.add_row(*panels[2:])
    gap = [Text()] if roomy else []
    return Group(_header(seen, whole.width), *gap, grid, *_time(seen, whole))


def _header(seen: Memory, width: int) -> Text:
    left = Text.assemble((" edgeagent ", "bold reverse"), ("  one light process does the whole loop", "dim"))
    return spread(left, _life(seen), width)


def _life(seen: Memory) -> Text:
    if seen.moment.agent:
        return Text.assemble(("● ", "green"), f"the agent runs, pid {seen.find('pid')} ")
    if seen.kills_s:
        return Text("↻ killed: it starts again ", "bold yellow")
    return Text("◌ the agent is starting ", "yellow")


def _time(seen: Memory, space: Space) -> list[Text]:
    """How far the demo is, and what one may do."""
    moment, width = seen.moment, space.width - 16
    now, end = f" {_minutes(moment.elapsed_s):>5}  ", f"  {_minutes(moment.seconds):<6}"
    lines = [Text.assemble((now, "bold"), _time_bar(seen, width), (end, "dim"))]
    if space.roomy:
        lines.append(Text(" " * (len(now) + round(OUTAGE_FROM * width)) + "the network is away", "red"))
    left = Text.assemble("  ", _note(seen))
    right = Text.assemble(("" if space.roomy else "░ network away   ", "red"), ("Ctrl-C ends it", "dim"))
    return [*lines, spread(left, right, space.width - 2)]  # the terminal's ^C has room behind it


def _time_bar(seen: Memory, width: int) -> Text:
    def cell(at_s: float) -> int:
        return min(round(at_s / (seen.moment.seconds or 1.0) * width), width - 1)

    here = cell(seen.moment.elapsed_s)
    cells = ["━" if at < here else "╌" for at in range(width)]
    for at in range(round(OUTAGE_FROM * width), round(OUTAGE_UNTIL * width)):
        cells[at] = "▓" if at < here else "░"
    cells[here] = "●"
    for kill_s in seen.kills_s:
        cells[cell(kill_s)] = "↻"
    bar = Text("".join(cells))
    bar.highlight_regex("[▓░]+", "red")
    bar.highlight_regex("[●↻]", "bold yellow")
    return bar


def _note(seen: Memory) -> Text:
    moment, pid = seen.moment, seen.find("pid")
    if moment.elapsed_s > moment.seconds:
        return Text("time is up: the agent delivers what is left", "bold")
    if seen.kills_s:
        return Text(f"↻ killed {times(len(seen.kills_s))}: nothing durable was lost", "bold yellow")
    return Text(f"try it in another terminal:  kill -9 {pid}" if pid else "", "dim")


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

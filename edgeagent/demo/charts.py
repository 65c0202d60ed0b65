"""Drawing with characters: sparklines, areas, bars, and letters three lines high. Numbers in, strings out."""

from __future__ import annotations

from collections.abc import Sequence

_HEIGHTS = " ▁▂▃▄▅▆▇█"
_EIGHTHS = 8

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FONT = (
    ".#. ##. .## ##. ### ### .## #.# ### ..# #.# #.. #.# ##. ### ##. .#. ##. .## ### #.# #.# #.# #.# #.# ###",
    "#.# #.# #.. #.# #.. #.. #.. #.# .#. ..# #.# #.. ### #.# #.# #.# #.# #.# #.. .#. #.# #.# #.# #.# #.# ..#",
    "### ##. #.. #.# ##. ##. #.# ### .#. ..# ##. #.. ### #.# #.# ##. #.# ##. .#. .#. #.# #.# ### .#. .#. .#.",
    "#.# #.# #.. #.# #.. #.. #.# #.# .#. #.# #.# #.. #.# #.# #.# #.. ##. #.# ..# .#. #.# #.# ### #.# .#. #..",
    "#.# ##. .## ##. ### #.. .## #.# ### .#. #.# ### #.# #.# ### #.. .## #.# ##. .#. ### .#. #.# #.# .#. ###",
)
_FONT_WIDTH = 4  # with the gap


def spark(values: Sequence[float | None], low: float, high: float) -> str:
    """One character a value; a space where there is none. The highest leaves a gap to the line above."""
    steps = _EIGHTHS - 2
    return "".join(
        " " if v is None else _HEIGHTS[1 + _clamp(round((v - low) / (high - low) * steps), steps)]
        for v in values
    )


def area(values: Sequence[float | None], high: float, rows: int) -> list[str]:
    """The area from 0 up to each value, `rows` lines from the top; `high` is the upper edge of the first."""
    levels = [0 if v is None else round(v / high * rows * _EIGHTHS) for v in values]
    return [
        "".join(_HEIGHTS[_clamp(level - row * _EIGHTHS, _EIGHTHS)] for level in levels)
        for row in reversed(range(rows))
    ]


def bar(share: float, width: int) -> str:
    """A bar of `share` (0..1) of `width` characters, to the half character, filled up with spaces."""
    halves = _clamp(round(share * width * 2), width * 2)
    return ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(width)


def large(word: str) -> list[str]:
    """A word in letters of three lines, four characters each; what is no letter is left blank."""
    rows = ["".join(_row(row, letter) for letter in word.upper()) for row in _FONT]
    pairs = zip(rows[::2], [*rows[1::2], " " * len(rows[0])], strict=True)
    return ["".join(_half(*pixels) for pixels in zip(*pair, strict=True)).rstrip() for pair in pairs]


def _row(row: str, letter: str) -> str:
    at = _LETTERS.find(letter) * _FONT_WIDTH
    return row[at : at + 3].ljust(_FONT_WIDTH) if at >= 0 else " " * _FONT_WIDTH


def _half(upper: str, lower: str) -> str:
    """Two pixels, one above the other, in one character."""
    return {(True, True): "█", (True, False): "▀", (False, True): "▄"}.get((upper == "#", lower == "#"), " ")


def _clamp(level: int, top: int) -> int:
    return max(0, min(level, top))

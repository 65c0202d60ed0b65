"""What `check` says: findings, and where in the file they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from edgeagent.errors import Fault

Path = tuple[str | int, ...]
"""The way to a value by the keys and indices of the YAML: `("rules", "overload", "do", 0, "event")`."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `check` has to say; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    severity: Literal["fault", "warning"]
    what: str
    found: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        warning = "warning: " if self.severity == "warning" else ""
        found = f", found {self.found}" if self.found else ""
        expected = f", expected {self.expected}" if self.expected else ""
        hint = f". {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {warning}{self.what}{found}{expected}{hint}"


class Mark(NamedTuple):
    """A place in the file, counted from 1."""

    line: int
    column: int


class Marks:
    """Where each key and value of the file stands."""

    def __init__(self) -> None:
        self._keys: dict[Path, Mark] = {}
        self._values: dict[Path, Mark] = {}
        self._texts: dict[Path, Mark] = {}

    def add(self, path: Path, key: Mark, value: Mark, text: Mark | None = None) -> None:
        """`text` is the first character of a value that is written on one line, behind its quote."""
        self._keys[path], self._values[path] = key, value
        if text is not None:
            self._texts[path] = text

    def at(self, path: Path) -> Mark:
        """The place of a value (of a mapping or list: of its key), or of what it would stand in."""
        return self._nearest(self._values, path)

    def key(self, path: Path) -> Mark:
        """The place of a key, or of what it would stand in."""
        return self._nearest(self._keys, path)

    def within(self, path: Path, column: int) -> Mark:
        """The place of a character of a text, counted from 1; of the text, if it runs over several lines."""
        while path and path not in self._values:  # a bare scalar that stands for a whole mapping
            path = path[:-1]
        text = self._texts.get(path)
        return Mark(text.line, text.column + column - 1) if text else self.at(path)

    def __contains__(self, path: Path) -> bool:
        return path in self._values

    def under(self, path: Path) -> Iterator[Path]:
        """The paths one step below `path`, in file order."""
        return (p for p in self._values if len(p) == len(path) + 1 and p[: len(path)] == path)

    @staticmethod
    def _nearest(marks: dict[Path, Mark], path: Path) -> Mark:
        while path and path not in marks:
            path = path[:-1]
        return marks.get(path, Mark(1, 1))


class Report:
    """Collects the findings about one file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Finding] = []

    def fault(self, mark: Mark, what: str, *, found: str = "", expected: str = "", hint: str = "") -> None:
        self._add(mark, "fault", what, found, expected, hint)

    def warn(self, mark: Mark, what: str, *, found: str = "", expected: str = "", hint: str = "") -> None:
        self._add(mark, "warning", what, found, expected, hint)

    def raised(self, mark: Mark, path: Path, fault: Fault) -> None:
        """A fault that was raised over the value at `path`, `where` being what was found."""
        what = f"{dotted(path)}: {fault.what}" if path else fault.what
        self.fault(mark, what, found=fault.where, expected=fault.expected, hint=fault.hint)

    def _add(
        self,
        mark: Mark,
        severity: Literal["fault", "warning"],
        what: str,
        found: str,
        expected: str,
        hint: str,
    ) -> None:
        self.findings.append(
            Finding(
                file=self.file,
                line=mark.line,
                column=mark.column,
                severity=severity,
                what=what,
                found=found,
                expected=expected,
                hint=hint,
            )
        )


def dotted(path: Path) -> str:
    """`rules.overload.do[0].event`: how people write a path."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'rate'?`, or "" if nothing known is near."""
    by_folded = {one.casefold(): one for one in known}
    close = alike(word.casefold(), by_folded)
    return f"Did you mean '{by_folded[close]}'?" if close else ""


def alike(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known word that is most like it; "" if none is: 1 is the same, 0 has nothing in common."""
    from difflib import get_close_matches  # 0.5 MB that a config without faults has no need of

    return next(iter(get_close_matches(word, known, n=1, cutoff=cutoff)), "")


def listed(words: Iterable[str]) -> str:
    """`a, b or c`; "nothing" if there are none."""
    *most, last = list(words) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last

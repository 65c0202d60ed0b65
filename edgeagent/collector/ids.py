"""Which records are here, by id: of each run of a device the spans of sequence numbers that have come."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping

Span = tuple[int, int]
"""The first and the last of consecutive numbers."""


class Spans:
    """A set of numbers from 1 to 10^18, in whatever order they come: 16 bytes a span, however long that is."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._firsts, self._lasts = array("q"), array("q")
        for first, last in spans:
            self._firsts.append(first)
            self._lasts.append(last)

    def __iter__(self) -> Iterator[Span]:
        return zip(self._firsts, self._lasts, strict=True)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number)
        return at > 0 and number <= self._lasts[at - 1]

    def add(self, number: int) -> bool:
        """Whether it is new."""
        firsts, lasts = self._firsts, self._lasts
        at = bisect_right(firsts, number)  # of the span behind it
        if at and number <= lasts[at - 1]:
            return False
        follows = at > 0 and lasts[at - 1] == number - 1
        leads = at < len(firsts) and firsts[at] == number + 1
        if follows and leads:
            del lasts[at - 1], firsts[at]
        elif follows:
            lasts[at - 1] = number
        elif leads:
            firsts[at] = number
        else:
            firsts.insert(at, number)
            lasts.insert(at, number)
        return True


class Ids:
    """A set of ids, which are device/run/seq: exact, and as small as its gaps are few."""

    def __init__(self, runs: Mapping[str, Iterable[Span]] | None = None) -> None:
        self._runs = {run: Spans(spans) for run, spans in (runs or {}).items()}

    def of(self, run: str) -> Spans:
        """The sequence numbers of one device/run, to be asked and added to."""
        try:
            return self._runs[run]
        except KeyError:
            return self._runs.setdefault(run, Spans())

    def add(self, record_id: str) -> bool:
        """Whether it is new."""
        run, _, number = record_id.rpartition("/")
        return self.of(run).add(int(number))

    def spans(self) -> dict[str, list[Span]]:
        """All of them, by device/run."""
        return {run: list(spans) for run, spans in self._runs.items()}

    def devices(self) -> int:
        return len({run.partition("/")[0] for run in self._runs})

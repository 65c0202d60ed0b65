"""Lines from a serial port, and the numbers in them. Bytes in, rows out; no I/O, no clock."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, cycle
from operator import add, mul
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from edgeagent.records import Float32Array

MAX_LINE_BYTES = 4096
SHOWN_BYTES = 40
_FLOAT32_MAX = 3.4e38


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One number of the line: value = number x scale + offset, in `unit`. `key` is what the device calls it."""

    name: str
    unit: str
    key: str = ""
    scale: float = 1.0
    offset: float = 0.0


class Rows(NamedTuple):
    """Parsed lines: float32[n, channels], and why some of it is NaN, each cause once with an example."""

    values: Float32Array
    reasons: tuple[str, ...]


class Splitter:
    """Cuts what comes at the ends of lines. What comes first after `restart` is taken for half a line, and left out."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """The port was opened anew."""
        self._partial = b""
        self._skipping = True

    def feed(self, data: bytes) -> bytes:
        """The lines that `data` completes, in one piece, with an end between each two.

        One longer than MAX_LINE_BYTES is given up as far as it has come.
        """
        lines, end, self._partial = (self._partial + data).rpartition(b"\n")
        if self._skipping and end:
            lines = lines.partition(b"\n")[2]
            self._skipping = False
        if len(self._partial) > MAX_LINE_BYTES:
            if not self._skipping:
                lines += b"\n" + self._partial
            self._partial, self._skipping = b"", True
        return lines


class LineParser:
    """Lines to rows; each format has its own way to read a line.

    `faults` counts lines by what was wrong with them since the start. After 10 ms of waiting the processor's caches
    hold nothing of ours, and a call to numpy costs 40 us: so there is one, for each block.
    """

    causes: ClassVar[tuple[str, ...]] = ("not_numbers", "too_long", "not_finite")

    def __init__(self, columns: list[Column]) -> None:
        self.faults: Counter[str] = Counter(dict.fromkeys(self.causes, 0))
        self._columns = columns
        self._splitter = Splitter()
        self._scale = [c.scale for c in columns]
        self._offset = [c.offset for c in columns]
        self._scaled, self._shifted = any(c.scale != 1.0 for c in columns), any(c.offset for c in columns)
        most = max((1.0, *map(abs, self._scale)))
        self._limit = (_FLOAT32_MAX - max(map(abs, self._offset))) / most
        self._reasons: dict[str, str] = {}

    def restart(self) -> None:
        """The port was opened anew."""
        self._splitter.restart()

    def feed(self, data: bytes) -> Rows:
        """The lines that `data` completes."""
        lines = self._splitter.feed(data)
        self._reasons = {}
        rows = self._in_bulk(lines) if lines else []
        if rows is None:
            rows = [self._finite(line) for line in lines.split(b"\n") if line.strip()]
        numbers: Iterator[float] = chain.from_iterable(rows)
        if self._scaled:
            numbers = map(mul, numbers, cycle(self._scale))
        if self._shifted:
            numbers = map(add, numbers, cycle(self._offset))
        width = len(self._columns)
        values = np.fromiter(numbers, np.float32, len(rows) * width).reshape(-1, width)
        return Rows(values, tuple(self._reasons.values()))

    def _in_bulk(self, lines: bytes) -> Sequence[Sequence[float]] | None:
        """A row for every line, all numbers below the limit; None if each line has to be looked at by itself."""
        del lines
        return None

    def _row(self, line: bytes) -> list[float | None]:
        """A number for each column; None where there is none, with the cause noted."""
        raise NotImplementedError

    def _finite(self, line: bytes) -> list[float]:
        """The line's row with NaN for whatever cannot be used."""
        if len(line) > MAX_LINE_BYTES:
            row = self._reject("too_long", f"no line end within {MAX_LINE_BYTES} bytes", line)
        else:
            row = self._row(line)
        usable = [number if number is not None and abs(number) < self._limit else math.nan for number in row]
        if any(number is not None and not abs(number) < self._limit for number in row):
            self._note("not_finite", "the device sent nan or inf")
        return usable

    def _reject(self, cause: str, what: str, line: bytes) -> list[float | None]:
        self._note(cause, f"{what}: {shown(line)}")
        return [None] * len(self._columns)

    def _note(self, cause: str, reason: str) -> None:
        self.faults[cause] += 1
        self._reasons.setdefault(cause, reason)


class CsvParser(LineParser):
    """`12.5,23.1`: a number for each column, in order."""

    causes = ("wrong_fields", *LineParser.causes)

    def __init__(self, columns: list[Column], delimiter: str = ",") -> None:
        super().__init__(columns)
        # A space separates however many of them there are; anything else separates even empty fields.
        self._delimiter = None if delimiter == " " else delimiter.encode()
        self._width = len(columns)
        number = Annotated[float, msgspec.Meta(gt=-self._limit, lt=self._limit)]
        self._decode = msgspec.json.Decoder(list[tuple[(number,) * len(columns)]]).decode  # type: ignore[misc]

    def _in_bulk(self, lines: bytes) -> Sequence[Sequence[float]] | None:
        """Lines of JSON numbers, as most are, go through the JSON parser: a quarter of the cost of `float`."""
        if self._delimiter != b",":
            if b"," in lines:
                return None
            lines = b"\n".join(b",".join(line.split(self._delimiter)) for line in lines.split(b"\n"))
        try:
            rows: list[tuple[float, ...]] = self._decode(b"[[" + lines.replace(b"\n", b"],[") + b"]]")
        except msgspec.DecodeError:
            return None
        return rows if len(rows) == lines.count(b"\n") + 1 else None

    def _row(self, line: bytes) -> list[float | None]:
        fields = line.split(self._delimiter)
        if len(fields) != self._width:
            return self._reject("wrong_fields", f"{len(fields)} fields, expected {self._width}", line)
        try:
            if b"_" in line:  # Python reads 1_0 as ten
                raise ValueError
            return list(map(float, fields))
        except ValueError:
            return self._reject("not_numbers", "not all numbers", line)


class _ByName(LineParser):
    """What the line calls by name; a name that a line lacks is missing in that row, and the others are there."""

    causes = ("not_there", *LineParser.causes)

    def _pick(self, line: bytes, texts: list[Any]) -> list[float | None]:
        """Numbers for what was found for each column, None standing for nothing."""
        row = [None if text is None else _number(text) for text in texts]
        absent = [key_of(c) for c, text in zip(self._columns, texts, strict=True) if text is None]
        found_no_number = sum(number is None for number in row) > len(absent)
        if absent:
            self._note("not_there", f"no {', '.join(map(repr, absent))} in {shown(line)}")
        if found_no_number:
            self._note("not_numbers", f"not all numbers: {shown(line)}")
        return row


class KeyValueParser(_ByName):
    """`T: 21.5 C, H=40%`: names and numbers with `:` or `=` between; a unit after the number is passed over."""

    def __init__(self, columns: list[Column]) -> None:
        super().__init__(columns)
        self._patterns = [
            re.compile(rb"(?<![\w.-])" + re.escape(key_of(c).encode()) + rb"\s*[:=]\s*([^\s,;]*)")
            for c in columns
        ]

    def _row(self, line: bytes) -> list[float | None]:
        found = (pattern.search(line) for pattern in self._patterns)
        return self._pick(line, [match and match[1].decode("utf-8", "replace") for match in found])


class JsonParser(_ByName):
    """`{"t": 21.5, "power": {"i": 3}}`: one object a line; a key inside another is written `power.i`."""

    causes = ("not_json", *_ByName.causes)

    def __init__(self, columns: list[Column]) -> None:
        super().__init__(columns)
        self._ways = [key_of(c).split(".") for c in columns]

    def _row(self, line: bytes) -> list[float | None]:
        try:
            found = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._reject("not_json", "no JSON object", line)
        return self._pick(line, [_follow(found, way) for way in self._ways])


def _follow(found: Any, way: list[str]) -> Any:
    for key in way:
        found = found.get(key) if isinstance(found, dict) else None
    return found


_NUMBER = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?(?:nan|inf))(?:[^\W\d_]|[%°/²³])*",
    re.IGNORECASE,
)


def _number(found: Any) -> float | None:
    """A number, a switch as 1 or 0, or the number that a text begins with if only a unit follows; else None."""
    if isinstance(found, int | float):
        return float(found)
    match = _NUMBER.fullmatch(found) if isinstance(found, str) else None
    return float(match[1]) if match else None


def key_of(column: Column) -> str:
    """What the device calls a column."""
    return column.key or column.name


def shown(line: bytes) -> str:
    """The beginning of a line, as a fault shows it; what is no text at all comes of a wrong baud rate, mostly."""
    beginning = line.strip()[:SHOWN_BYTES]
    if len(beginning.translate(None, _TEXT)) > len(beginning) / 2:
        return "bytes that are no text. Check `baud:`, then cable and ground"
    return repr(beginning.decode("ascii", "backslashreplace"))


_TEXT = bytes([*b"\t", *range(0x20, 0x7F)])

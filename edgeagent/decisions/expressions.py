"""A rule's `when:`: what may be written in it, the names that it uses, and its value. Speaks for simpleeval.

What a technician may write is a small closed language (`_Reader`): comparisons joined by and, or, not over
numbers, quoted text and dotted names. All of it is checked when the config is loaded; simpleeval then walks
a tree in which `motion.label` is one name, so that there are no attributes left to follow.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal, Protocol

from simpleeval import InvalidExpression, SimpleEval

from edgeagent.config.findings import alike
from edgeagent.decisions import Value
from edgeagent.errors import ConfigFault

MAX_CHARACTERS = 500
MAX_DEPTH = 30

_LANGUAGE = "comparisons joined by and, or, not; + - * / // % **; abs, min, max, round"
_WORDS = {"true": True, "false": False}
# By the character over which the parser trips, in the habits of other languages.
_HINTS = {"&": "Write and for &&.", "|": "Write or for ||.", "!": "Write not for !.", "=": "Equality is ==."}


def _of_numbers(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The same, refusing text, for which Python has other ideas (a format width can ask for gigabytes)."""

    def checked(a: Value, b: Value) -> Any:
        if isinstance(a, str) or isinstance(b, str):
            raise TypeError(f"arithmetic on text: {a!r}, {b!r}")
        return function(a, b)

    return checked


_ARITHMETIC: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _of_numbers(operator.add),
    ast.Sub: operator.sub,
    ast.Mult: _of_numbers(operator.mul),
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: _of_numbers(operator.mod),
    ast.Pow: math.pow,  # of floats: it overflows where ** on integers would run for minutes
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_QUESTIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def _round(number: float, digits: float = 0) -> float:
    return round(float(number), int(digits))


# Each function with the fewest and the most arguments that it takes.
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "abs": (abs, 1, 1),
    "max": (max, 2, 9),
    "min": (min, 2, 9),
    "round": (_round, 1, 2),
}

# What a part of an expression gives, as far as the text says; "any" is a name.
_Gives = Literal["question", "number", "text", "any"]


class Named(Protocol):
    """An expression or a template: `names` maps each name used to its column, from 1."""

    @property
    def names(self) -> Mapping[str, int]: ...


class Expression:
    """A question about named values, parsed once.

    `names` maps the dotted names that it uses to the column, from 1, of their first use.
    """

    def __init__(self, text: str, names: dict[str, int], tree: ast.expr) -> None:
        self.text = text
        self.names = names
        self._tree = tree
        functions = {name: function for name, (function, _, _) in _FUNCTIONS.items()}
        self._engine = SimpleEval(operators={**_ARITHMETIC, **_QUESTIONS}, functions=functions, names={})

    def evaluate(self, values: Mapping[str, Value]) -> bool:
        """The answer; `values` has every name. Raises ValueError if it has none (text + 1, 1 / 0)."""
        self._engine.names = values
        try:
            return bool(self._engine.eval(self.text, previously_parsed=self._tree))
        except (TypeError, ValueError, ArithmeticError, InvalidExpression) as e:
            raise ValueError(f"{self.text}: {e}") from e

    def compared(self) -> Iterator[tuple[str, str]]:
        """Each name with each text that it is compared with: `motion.label` with `running`."""
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Compare):
                for pair in pairwise((node.left, *node.comparators)):
                    for one, other in (pair, pair[::-1]):
                        match one, other:
                            case ast.Name(name), ast.Constant(str(text)):
                                yield name, text


def compile_expression(text: str) -> Expression:
    """Parse and check a `when:`. Raises ConfigFault whose `where` is the column in the text."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigFault(
            f"{len(text)} characters",
            expected=f"an expression of at most {MAX_CHARACTERS}",
            hint="Split it into several rules.",
        )
    source = text.replace("\n", " ")
    start = len(source) - len(source.lstrip())
    try:
        body = ast.parse(source[start:], mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise _syntax_fault(source, start, getattr(e, "offset", 0) or 0) from e
    reader = _Reader(source[start:], start)
    tree = reader.read(body, "question", 0)
    if not reader.names:
        raise ConfigFault(f"{text!r} asks about nothing", expected="a name such as motor.current")
    return Expression(text, reader.names, tree)


def _syntax_fault(source: str, start: int, offset: int) -> ConfigFault:
    """`offset` is the parser's, from 1; 0: it came to the end and wanted more."""
    at = start + offset - 1 if offset else len(source)
    what = f"unexpected {source[at:]!r}" if at < len(source) else "the expression stops short"
    hint = _HINTS.get(source[at : at + 1], "")
    return ConfigFault(what, where=f"column {at + 1}", expected=_LANGUAGE, hint=hint)


def check_names(used: Named, known: Iterable[str]) -> list[ConfigFault]:
    """A fault for every name that an expression or a template uses and nobody provides."""
    there = frozenset(known)
    return [
        unknown_name(name, there, where=f"column {column}")
        for name, column in used.names.items()
        if name not in there
    ]


def unknown_name(name: str, known: Iterable[str], *, where: str = "") -> ConfigFault:
    """The fault of naming what is not there: says what its sensor or pipeline has, and which of it is the nearest."""
    there = sorted(known)
    near = alike(name, there, cutoff=0.5)
    owners = tuple(f"{one.partition('.')[0]}." for one in (name, near) if "." in one)
    meant = [one for one in there if one.startswith(owners)]  # of a hundred names, those that help
    return ConfigFault(
        f"nothing is called {name}",
        where=where,
        expected=f"one of {', '.join(meant or there)}"
        if there
        else "a name that the config declares, and it declares none",
        hint=f"Did you mean {near}?" if near else "",
    )


class _Reader:
    """Checks a parsed expression and gives it back with every dotted name as a single one."""

    def __init__(self, text: str, start: int) -> None:
        self.names: dict[str, int] = {}
        self._bytes = text.encode()
        self._start = start

    def read(self, node: ast.expr, wanted: _Gives, depth: int) -> ast.expr:
        """The node for simpleeval. Raises ConfigFault if it does not give what is `wanted`."""
        if depth > MAX_DEPTH:
            raise self._fault(node, "nested too deeply", f"at most {MAX_DEPTH} levels")
        made, gives = self._translate(node, depth + 1)
        if "any" not in (wanted, gives) and wanted != gives:
            expected = "a comparison such as motor.current > 3.5" if wanted == "question" else "a number"
            raise self._fault(node, f"{self._excerpt(node)} is a {gives}", expected)
        return made

    def _translate(self, node: ast.expr, depth: int) -> tuple[ast.expr, _Gives]:
        match node:
            case ast.BoolOp(op, values):
                return ast.BoolOp(op, [self.read(v, "question", depth) for v in values]), "question"
            case ast.UnaryOp(ast.Not(), operand):
                return ast.UnaryOp(node.op, self.read(operand, "question", depth)), "question"
            case ast.Compare(left, ops, others) if all(type(o) in _QUESTIONS for o in ops):
                sides = [self.read(o, "any", depth) for o in others]
                return ast.Compare(self.read(left, "any", depth), ops, sides), "question"
            case ast.UnaryOp(op, operand) if type(op) in _ARITHMETIC:
                return ast.UnaryOp(op, self.read(operand, "number", depth)), "number"
            case ast.BinOp(left, op, right) if type(op) in _ARITHMETIC:
                sides = [self.read(side, "number", depth) for side in (left, right)]
                return ast.BinOp(sides[0], op, sides[1]), "number"
            case ast.Call(ast.Name(name), args, []) if name in _FUNCTIONS:
                return self._call(node, name, args, depth), "number"
            case ast.Constant(value) if isinstance(value, bool | int | float | str):
                return node, _constant_gives(value)
            case ast.Name(word) if word in _WORDS:
                return ast.Constant(_WORDS[word]), "question"
            case ast.Name() | ast.Attribute():
                return self._name(node), "any"
        raise self._fault(node, f"{self._excerpt(node)} cannot be used", _LANGUAGE)

    def _call(self, node: ast.Call, name: str, args: list[ast.expr], depth: int) -> ast.Call:
        _, fewest, most = _FUNCTIONS[name]
        if not fewest <= len(args) <= most:
            wanted = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self._fault(node, f"{name} with {len(args)} arguments", wanted)
        return ast.Call(node.func, [self.read(a, "number", depth) for a in args], [])

    def _name(self, node: ast.Name | ast.Attribute) -> ast.Name:
        words: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            words.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            raise self._fault(node, f"{self._excerpt(node)} cannot be used", _LANGUAGE)
        name = ".".join([inner.id, *reversed(words)])
        self.names.setdefault(name, self._column(inner))
        return ast.Name(name, ast.Load())

    def _column(self, node: ast.expr) -> int:
        return self._start + len(self._bytes[: node.col_offset].decode()) + 1

    def _excerpt(self, node: ast.expr) -> str:
        return self._bytes[node.col_offset : node.end_col_offset].decode()

    def _fault(self, node: ast.expr, what: str, expected: str) -> ConfigFault:
        return ConfigFault(what, where=f"column {self._column(node)}", expected=expected)


def _constant_gives(value: Value) -> _Gives:
    if isinstance(value, bool):
        return "question"
    return "text" if isinstance(value, str) else "number"

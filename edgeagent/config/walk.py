"""Walks a YAML document along the annotations of msgspec structs, and collects every fault on the way.

What a struct may be annotated with: another Struct, `dict[str, X]`, `list[X]`, `tuple[X, ...]`, a Literal, a
union, `X | None`, `Any`, the quantities of config/quantities.py, `Secret`, and `Part` marked with `Names`
(config/schema.py). A struct's `__post_init__` may raise a ConfigFault whose `where` is one of its keys: it is
reported there.

What is wrong in one entry must not hide what is wrong in the next: an entry, optional key or list element that
cannot be read is left out, and the walk goes on. Only a part's options are all right or not there at all.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path as FilePath
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from edgeagent.config import parts
from edgeagent.config.findings import Mark, Marks, Path, Report, alike, dotted, listed, nearest
from edgeagent.config.scalars import expected, plain, scalar
from edgeagent.config.schema import Names, Part
from edgeagent.config.secrets import Secret, SecretSource
from edgeagent.errors import ConfigFault

WRONG: Any = object()
"""Stands for a value that could not be had; a fault says why."""

_TAG = "tag:yaml.org,2002:"
_Pair = tuple[Node, Node]
_DEEPEST = 32


class Item(NamedTuple):
    """A key of a mapping, and what stands behind it."""

    key: str
    mark: Mark
    node: Node


class Walker:
    """Reads the nodes of one file.

    Args:
        report: Takes the findings.
        marks: Takes the place of each key and value.
        folder: What relative paths are relative to.
    """

    def __init__(self, report: Report, marks: Marks, folder: FilePath) -> None:
        self._report, self._marks, self._folder = report, marks, folder
        self._in_options = False

    def read(self, node: Node, wanted: Any, path: Path) -> Any:
        """The value of a node as the annotation `wanted` asks for it, or WRONG."""
        if len(path) > _DEEPEST:
            return self._wrong(path, "nested too deep", expected=f"at most {_DEEPEST} levels")
        kind, notes = peel(wanted)
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            return self._union(node, get_args(kind), path)
        if kind is Any:
            return self._plain(node, path)
        if kind is Secret:
            return self._secret(node, path)
        if kind is Part or _is_struct(kind):
            if kind is not Part:
                node = self._indented(node, partial(_is_of_field, kind), path)
            items = self.items(node, path)
            if items is None:
                return WRONG
            return self.part(items, notes[0], path) if kind is Part else self.struct(items, kind, path)
        if origin in (dict, Mapping):
            return self._mapping(node, get_args(kind)[1], path)
        if origin in (list, tuple):
            return self._sequence(node, origin, get_args(kind)[0], path)
        return self._scalar(node, kind, notes, path)

    def items(self, node: Node, path: Path) -> list[Item] | None:
        """The keys of a mapping, each once; none where nothing is written; None if it is no mapping."""
        if _is_nothing(node):
            return []
        if not isinstance(node, MappingNode):
            self._wrong(path, "not a mapping", found=_found(node), expected="`key: value` pairs")
            return None
        items: dict[str, Item] = {}
        for key_node, value_node in node.value:
            key, mark = str(key_node.value), _mark(key_node)
            if not isinstance(key_node, ScalarNode):
                self._report.fault(
                    mark, f"{dotted(path)}: not a key", found=_found(key_node), expected="a word"
                )
            elif key in items:
                what = f"{dotted((*path, key))}: given twice, first on line {items[key].mark.line}"
                self._report.fault(mark, what, expected="each key once")
            else:
                items[key] = Item(key, mark, value_node)
                place = _mark(value_node) if isinstance(value_node, ScalarNode) else mark
                self._marks.add((*path, key), mark, place, _text_mark(value_node))
        return list(items.values())

    def _indented(self, node: Node, strays: Callable[[_Pair, _Pair], bool], path: Path) -> Node:
        """A mapping as it was meant: keys that stand beside their owner are put below it, and told once.

        `strays(owner, pair)` says whether a pair that follows another can only belong below that.
        """
        if not isinstance(node, MappingNode) or node.flow_style:
            return node
        pairs: list[_Pair] = []
        strayed: dict[int, list[_Pair]] = {}
        for pair in node.value:
            if pairs and _may_go_on(pairs[-1][1]) and strays(pairs[-1], pair):
                strayed.setdefault(len(pairs) - 1, []).append(pair)
            else:
                pairs.append(pair)
        for at, moved in strayed.items():
            owner, value = pairs[at]
            own = value.value if isinstance(value, MappingNode) else []
            pairs[at] = owner, MappingNode(_TAG + "map", [*own, *moved], value.start_mark, value.end_mark)
            self._tell_strayed((*path, str(owner.value)), [key for key, _ in moved])
        return MappingNode(node.tag, pairs, node.start_mark, node.end_mark)

    def _tell_strayed(self, owner: Path, keys: list[Node]) -> None:
        which = ", ".join(str(key.value) for key in keys)
        self._report.fault(
            _mark(keys[0]),
            f"{dotted(owner)}: its keys stand beside it",
            found=which,
            expected=f"{'it' if len(keys) == 1 else 'them'} below '{owner[-1]}', indented deeper",
            hint="Put two spaces more before each of these lines.",
        )

    def struct(self, items: list[Item], struct: type[msgspec.Struct], path: Path) -> Any:
        """A struct from the keys of a mapping; a field that is a Part takes the keys that are not the struct's."""
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        values: dict[str, Any] = {}
        part = next((f for f in fields.values() if peel(f.type)[0] is Part), None)
        if part is not None:
            del fields[part.encode_name]
            rest = [item for item in items if item.key not in fields]
            items = [item for item in items if item.key in fields]
            values[part.name] = self.part(rest, peel(part.type)[1][0], path, tuple(fields))
        known = [field.encode_name for field in msgspec.structs.fields(struct)]
        unknown = [item for item in items if item.key not in fields]
        for item in unknown:
            self._unknown(item, path, known)
            values[item.key] = WRONG
        for item in items:
            if item.key in fields:
                field = fields.pop(item.key)
                values[field.name] = self.read(item.node, field.type, (*path, item.key))
        for missing in (f for f in fields.values() if f.required):
            values[missing.name] = WRONG
            if not any(_is_slip(item.key, missing.encode_name, known) for item in unknown):  # told already
                better = f"{missing.encode_name}: {describe(missing.type)}"
                self._wrong(path, f"the key '{missing.encode_name}' is missing", expected=better)
        required = {f.name for f in msgspec.structs.fields(struct) if f.required}
        sound = self._sound(values)
        complete = sound is not WRONG and required <= sound.keys()
        return self._build(struct, sound, path) if complete else WRONG

    def _sound(self, values: dict[Any, Any]) -> Any:
        """What could be read of several values; among a part's options WRONG if one of them could not."""
        sound = {key: value for key, value in values.items() if value is not WRONG}
        return WRONG if self._in_options and len(sound) < len(values) else sound

    def part(self, items: list[Item], names: Names, path: Path, shared: tuple[str, ...] = ()) -> Any:
        """The part that one of the keys names, with its options; `shared` keys were taken out before."""
        if names.by in ("driver", "task"):
            named = self._named_by_value(items, names, path)
        else:
            named = self._named_by_key(items, names.folder, path, shared)
        if named is None:
            return WRONG
        if names.by == "key":
            for beside in (item for item in items if item.key != named.name):
                self._unknown(beside, path, list(shared))
        try:
            wanted = parts.find(names.folder, named.name).Options
        except ConfigFault as fault:
            self._report.raised(named.mark, path, fault)
            return WRONG
        self._in_options = True
        options = self._options(items, named, names, wanted, path)
        self._in_options = False
        return WRONG if options is WRONG else Part(named.name, options)

    def _named_by_value(self, items: list[Item], names: Names, path: Path) -> _Named | None:
        key = names.by
        item = next((item for item in items if item.key == key), None)
        if item is None:
            there = f"{key}: {listed(parts.names(names.folder))}"
            near = next((n for n in (_meant(i.key, [key]) for i in items) if n), "")
            self._wrong(path, f"the key '{key}' is missing", expected=there, hint=near)
            return None
        name = self.read(item.node, str, (*path, key))
        return None if name is WRONG else _Named(name, self._marks.at((*path, key)))

    def _named_by_key(
        self, items: list[Item], folder: str, path: Path, shared: tuple[str, ...]
    ) -> _Named | None:
        known = parts.known(folder, {item.key for item in items})
        there = [item for item in items if item.key in known]
        if not items:
            expected = f"one of the keys {listed(parts.names(folder))}"
            self._wrong(path, "nothing says what it is", expected=expected)
        elif not there:
            for item in items:
                self._unknown(item, path, [*parts.names(folder), *shared])
        elif len(there) > 1:
            what = f"{dotted(path)}: two in one, {there[0].key} and {there[1].key}"
            self._report.fault(there[1].mark, what, expected="an entry for each")
        else:
            return _Named(there[0].key, there[0].mark)
        return None

    def _options(self, items: list[Item], named: _Named, names: Names, wanted: Any, path: Path) -> Any:
        if names.by in ("driver", "task"):
            return self.struct([item for item in items if item.key != names.by], wanted, path)
        if names.by == "policy":
            return self.struct(items, wanted, path)
        node = next(item.node for item in items if item.key == named.name)
        return self._value_of_key(node, wanted, (*path, named.name))

    def _value_of_key(self, node: Node, wanted: Any, path: Path) -> Any:
        """The options behind a key; a bare scalar fills the struct's only required key."""
        if _is_struct(wanted) and isinstance(node, ScalarNode) and not _is_nothing(node):
            required = [field for field in msgspec.structs.fields(wanted) if field.required]
            if len(required) == 1:
                value = self.read(node, required[0].type, path)
                return WRONG if value is WRONG else self._build(wanted, {required[0].name: value}, path)
        return self.read(node, wanted, path)

    def _build(self, struct: type[msgspec.Struct], values: dict[str, Any], path: Path) -> Any:
        try:
            return struct(**values)
        except ConfigFault as fault:
            place: Path = (*path, fault.where) if (*path, fault.where) in self._marks else path
            found = "" if place != path else fault.where
            return self._wrong(place, fault.what, found=found, expected=fault.expected, hint=fault.hint)

    def _secret(self, node: Node, path: Path) -> Any:
        if isinstance(node, MappingNode):
            source = self.struct(self.items(node, path) or [], SecretSource, path)
            return WRONG if source is WRONG else source.secret()
        better = "{credential: NAME}, {file: PATH} or {env: NAME}"
        if not isinstance(node, ScalarNode) or _is_nothing(node):
            return self._wrong(path, "not a secret", found=_kind(node), expected=better)
        self._report.warn(self._marks.at(path), f"{dotted(path)}: a secret in clear", expected=better)
        return Secret("clear", node.value)

    def _mapping(self, node: Node, wanted: Any, path: Path) -> Any:
        items = self.items(self._indented(node, partial(_is_of_entry, wanted), path), path)
        if items is None:
            return WRONG
        values = {item.key: self.read(item.node, wanted, (*path, item.key)) for item in items}
        return self._sound(values)

    def _sequence(self, node: Node, kind: Any, wanted: Any, path: Path) -> Any:
        if _is_nothing(node):
            return kind()
        if not isinstance(node, SequenceNode):
            return self._wrong(path, "not a list", found=_found(node), expected="a list")
        values = {}
        for index, one in enumerate(node.value):
            self._marks.add((*path, index), _mark(one), _mark(one), _text_mark(one))
            values[index] = self.read(one, wanted, (*path, index))
        sound = self._sound(values)
        # One of which nothing could be read must not be told to be empty.
        return WRONG if sound is WRONG or (values and not sound) else kind(sound.values())

    def _plain(self, node: Node, path: Path) -> Any:
        if isinstance(node, MappingNode):
            return self._mapping(node, Any, path)
        if isinstance(node, SequenceNode):
            return self._sequence(node, list, Any, path)
        try:
            return plain(node.value, str(node.tag))
        except ConfigFault as fault:
            self._report.raised(self._marks.at(path), path, fault)
            return WRONG

    def _union(self, node: Node, members: tuple[Any, ...], path: Path) -> Any:
        if _is_nothing(node) and type(None) in members:
            return None
        wanted = [member for member in members if member is not type(None)]
        if isinstance(node, MappingNode):  # what is wrong in the only struct that it can be is told in full
            wanted = [member for member in wanted if _is_struct(peel(member)[0])] or wanted
        if len(wanted) == 1:
            return self.read(node, wanted[0], path)
        for member in wanted:
            attempt = Report(self._report.file)
            value = Walker(attempt, self._marks, self._folder).read(node, member, path)
            if value is not WRONG:
                self._report.findings += attempt.findings
                return value
        return self._wrong(
            path, "does not fit", found=_found(node), expected=listed(describe(one) for one in wanted)
        )

    def _scalar(self, node: Node, kind: Any, notes: tuple[Any, ...], path: Path) -> Any:
        if not isinstance(node, ScalarNode) or _is_nothing(node):
            return self._wrong(path, "no value", found=_found(node), expected=expected(kind, notes))
        try:
            return scalar(node.value, str(node.tag), kind, notes, self._folder)
        except ConfigFault as fault:
            self._report.raised(self._marks.at(path), path, fault)
            return WRONG

    def _unknown(self, item: Item, path: Path, known: list[str]) -> None:
        self._report.fault(
            item.mark,
            f"{dotted(path)}: unknown key '{item.key}'" if path else f"unknown key '{item.key}'",
            expected=f"{'one of ' if len(known) > 1 else ''}{', '.join(known) or 'no key here'}",
            hint=_meant(item.key, known),
        )

    def _wrong(self, path: Path, what: str, *, found: str = "", expected: str = "", hint: str = "") -> Any:
        what = f"{dotted(path)}: {what}" if path else what
        self._report.fault(self._marks.at(path), what, found=found, expected=expected, hint=hint)
        return WRONG


def _is_slip(key: str, of: str, known: list[str]) -> bool:
    """Whether an unknown key is more like this one than like any other that is known."""
    return alike(key.partition(":")[0].casefold(), known) == of


def _meant(key: str, known: list[str]) -> str:
    """What to write instead of an unknown key. To YAML, `driver:sine` is one word."""
    word, colon, value = key.partition(":")
    if colon and word in known:
        return f"A space is missing after the colon: {word}: {value}"
    return nearest(key, known)


class _Named(NamedTuple):
    """The file that an entry names, and where it does."""

    name: str
    mark: Mark


def peel(wanted: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation without its Annotated, and what that carried."""
    if get_origin(wanted) is Annotated:
        kind, *notes = get_args(wanted)
        return kind, tuple(notes)
    return wanted, ()


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _may_go_on(value: Node) -> bool:
    """Whether more may be meant to be in it: it is empty, or was not closed by a bracket."""
    return _is_nothing(value) or (isinstance(value, MappingNode) and not value.flow_style)


def _is_of_entry(wanted: Any, owner: _Pair, pair: _Pair) -> bool:
    """Where each entry is a mapping, what is none belongs into the empty one before it."""
    is_entry = isinstance(pair[1], MappingNode) or _is_nothing(pair[1])
    return _is_struct(peel(wanted)[0]) and _is_nothing(owner[1]) and not is_entry


def _is_of_field(struct: type[msgspec.Struct], owner: _Pair, pair: _Pair) -> bool:
    """What is no key here, but one of the section before it; or an entry, and that is empty."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    section, key = owner[0].value, pair[0].value
    if section not in fields or key in fields or nearest(key, list(fields)):
        return False
    kind = peel(fields[section])[0]
    if _is_struct(kind):
        return key in {field.encode_name for field in msgspec.structs.fields(kind)}
    return get_origin(kind) is dict and _is_nothing(owner[1]) and isinstance(pair[1], MappingNode)


def _is_nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and bool(node.tag == _TAG + "null")


def _mark(node: Node) -> Mark:
    return Mark(node.start_mark.line + 1, node.start_mark.column + 1)


def _text_mark(node: Node) -> Mark | None:
    """Where the text of a scalar begins, if it stands on one line."""
    if not isinstance(node, ScalarNode) or node.start_mark.line != node.end_mark.line:
        return None
    line, column = _mark(node)
    return Mark(line, column + (node.style in ("'", '"')))


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    return "nothing" if _is_nothing(node) else "a value"


def _found(node: Node) -> str:
    plain_value = isinstance(node, ScalarNode) and not _is_nothing(node)
    return repr(node.value) if plain_value else _kind(node)


def describe(wanted: Any) -> str:
    """An annotation in a technician's words."""
    kind, notes = peel(wanted)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return listed(describe(one) for one in get_args(kind) if one is not type(None))
    if origin in (dict, Mapping) or _is_struct(kind):
        return "`key: value` pairs"
    if origin in (list, tuple):
        return "a list"
    return expected(kind, notes)


__all__ = ["WRONG", "Walker", "describe", "peel"]

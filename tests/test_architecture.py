"""Who may import whom, and who may do what: the tables below are the rules, held over the syntax tree.

`docs/design.md` has the reasons. Each rule is also shown a file that breaks it, so that none passes by seeing nothing.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE_LINES = 500

# Each layer may import those before it. In the layers of PEERS_APART no part imports another:
# each states what it needs of another as a Protocol in its own file.
LAYERS = (
    ("errors", "packing", "records", "timebase", "recording"),
    ("config",),
    ("units",),
    ("buses",),
    (
        "sensors",
        "actuators",
        "conditioning",
        "windows",
        "counts",
        "inference",
        "decisions",
        "sampling",
        "outbox",
        "upstream",
        "updates",
    ),
    ("joined",),
    ("pipeline",),
    ("agent", "serve", "health"),
    ("cli", "demo"),
    ("__main__",),
)
PEERS_APART = LAYERS[4]

# What stands outside the layers. `collector` is another program, on another machine.
COLLECTOR_IMPORTS = (
    "edgeagent.collector",
    "edgeagent.errors",
    "edgeagent.packing",
    "edgeagent.records",
    "edgeagent.upstream.archive",
    "edgeagent.upstream.codec",
)
ONLY_CLI_IMPORTS = ("collector", "demo")
FIRMWARE_BRIDGE_IMPORTS = ("cobs",)
IMPORT_FIRMWARE_BRIDGE = (
    "edgeagent/sensors/board_samples.py",
    "edgeagent/sensors/bridge.py",
    "edgeagent/actuators/bridge.py",
    "edgeagent/buses/fake/*",
    "edgeagent/buses/scan/*",
    "edgeagent/cli/bridge.py",
    "edgeagent/demo/*",
    "firmware_bridge/*",
)

# A third-party package is imported by one file a folder, the one that speaks for it; but for these.
EVERYWHERE = ("numpy", "msgspec")
ALL_OVER_A_FOLDER = (("cli", "click"), ("cli", "rich"), ("demo", "rich"), ("config", "ruamel"))


class Deed(NamedTuple):
    """Something that only few files may do: the names that do it, and the files."""

    names: tuple[str, ...]
    files: tuple[str, ...]


DEEDS = {
    "reads a clock or waits": Deed(
        ("time.*", "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.*.today"),
        ("edgeagent/agent/clock.py", "edgeagent/collector/*"),
    ),
    "starts a thread": Deed(
        ("threading.Thread", "threading.Timer", "_thread.*", "*.ThreadPoolExecutor", "*.Threading*"),
        (
            "edgeagent/agent/threads.py",
            "edgeagent/collector/*",
            "edgeagent/cli/collector.py",
            "edgeagent/demo/*",
        ),
    ),
    "starts a process": Deed(
        (
            "subprocess.*",
            "multiprocessing.*",
            "os.fork*",
            "os.exec*",
            "os.*spawn*",
            "os.system",
            "os.popen",
            "*.ProcessPoolExecutor",
        ),
        ("edgeagent/inference/supervisor.py", "edgeagent/demo/*", "edgeagent/collector/loadtest.py"),
    ),
    "prints": Deed(("print",), ("edgeagent/cli/*", "edgeagent/demo/*")),
}


@cache
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


class Source(NamedTuple):
    """One file: its path in the tree, and what it says."""

    path: str
    text: str

    @property
    def unit(self) -> str:
        """The folder or module right under `edgeagent`."""
        return Path(self.path).parts[1].removesuffix(".py")

    @property
    def tree(self) -> ast.Module:
        return _parse(self.text)


def _sources(*folders: str) -> list[Source]:
    paths = [p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))]
    return [Source(p.relative_to(ROOT).as_posix(), p.read_text()) for p in paths]


def _imports(source: Source) -> Iterator[tuple[str, str]]:
    """(alias, full dotted name) of every import, wherever in the file it stands."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((a.asname or a.name.split(".")[0], a.name) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((a.asname or a.name, f"{node.module}.{a.name}") for a in node.names)


def _uses(node: ast.AST) -> Iterator[ast.Attribute | ast.Name]:
    """Every name that is called or handed on; a type annotation is neither."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Attribute | ast.Name):
                yield child
            if isinstance(child, ast.AST):
                yield from _uses(child)


def _dotted(node: ast.AST) -> str:
    """`a.b.c` as it is written; "" for what is no plain name."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _may_import(unit: str) -> set[str]:
    """The units that a unit in the layers may import."""
    below: set[str] = set()
    for layer in LAYERS:
        if unit in layer:
            return below | ({unit} if layer == PEERS_APART else set(layer))
        below |= set(layer)
    raise KeyError(f"{unit} stands in no layer")


def break_the_layers(source: Source) -> Iterator[str]:
    if not source.path.startswith("edgeagent/") or source.unit in ("__init__", "collector"):
        return
    known = {unit for layer in LAYERS for unit in layer}
    for _, name in _imports(source):
        parts = name.split(".")
        if parts[0] == "edgeagent" and parts[1] in known - _may_import(source.unit):
            yield f"{source.path} imports {name}"


def import_what_is_not_theirs(source: Source) -> Iterator[str]:
    """`collector`, `demo` and `firmware_bridge`: whom they import, and who imports them."""
    for _, name in _imports(source):
        parts = name.split(".")
        ours = parts[0] == "edgeagent"
        allowed = True
        if source.path.startswith("firmware_bridge/"):
            third = parts[0] not in sys.stdlib_module_names and parts[0] != "firmware_bridge"
            allowed = not third or parts[0] in FIRMWARE_BRIDGE_IMPORTS
        elif ours and source.unit == "collector":
            allowed = any(name == a or name.startswith(f"{a}.") for a in COLLECTOR_IMPORTS)
        elif ours and parts[1] in ONLY_CLI_IMPORTS:
            allowed = source.unit in ("cli", parts[1])
        elif parts[0] == "firmware_bridge":
            allowed = any(fnmatch(source.path, pattern) for pattern in IMPORT_FIRMWARE_BRIDGE)
        if not allowed:
            yield f"{source.path} imports {name}"


def do_what_others_are_for(source: Source) -> Iterator[str]:
    names = dict(_imports(source))
    for node in _uses(source.tree):
        first, _, rest = _dotted(node).partition(".")
        full = ".".join(filter(None, (names.get(first, "" if rest else first), rest)))
        for deed, (patterns, files) in DEEDS.items():
            if any(fnmatch(full, p) for p in patterns) and not any(fnmatch(source.path, f) for f in files):
                yield f"{source.path}:{node.lineno} {deed}: {full}"


def are_too_long(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > LONGEST_FILE_LINES:
        yield f"{source.path} has {lines} lines"


def _shared_packages(sources: list[Source]) -> Iterator[str]:
    """Third-party packages that more than one file of a folder imports."""
    speakers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for source in sources:
        folder = source.unit if source.path.count("/") > 1 else Path(source.path).parent.name
        for _, name in _imports(source):
            package = name.split(".")[0]
            ours = package in ("edgeagent", "firmware_bridge") or package in sys.stdlib_module_names
            if not ours and package not in EVERYWHERE:
                speakers[folder, package].add(source.path)
    for key, paths in speakers.items():
        if len(paths) > 1 and key not in ALL_OVER_A_FOLDER:
            yield f"{key[1]} is imported by {', '.join(sorted(paths))}"


def _circle(sources: list[Source]) -> list[str]:
    """Modules that import one another in a circle, wherever in a file; but a package may name its own modules."""
    modules = {s.path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): s for s in sources}
    imported = {}
    for name, source in modules.items():
        named = {full if full in modules else full.rpartition(".")[0] for _, full in _imports(source)}
        imported[name] = {m for m in named & modules.keys() if m != name and not m.startswith(f"{name}.")}
    try:
        TopologicalSorter(imported).prepare()
    except CycleError as e:
        return list(e.args[1])
    return []


Rule = Callable[[Source], Iterator[str]]
IN_THE_PACKAGES: tuple[Rule, ...] = (break_the_layers, import_what_is_not_theirs, do_what_others_are_for)


@pytest.mark.parametrize("rule", IN_THE_PACKAGES, ids=lambda rule: rule.__name__)
def test_no_files(rule: Rule) -> None:
    assert [found for source in _sources("edgeagent", "firmware_bridge") for found in rule(source)] == []


def test_no_files_are_too_long() -> None:
    sources = _sources("edgeagent", "firmware_bridge", "tests", "models")
    assert [found for source in sources for found in are_too_long(source)] == []


def test_one_file_a_folder_speaks_for_a_third_party_package() -> None:
    assert list(_shared_packages(_sources("edgeagent", "firmware_bridge"))) == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert _circle(_sources("edgeagent", "firmware_bridge")) == []


def test_every_folder_of_the_package_stands_in_a_layer() -> None:
    known = {unit for layer in LAYERS for unit in layer} | {"collector", "__init__"}
    assert {source.unit for source in _sources("edgeagent")} - known == set()


@pytest.mark.parametrize(
    ("rule", "path", "line"),
    [
        (break_the_layers, "edgeagent/sensors/x.py", "from edgeagent.agent.clock import RealClock"),
        (break_the_layers, "edgeagent/sensors/x.py", "from edgeagent.outbox import Outbox"),
        (break_the_layers, "edgeagent/config/load.py", "def f():\n    import edgeagent.sensors.mpu6050"),
        (break_the_layers, "edgeagent/records.py", "from edgeagent import config"),
        (import_what_is_not_theirs, "edgeagent/collector/x.py", "from edgeagent.upstream.http import Sink"),
        (import_what_is_not_theirs, "edgeagent/agent/x.py", "from edgeagent.collector.store import Store"),
        (import_what_is_not_theirs, "edgeagent/demo/x.py", "from edgeagent.collector.store import Store"),
        (import_what_is_not_theirs, "edgeagent/sensors/x.py", "import firmware_bridge"),
        (import_what_is_not_theirs, "firmware_bridge/x.py", "from edgeagent.records import Block"),
        (import_what_is_not_theirs, "firmware_bridge/x.py", "import serial"),
        (do_what_others_are_for, "edgeagent/sensors/x.py", "import time as t\nt.sleep(1)"),
        (
            do_what_others_are_for,
            "edgeagent/sensors/x.py",
            "from time import monotonic_ns\nf(now=monotonic_ns)",
        ),
        (do_what_others_are_for, "edgeagent/sensors/x.py", "from datetime import datetime\ndatetime.now()"),
        (do_what_others_are_for, "edgeagent/sensors/x.py", "import threading\nthreading.Thread(target=f)"),
        (
            do_what_others_are_for,
            "edgeagent/agent/x.py",
            "from http.server import ThreadingHTTPServer as S\nS()",
        ),
        (do_what_others_are_for, "edgeagent/agent/x.py", "import os\nos.posix_spawn('x', [], {})"),
        (do_what_others_are_for, "edgeagent/agent/x.py", "print(1)"),
        (are_too_long, "tests/x.py", "\n" * 501),
    ],
)
def test_a_file_that_breaks_a_rule_is_found(rule: Rule, path: str, line: str) -> None:
    assert list(rule(Source(path, line))) != []


def test_a_circle_of_imports_is_found() -> None:
    """Also one that is hidden in a function."""
    there = Source("edgeagent/inference/a.py", "def f():\n    from edgeagent.inference.b import g")
    back = Source("edgeagent/inference/b.py", "from edgeagent.inference import a")
    assert sorted(set(_circle([there, back]))) == ["edgeagent.inference.a", "edgeagent.inference.b"]
    assert _circle([there]) == _circle([back]) == []


def test_two_files_that_speak_for_one_package_are_found() -> None:
    twice = [Source(f"edgeagent/buses/{name}.py", "import serial") for name in ("a", "b")]
    assert list(_shared_packages(twice)) == [
        "serial is imported by edgeagent/buses/a.py, edgeagent/buses/b.py"
    ]


def test_importing_every_package_brings_in_nothing_heavy() -> None:
    packages = [p.path.removesuffix("/__init__.py").replace("/", ".") for p in _sources("edgeagent")]
    code = f"""
import sys, importlib
for name in {[p for p in packages if not p.endswith(".py")]}:
    importlib.import_module(name)
print(*sorted({{name.split(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = set(done.stdout.split()) & {
        "ai_edge_litert", "onnxruntime", "obstore", "paho", "PIL", "pymodbus", "rich", "ruamel", "serial",
        "simpleeval", "smbus2", "tflite_runtime", "urllib3",
    }  # fmt: skip
    assert heavy == set()

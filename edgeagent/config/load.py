"""From a YAML file to a Config and everything that is wrong with it, each with its line and column.

`load` opens no device, no bundle and no secret. All faults come together; only a file that is no YAML at all
is reported alone, because nothing behind the mistake can be trusted.
"""

from __future__ import annotations

import hashlib
import keyword
import re
import socket
from pathlib import Path as FilePath

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

from edgeagent.config.findings import Finding, Mark, Marks, Path, Report, dotted
from edgeagent.config.quantities import parse_quantity
from edgeagent.config.schema import NAMESPACE, RESERVED, Config
from edgeagent.config.walk import WRONG, Walker
from edgeagent.errors import ConfigFault


class Loaded(msgspec.Struct, frozen=True):
    """What a file says: `config` is None if there is a fault among the findings.

    `draft` is what could be read of it even so (None: it is not YAML): agent/fit.py looks for more faults in it.
    """

    config: Config | None
    findings: list[Finding]
    sha256: str
    path: FilePath
    marks: Marks
    draft: Config | None


def load(path: FilePath) -> Loaded:
    """Read a config. Raises nothing: a file that cannot be read is a finding too."""
    report, marks = Report(str(path)), Marks()
    try:
        data = path.read_bytes()
    except OSError as e:
        hint = "`edgeagent init > FILE` makes one to start from." if isinstance(e, FileNotFoundError) else ""
        report.fault(
            Mark(1, 1), "the file cannot be read", found=e.strerror or "", expected="a YAML file", hint=hint
        )
        return Loaded(None, report.findings, "", path, marks, None)
    root = _compose(data, report)
    draft = None
    if not report.findings:
        draft = _draft(root, report, marks, path.absolute().parent)
    sound = all(finding.severity == "warning" for finding in report.findings)
    findings = sorted(report.findings, key=lambda f: (f.line, f.column))
    sha256 = hashlib.sha256(data).hexdigest()
    return Loaded(draft if sound else None, findings, sha256, path, marks, draft)


def require(loaded: Loaded) -> Config:
    """The config of a file without faults. Raises ConfigFault with all of them."""
    if loaded.config is None:
        raise ConfigFault("\n".join(str(f) for f in loaded.findings if f.severity == "fault"))
    return loaded.config


def _compose(data: bytes, report: Report) -> Node | None:
    """The file's nodes; a file that is not YAML is one fault."""
    try:
        root: Node | None = YAML().compose(data.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        line = data[: e.start].count(b"\n") + 1
        report.fault(Mark(line, 1), "not UTF-8 text", expected="YAML saved as UTF-8")
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        place = Mark(mark.line + 1, mark.column + 1) if mark else Mark(1, 1)
        problem = (e.problem or e.context or "").removeprefix("found ")
        report.fault(place, "not YAML", found=problem, expected="YAML 1.2", hint=_syntax_hint(problem))
    except (YAMLError, RecursionError) as e:
        report.fault(Mark(1, 1), "not YAML", found=type(e).__name__, expected="YAML 1.2")
    else:
        return root
    return None


def _syntax_hint(problem: str) -> str:
    hints = {
        r"'\\t'|tab": "YAML is indented by spaces, not tabs.",
        "mapping values are not allowed": "Indent it like its neighbours; put text that holds ': ' in quotes.",
        "expected <block end>": "Indent it like its neighbours.",
        "expected ',' or": "A bracket that was opened before this is not closed, or a comma is missing.",
        "could not find expected ':'": "The line before this lacks a ':' or a closing quote.",
        "while scanning a quoted scalar|unexpected end of stream": "A quote is not closed.",
        "single document|document start": "One file is one document: leave out '---'.",
        "undefined alias": "Put text that begins with '*' in quotes.",
    }
    return next((hint for found, hint in hints.items() if re.search(found, problem)), "")


def _draft(root: Node | None, report: Report, marks: Marks, folder: FilePath) -> Config:
    """What could be read; `root` is None for an empty file."""
    read = WRONG if root is None else Walker(report, marks, folder).read(root, Config, ())
    draft: Config = Config() if read is WRONG else read
    _check_names(report, marks)
    return _with_device_id(draft, report, marks)


def _check_names(report: Report, marks: Marks) -> None:
    """Sensors, pipelines and actuators share one namespace, for they meet in the rules' expressions."""
    taken: dict[str, Path] = {}
    for section in NAMESPACE:
        for path in marks.under((section,)):
            name, mark = str(path[-1]), marks.key(path)
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name) or keyword.iskeyword(name):
                report.fault(
                    mark,
                    f"{dotted(path)}: not a name",
                    found=repr(name),
                    expected="letters, digits and _, for rules use it",
                    hint=f"Did you mean '{re.sub('[^A-Za-z0-9_]', '_', name)}'?",
                )
            elif name in RESERVED:
                report.fault(
                    mark, f"{dotted(path)}: a reserved name", expected=f"none of {', '.join(RESERVED)}"
                )
            elif name in taken:
                first = f"{dotted(taken[name])} on line {marks.key(taken[name]).line}"
                report.fault(
                    mark,
                    f"{dotted(path)}: the name is taken by {first}",
                    expected="a name of its own for each sensor, pipeline and actuator",
                )
            taken.setdefault(name, path)


def _with_device_id(config: Config, report: Report, marks: Marks) -> Config:
    given = config.device.id
    if not given:
        hostname = socket.gethostname()
        report.warn(
            marks.key(("device",)),
            f"device.id is missing, so the hostname '{hostname}' is used",
            expected="device: {id: NAME}",
            hint="Two devices of one hostname cannot be told apart upstream.",
        )
        return msgspec.structs.replace(config, device=msgspec.structs.replace(config.device, id=hostname))
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,62}", given):
        report.fault(
            marks.at(("device", "id")),
            "device.id: not a name",
            found=repr(given),
            expected="up to 63 letters, digits, '.', '_' and '-'",
        )
    return config


__all__ = ["Finding", "Loaded", "Marks", "load", "parse_quantity", "require"]

"""Loading a delegate: a vendor's shared library that runs a model's operators on other silicon.

It is foreign code in this process, so this runs in the worker. ctypes opens the library first: what it says of one
that is missing or of another machine is better than what the runtime makes of it.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from edgeagent.inference import edgetpu
from edgeagent.inference.faults import AcceleratorFault

_CREATE = "tflite_plugin_create_delegate"
_MACHINES = {
    3: "32-bit x86",
    40: "32-bit Arm",
    62: "x86-64",
    183: "64-bit Arm",
    243: "RISC-V",
}  # elf(5), e_machine


class Accelerator(NamedTuple):
    """`name` as it stands in predictions; the delegate's `library` or the `provider` of ONNX Runtime, and its options.

    The CPU has neither.
    """

    name: str
    library: str = ""
    options: Mapping[str, str] = {}
    provider: str = ""

    @property
    def is_cpu(self) -> bool:
        return not self.library and not self.provider


CPU = Accelerator("cpu")
EDGETPU = Accelerator("edgetpu", edgetpu.LIBRARY)


def load_delegate(accelerator: Accelerator, load: Callable[[str, dict[str, str]], Any]) -> Any:
    """The runtime's delegate object, by the runtime's own `load`. Raises AcceleratorFault in a technician's words."""
    library = accelerator.library
    try:
        opened = ctypes.CDLL(library)
    except OSError as e:
        if library == EDGETPU.library:
            raise AcceleratorFault("the Edge TPU's library is not there", hint=edgetpu.advice()) from e
        raise AcceleratorFault(
            f"the delegate cannot be loaded: {_wrong_machine(library) or e}", hint=_HINT
        ) from e
    if not hasattr(opened, _CREATE):
        raise AcceleratorFault(
            f"{library} is a shared library, but no TFLite delegate",
            expected=f"the symbol {_CREATE} in it",
            hint="Vendors ship several libraries: take the one that they call delegate",
        )
    try:
        return load(library, dict(accelerator.options))
    except ValueError as e:
        words = str(e).partition("\n")[2].strip() or "it gives no reason"
        hint = edgetpu.advice() if library == EDGETPU.library else _REFUSED
        raise AcceleratorFault(f"{library} refuses: {words}", hint=hint) from e


_HINT = "Correct accelerator.external.library, or install the vendor's package for this machine"
_REFUSED = "See whether the device is there, this user may open it, and the options are right"


def _wrong_machine(library: str) -> str:
    """Whether the file is for another processor; the loader would say that there is no such file."""
    theirs, ours = _machine(Path(library)), _machine(Path("/proc/self/exe"))
    if theirs is None or theirs == ours:
        return ""
    return (
        f"{library} is for {_MACHINES.get(theirs, theirs)}, this program for {_MACHINES.get(ours or 0, ours)}"
    )


def _machine(file: Path) -> int | None:
    """The `e_machine` of an ELF file; None if it is none, or not there."""
    try:
        with open(file, "rb") as elf:
            head = elf.read(20)
    except OSError:
        return None
    return int(struct.unpack_from("<H", head, 18)[0]) if len(head) == 20 and head[:4] == b"\x7fELF" else None

"""What a model may run on, and in which order: from the config's `accelerator` and the bundle's variants to choices.

A variant says what it was made for: `cpu` (any interpreter), `edgetpu` (compiled for it), or `external` (compiled for
the delegate or provider that the config names). Whatever was asked for, the CPU is the last resort, if the bundle has
a file for it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, TypeAlias

from edgeagent.config.parts import pip_install
from edgeagent.config.schema import External
from edgeagent.errors import BundleFault, ConfigFault
from edgeagent.inference.bundle import Bundle, Variant
from edgeagent.inference.delegates import CPU, EDGETPU, Accelerator
from edgeagent.inference.formats import ONNX, TFLITE, has_runtime

Requested: TypeAlias = str | External
"""As the config has it."""

_EDGETPU = re.compile(r"edgetpu(?::(usb|pci|\d+))?")


class Choice(NamedTuple):
    """A file of the bundle, and what it is to run on."""

    variant: Variant
    accelerator: Accelerator

    def __str__(self) -> str:
        on = f" on {self.accelerator.name}" if not self.accelerator.is_cpu else ""
        return self.variant.name + on


def spoken(requested: Requested) -> str:
    """In one word, for status and predictions: `auto`, `edgetpu:usb`, `external:libvx_delegate.so`."""
    if isinstance(requested, str):
        return requested
    return f"external:{requested.external.provider or Path(requested.external.library).name}"


def choices_for(bundle: Bundle, requested: Requested) -> tuple[Choice, ...]:
    """What to try, best first. Raises ConfigFault or BundleFault, saying what there is."""
    chosen = _chosen(bundle, requested)
    if not chosen:
        has = ", ".join(v.accelerator for v in bundle.variants)
        wanted = "cpu or edgetpu" if requested == "auto" else spoken(requested)
        raise BundleFault(
            f"bundle {bundle.name} has no variant for {wanted}; it has: {has}",
            where=str(bundle.folder / "bundle.yaml"),
            hint="Add a model file for it, or ask for what there is",
        )
    if not any(has_runtime(choice.variant.file) for choice in chosen):
        raise BundleFault(
            f"bundle {bundle.name} is for ONNX Runtime, which is not installed",
            where=str(bundle.folder / "bundle.yaml"),
            hint=f"Install it: {pip_install('edgeagent[onnx]')}",
        )
    return tuple(chosen)


def _chosen(bundle: Bundle, requested: Requested) -> list[Choice]:
    on_cpu = _variants(bundle, "cpu", CPU)
    if requested == "cpu":
        return on_cpu
    if requested == "auto":
        known = [*on_cpu, *_variants(bundle, "edgetpu", EDGETPU)]
        return [choice for variant in bundle.variants for choice in known if choice.variant is variant]
    accelerator = _parse(requested)
    is_edgetpu = isinstance(requested, str)
    best = _variants(bundle, "edgetpu" if is_edgetpu else "external", accelerator)
    if not best and not is_edgetpu:  # most delegates take the operators of the plain model
        best = _variants(bundle, "cpu", accelerator)
    return [*best, *on_cpu] if best else []


def _variants(bundle: Bundle, kind: str, accelerator: Accelerator) -> list[Choice]:
    """Those made for it; a delegate is of TFLite, a provider of ONNX Runtime, and neither takes another file."""
    takes = ONNX if accelerator.provider else TFLITE
    fitting = [v for v in bundle.variants if accelerator.is_cpu or v.file.suffix.lower() == takes]
    return [Choice(variant, accelerator) for variant in fitting if variant.accelerator == kind]


def _parse(requested: Requested) -> Accelerator:
    """The delegate that was asked for by name. Raises ConfigFault if there is none of that name."""
    if isinstance(requested, External):
        external = requested.external
        return Accelerator(spoken(requested), external.library, external.options, external.provider)
    match = _EDGETPU.fullmatch(requested)
    if match is None:
        raise ConfigFault(
            f"accelerator {requested!r} is not known here",
            expected="auto, cpu, edgetpu, edgetpu:usb, edgetpu:pci, edgetpu:N, or external: with library or provider",
            hint="auto takes the best that the bundle and the machine both have",
        )
    if match[1] is None:
        return EDGETPU
    device = f":{match[1]}" if match[1].isdigit() else match[1]  # libedgetpu's own words
    return EDGETPU._replace(name=requested, options={"device": device})

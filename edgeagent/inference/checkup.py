"""Is a bundle right, and what of it runs on this machine: the steps of `edgeagent model check`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference import Engine
from edgeagent.inference.bundle import Bundle, Variant, load_bundle
from edgeagent.inference.choices import choices_for
from edgeagent.inference.faults import AcceleratorFault
from edgeagent.inference.golden import load_golden

MakeEngine = Callable[[Bundle], Engine]
"""An engine for `auto`, not started."""


class Step(msgspec.Struct, frozen=True):
    """`skipped`: it cannot be tried on this machine, and that is nobody's fault."""

    what: str
    result: Literal["ok", "fault", "skipped"]
    detail: str


def check_bundle(folder: Path, make_engine: MakeEngine) -> Iterator[Step]:
    """All that can be said of a bundle, step by step; what a fault makes pointless is left out."""
    try:
        bundle = load_bundle(folder)
    except BundleFault as fault:
        yield Step("bundle.yaml", "fault", str(fault))
        return
    yield Step("bundle.yaml", "ok", _described(bundle))
    sound = []
    for variant in bundle.variants:
        step = _file(variant)
        yield step
        if step.result == "ok":
            sound.append(variant)
    golden = _golden(bundle)
    yield golden
    if golden.result == "ok":
        runs = [_run(bundle, variant, make_engine) for variant in sound]
        yield from runs
        if sound and all(run.result == "skipped" for run in runs):
            yield Step("this machine", "fault", "no variant runs on it")


def _described(bundle: Bundle) -> str:
    channels = ", ".join(f"{c.name} ({c.unit})" for c in bundle.layout.channels)
    window = f"{bundle.window_s:g} s at {bundle.layout.rate_hz:g} Hz = {bundle.samples} samples"
    made = " x ".join(map(str, bundle.chain.form.shape))
    prepared = f"; the model is given {made}" if bundle.chain.form != bundle.chain.given else ""
    return f"{bundle.name} {bundle.version}: {window} of {channels}{prepared}; {bundle.task.gives}"


def _file(variant: Variant) -> Step:
    try:
        size = len(variant.read())
    except BundleFault as fault:
        return Step(variant.name, "fault", str(fault))
    return Step(variant.name, "ok", f"{size} bytes, SHA-256 {variant.sha256[:12]}... as bundle.yaml says")


def _golden(bundle: Bundle) -> Step:
    try:
        count = len(load_golden(bundle).inputs)
    except BundleFault as fault:
        return Step(bundle.golden.file.name, "fault", str(fault))
    return Step(bundle.golden.file.name, "ok", f"{count} vectors, tolerance {bundle.golden.tolerance:g}")


def _run(bundle: Bundle, variant: Variant, make_engine: MakeEngine) -> Step:
    """The golden vectors through one variant alone."""
    what = f"{variant.name} on {variant.accelerator}"
    alone = msgspec.structs.replace(bundle, variants=(variant,))
    try:
        choices_for(alone, "auto")
    except BundleFault:
        return Step(what, "skipped", "made for a delegate that a config names: external: {library: ...}")
    engine = make_engine(alone)
    try:
        engine.start()
        return Step(what, "ok", _agreement(alone, engine))
    except AcceleratorFault as fault:
        return Step(what, "skipped", str(fault))
    except (BundleFault, InferenceFault) as fault:
        return Step(what, "fault", str(fault))
    finally:
        engine.close()


def _agreement(bundle: Bundle, engine: Engine) -> str:
    golden = load_golden(bundle)
    scores = np.array([engine.predict(one, "golden", i).scores for i, one in enumerate(golden.inputs)])
    off, status = np.abs(scores - golden.outputs).max(), engine.status()
    return (
        f"golden vectors: the largest difference is {off:.4f}, {status['clipped']:.2%} of the inputs were clipped "
        f"({status['backend']})"
    )

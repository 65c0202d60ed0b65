"""A model file that cannot run here is refused by its name, with what to do about it."""

from __future__ import annotations

import hashlib
import re
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tiny import write_bundle

from edgeagent.agent.clock import VirtualClock
from edgeagent.config.parts import pip_install
from edgeagent.errors import BundleFault, ConfigFault
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.choices import choices_for
from edgeagent.inference.faults import AcceleratorFault
from edgeagent.inference.formats import refuse_foreign, way_to_bundle
from edgeagent.inference.inline import Inline
from edgeagent.inference.onnx import OnnxModel
from edgeagent.inference.tensors import Signature

pytestmark = pytest.mark.tflite_runtime


@pytest.mark.parametrize(
    ("file", "cure"),
    [
        ("model.mlmodel", "Core ML is Apple's alone: export the network"),
        ("model.mlpackage", "Core ML is Apple's alone: export the network"),
        ("saved_model", "from_saved_model(FOLDER)"),
        ("saved_model.pb", "from_saved_model(FOLDER)"),
        ("model.keras", "from_keras_model(MODEL)"),
        ("model.h5", "from_keras_model(MODEL)"),
        ("model.pt", "torch.onnx.export(...)"),
        ("model.PTH", "torch.onnx.export(...)"),
        ("model.exe", "Convert the model"),
    ],
)
def test_a_foreign_model_is_told_how_to_be_converted(file: str, cure: str) -> None:
    with pytest.raises(ConfigFault) as fault:
        refuse_foreign(file)
    assert "not a model that runs here; expected a .tflite or .onnx file" in str(fault.value)
    assert cure in str(fault.value)


@pytest.mark.parametrize("file", ["m.tflite", "m.onnx", "M.TFLITE"])
def test_what_runs_here_is_not_refused(file: str) -> None:
    refuse_foreign(file)


def test_the_line_in_bundle_yaml_is_named_and_nothing_that_only_follows_from_it(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    file = tmp_path / "bundle.yaml"
    file.write_text(file.read_text().replace("model_0.tflite", "model.pt"))
    with pytest.raises(BundleFault) as refusal:
        load_bundle(tmp_path)
    says = r"bundle.yaml:\d+:\d+: variants\[0\].file: not a model that runs here"
    assert re.search(says, str(refusal.value))
    assert "variants: none" not in str(refusal.value)


def test_without_onnx_runtime_a_bundle_that_needs_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
    bundle, install = write_bundle(tmp_path, [b"onnx"], suffix="onnx"), pip_install("edgeagent[onnx]")
    with pytest.raises(
        BundleFault, match=re.escape(f"ONNX Runtime, which is not installed. Install it: {install}")
    ):
        choices_for(bundle, "auto")
    with pytest.raises(AcceleratorFault, match=f"needs ONNX Runtime.* Install it: {re.escape(install)}"):
        OnnxModel(b"onnx", Signature(1, 1, 1, [0.0], [1.0]), 1)


def test_without_onnx_runtime_a_bundle_that_has_a_tflite_variant_too_serves_with_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    bundle = write_bundle(tmp_path)
    (tmp_path / "model_0.onnx").write_bytes(b"onnx")
    text = (tmp_path / "bundle.yaml").read_text()
    digest = hashlib.sha256(b"onnx").hexdigest()
    onnx = f"variants: [{{file: model_0.onnx, sha256: {digest}, accelerator: cpu}}, "
    (tmp_path / "bundle.yaml").write_text(text.replace("variants: [", onnx))
    with closing(Inline(load_bundle(bundle.folder), "auto", VirtualClock(10**15))) as engine:
        engine.start()
        assert engine.status()["got"] == "cpu"
        assert "model_0.tflite, because model_0.onnx: an .onnx model needs ONNX Runtime" in str(
            engine.status()["why"]
        )


def test_who_names_a_model_in_a_bundles_place_is_told_the_way_to_one(tmp_path: Path) -> None:
    ways = {
        name: way_to_bundle(Path(name)) for name in ("m.tflite", "m.onnx", "m.keras", "activity", "m.exe")
    }
    assert ways["m.tflite"].endswith("a bundle a folder around one: edgeagent model new m.tflite")
    assert "`edgeagent model schema` has its keys" in ways["m.onnx"]
    assert ways["m.keras"].endswith("from_keras_model(MODEL), then: edgeagent model new")
    assert (ways["activity"], ways["m.exe"], way_to_bundle(tmp_path)) == ("", "", "")
    (tmp_path / "saved_model.pb").touch()
    assert "from_saved_model(FOLDER), then: edgeagent model new" in way_to_bundle(tmp_path)

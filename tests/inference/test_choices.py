"""From what the config asks for and the bundle has to what is tried, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import classifier, write_bundle

from edgeagent.config.schema import Delegate, External
from edgeagent.errors import BundleFault, ConfigFault
from edgeagent.inference.choices import Requested, choices_for, spoken

pytestmark = pytest.mark.tflite_runtime

NPU = External(external=Delegate(library="/usr/lib/libvx_delegate.so", options={"cache": "/tmp/x"}))


def tried(folder: Path, requested: Requested, *made_for: str) -> list[str]:
    bundle = write_bundle(folder, [classifier()] * len(made_for), accelerators=made_for)
    return [str(choice) for choice in choices_for(bundle, requested)]


@pytest.mark.parametrize(
    ("requested", "made_for", "expected"),
    [
        ("auto", "edgetpu cpu", ["model_0.tflite on edgetpu", "model_1.tflite"]),
        ("auto", "cpu edgetpu", ["model_0.tflite", "model_1.tflite on edgetpu"]),
        ("auto", "external cpu hailo", ["model_1.tflite"]),
        ("cpu", "edgetpu cpu cpu", ["model_1.tflite", "model_2.tflite"]),
        ("edgetpu:usb", "cpu edgetpu", ["model_1.tflite on edgetpu:usb", "model_0.tflite"]),
        ("edgetpu", "edgetpu", ["model_0.tflite on edgetpu"]),
        (NPU, "edgetpu cpu", ["model_1.tflite on external:libvx_delegate.so", "model_1.tflite"]),
        (NPU, "cpu external", ["model_1.tflite on external:libvx_delegate.so", "model_0.tflite"]),
    ],
)
def test_what_was_asked_for_comes_first_and_the_cpu_last(
    tmp_path: Path, requested: Requested, made_for: str, expected: list[str]
) -> None:
    assert tried(tmp_path, requested, *made_for.split()) == expected


@pytest.mark.parametrize(
    ("requested", "device"),
    [("edgetpu:usb", "usb"), ("edgetpu:pci", "pci"), ("edgetpu:0", ":0"), ("edgetpu:12", ":12")],
)
def test_an_edge_tpu_may_be_chosen_by_bus_or_number(tmp_path: Path, requested: str, device: str) -> None:
    (only,) = choices_for(write_bundle(tmp_path, accelerators=["edgetpu"]), requested)
    assert only.accelerator == (requested, "libedgetpu.so.1", {"device": device}, "")


def test_a_delegate_has_its_options_from_the_config(tmp_path: Path) -> None:
    first = choices_for(write_bundle(tmp_path), NPU)[0].accelerator
    assert first == ("external:libvx_delegate.so", "/usr/lib/libvx_delegate.so", {"cache": "/tmp/x"}, "")
    assert spoken(NPU) == "external:libvx_delegate.so"


@pytest.mark.parametrize("word", ["gpu", "edgetpu:", "edgetpu:usb:1", "CPU", ""])
def test_an_accelerator_that_nobody_knows_is_refused_with_those_that_are(tmp_path: Path, word: str) -> None:
    with pytest.raises(
        ConfigFault, match=f"accelerator '{word}' is not known here; expected auto, cpu, edgetpu"
    ):
        tried(tmp_path, word, "cpu")


@pytest.mark.parametrize(
    ("requested", "made_for", "says"),
    [
        ("cpu", "edgetpu", "no variant for cpu; it has: edgetpu"),
        ("edgetpu:usb", "cpu", "no variant for edgetpu:usb; it has: cpu"),
        ("auto", "hailo", "no variant for cpu or edgetpu; it has: hailo"),
        (NPU, "edgetpu", "no variant for external:libvx_delegate.so; it has: edgetpu"),
    ],
)
def test_a_bundle_without_a_variant_for_it_says_what_it_has(
    tmp_path: Path, requested: Requested, made_for: str, says: str
) -> None:
    with pytest.raises(BundleFault, match=says):
        tried(tmp_path, requested, made_for)

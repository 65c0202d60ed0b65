"""`model check` finds what is wrong with a bundle before a board does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import classifier, windows, write_bundle

from edgeagent.agent.clock import RealClock
from edgeagent.inference import Engine
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.checkup import Step, check_bundle
from edgeagent.inference.supervisor import Supervisor

pytestmark = pytest.mark.tflite_runtime


def in_a_child(bundle: Bundle) -> Engine:
    return Supervisor(bundle, "auto", RealClock())


def steps(folder: Path) -> list[Step]:
    return list(check_bundle(folder, in_a_child))


def results(found: list[Step]) -> list[tuple[str, str]]:
    return [(step.what, step.result) for step in found]


def test_a_good_bundle_is_ok_in_every_step_and_its_agreement_is_told(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    found = steps(tmp_path)
    assert results(found) == [
        ("bundle.yaml", "ok"),
        ("model_0.tflite", "ok"),
        ("golden.npz", "ok"),
        ("model_0.tflite on cpu", "ok"),
    ]
    assert "4 samples of x (m/s2), y (m/s2), z (m/s2); 3 labels" in found[0].detail
    assert "the largest difference is 0.0000, " in found[-1].detail


def test_every_variant_is_run_by_itself(tmp_path: Path) -> None:
    write_bundle(tmp_path, [classifier(custom_op="Absent"), classifier()])
    *_, first, second = steps(tmp_path)
    assert (first.result, second.result) == ("fault", "ok")
    assert "the operator Absent" in first.detail


def test_a_variant_for_an_accelerator_that_is_not_there_is_passed_over(tmp_path: Path) -> None:
    write_bundle(tmp_path, [classifier()] * 3, accelerators=["edgetpu", "external", "cpu"])
    *_, coral, delegate, cpu = steps(tmp_path)
    assert (coral.result, delegate.result, cpu.result) == ("skipped", "skipped", "ok")
    assert "libedgetpu" in coral.detail
    assert "external: {library: ...}" in delegate.detail


def test_a_bundle_of_which_nothing_runs_here_is_a_fault(tmp_path: Path) -> None:
    write_bundle(tmp_path, accelerators=["external"])
    assert steps(tmp_path)[-1] == Step("this machine", "fault", "no variant runs on it")


def test_a_file_with_another_hash_is_never_run(tmp_path: Path) -> None:
    write_bundle(tmp_path).variants[0].file.write_bytes(classifier()[:-1])
    assert results(steps(tmp_path)) == [
        ("bundle.yaml", "ok"),
        ("model_0.tflite", "fault"),
        ("golden.npz", "ok"),
    ]


def test_a_model_of_another_shape_is_a_fault(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    yaml = tmp_path / "bundle.yaml"
    yaml.write_text(yaml.read_text().replace("[rest, walk, run]", "[rest, walk]"))
    np.savez(bundle.golden.file, inputs=windows(), outputs=np.zeros((5, 2)))
    assert "the model's output has the shape [1, 3]" in steps(tmp_path)[-1].detail


def test_golden_vectors_that_do_not_agree_are_a_fault_with_the_difference(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    np.savez(bundle.golden.file, inputs=windows(), outputs=np.full((5, 3), 2.0))
    last = steps(tmp_path)[-1]
    assert last.result == "fault"
    assert "a difference of" in last.detail


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_golden_vectors_that_cannot_be_read_are_a_fault_and_nothing_is_run(
    tmp_path: Path, content: bytes
) -> None:
    write_bundle(tmp_path).golden.file.write_bytes(content)
    assert results(steps(tmp_path))[-1] == ("golden.npz", "fault")


def test_a_bundle_that_cannot_be_read_is_one_fault(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (tmp_path / "bundle.yaml").write_text("name: [")
    assert results(steps(tmp_path)) == [("bundle.yaml", "fault")]

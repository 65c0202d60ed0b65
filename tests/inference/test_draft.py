"""What a model's tensors say of its window, and when they do not."""

from __future__ import annotations

import pytest
from tiny import classifier

from edgeagent.errors import BundleFault
from edgeagent.inference.describe import describe
from edgeagent.inference.draft import Shape, shape_of
from edgeagent.inference.facts import ModelFacts, TensorFacts

pytestmark = pytest.mark.tflite_runtime


def facts(*inputs: list[int], outputs: int = 1) -> ModelFacts:
    tensors = [TensorFacts(f"t{i}", "float32", shape, [], []) for i, shape in enumerate(inputs)]
    return ModelFacts(1, tensors, [TensorFacts("out", "float32", [1, 3], [], [])] * outputs, {}, {})


def test_samples_channels_and_labels_are_read_from_the_tensors() -> None:
    assert shape_of(describe(classifier())) == Shape(4, 3, 3)
    assert shape_of(facts([-1, 100, 6])) == Shape(100, 6, 3)
    assert shape_of(facts([1, 100, 1, 6])) == Shape(100, 6, 3)


def test_a_tensor_of_height_width_and_colours_is_a_picture_unless_it_is_said_to_be_none() -> None:
    assert shape_of(facts([1, 96, 64, 3])) == Shape(1, 3, 3, (96, 64))
    assert shape_of(facts([-1, 48, 48, 1])) == Shape(1, 1, 3, (48, 48))
    assert shape_of(facts([1, 96, 64, 3]), "window") == Shape(96 * 64, 3, 3)
    assert shape_of(facts([1, 100, 1, 3])) == Shape(100, 3, 3)
    assert shape_of(facts([1, 100, 1, 3]), "pictures") == Shape(1, 3, 3, (100, 1))
    with pytest.raises(BundleFault, match="do not say what a picture is"):
        shape_of(facts([1, 100, 6]), "pictures")


@pytest.mark.parametrize(
    "unclear",
    [
        facts([1, 600]),
        facts([1, -1, 6]),
        facts([1, 100, 3], [1, 100, 3]),
        facts([1, 100, 6], outputs=2),
        facts([]),
        facts(),
    ],
    ids=["flat", "free", "two inputs", "two outputs", "a scalar", "none"],
)
def test_tensors_that_do_not_say_it_are_shown(unclear: ModelFacts) -> None:
    with pytest.raises(BundleFault, match=r"do not say what a window is .*Write bundle\.yaml by hand"):
        shape_of(unclear)

"""A few hundred malformed models; `make fuzz-models` tries ten thousand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import MUTATIONS, mutant
from tiny import classifier

PROGRAM = Path(__file__).parent / "fuzz.py"


def fuzzed(model_format: str, mutants: int) -> dict[str, object]:
    """What the program says of so many mutants; in a process of its own, since it forks its workers."""
    command = [sys.executable, str(PROGRAM), "--format", model_format, "--mutants", str(mutants)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize(
    ("model_format", "mutants"),
    [pytest.param("tflite", 300, marks=pytest.mark.tflite_runtime), ("onnx", 100)],
)
def test_the_agent_survives_malformed_models_and_runs_none_whose_hash_is_not_the_bundles(
    model_format: str, mutants: int
) -> None:
    result = fuzzed(model_format, mutants)
    outcomes = result["outcomes"]
    assert isinstance(outcomes, dict)
    assert sum(outcomes.values()) == result["mutants"] == mutants
    assert result["ran_unhashed"] == 0
    workers = result["workers"]
    assert isinstance(workers, int)
    assert workers >= mutants, "each has met a worker under its own hash; what died there is tried once more"
    assert outcomes["refused"] > mutants / 4, "they are malformed indeed"
    assert result["well_afterwards"] is True


def test_a_mutant_is_always_the_same_and_never_what_it_was_made_from() -> None:
    model = classifier()
    made = [mutant(model, number) for number in range(100)]
    assert made == [mutant(model, number) for number in range(100)]
    assert model not in made
    assert {number % len(MUTATIONS) for number in range(100)} == set(range(len(MUTATIONS)))

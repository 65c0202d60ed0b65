"""The image classifier is what its card says, and works from a folder of JPEGs to records; on the core install."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agents import Site, running
from PIL import Image
from ruamel.yaml import YAML

from edgeagent.agent.clock import VirtualClock
from edgeagent.inference import Engine
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.golden import load_golden
from edgeagent.inference.inline import Inline

FOLDER = Path(__file__).parents[2] / "models" / "surface"
KEYS: dict[str, Any] = YAML(typ="safe").load((FOLDER / "bundle.yaml").read_text())
BUNDLE = load_bundle(FOLDER)
PICTURES = sorted((FOLDER / "pictures").iterdir())
CONFIG = f"""\
sensors:
  eye: {{driver: camera, folder: {FOLDER / "pictures"}, rate: 10 Hz}}
models: {{surface: {{bundle: surface}}}}
pipelines:
  ground: {{input: eye, model: surface, window: {{hop: 0.1 s}}, deadline: 60 s}}
rules:
  wall: {{when: ground.label == "brick", do: [{{event: {{message: "brick"}}}}]}}
  lawn: {{when: ground.label == "grass", do: [{{event: {{message: "{{ground.label}}, {{ground.score:.2f}}"}}}}]}}
  path: {{when: ground.label == "gravel", do: [{{event: {{message: "gravel"}}}}]}}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Inline(BUNDLE, "auto", VirtualClock())
    engine.start()
    yield engine
    engine.close()


def label(engine: Engine, picture: bytes) -> str | None:
    return BUNDLE.task.read(engine.predict((picture,)).scores).label


def test_it_is_as_small_and_as_right_as_its_card_says() -> None:
    metrics, card = KEYS["metrics"], (FOLDER / "README.md").read_text()
    assert BUNDLE.variants[0].file.stat().st_size == metrics["size_bytes"] < 20_000
    assert f"{metrics['size_bytes']} bytes" in card
    assert metrics["accuracy_int8"] > metrics["accuracy_float"] - 0.01
    for name in ("accuracy_float", "accuracy_int8", "accuracy_pictures"):
        assert f"{metrics[name]:.1%}" in card, name
    assert "A demo, not a claim" in card


def test_every_shipped_picture_is_called_what_its_name_says(engine: Engine) -> None:
    found = [label(engine, picture.read_bytes()) for picture in PICTURES]
    right = [one == picture.stem.rpartition("-")[0] for one, picture in zip(found, PICTURES, strict=True)]
    assert len(right) == 12
    assert np.mean(right) == pytest.approx(KEYS["metrics"]["accuracy_pictures"], abs=0.09)


def test_light_does_not_count(engine: Engine, tmp_path: Path) -> None:
    for picture in PICTURES:
        with Image.open(picture) as bright:
            bright.convert("L").point(lambda value: value // 2 + 60).save(tmp_path / "dull.png")
        assert label(engine, (tmp_path / "dull.png").read_bytes()) == picture.stem.rpartition("-")[0]


def test_the_golden_pictures_hold_every_label_and_are_pixels(engine: Engine) -> None:
    golden = load_golden(BUNDLE)
    assert set(golden.outputs.argmax(1)) == {0, 1, 2}
    assert (golden.inputs.min(), golden.inputs.max()) >= (0, 200)
    scores = np.array([engine.predict(one).scores for one in golden.inputs])
    np.testing.assert_allclose(scores, golden.outputs, atol=BUNDLE.golden.tolerance)


def test_source_and_licence_of_the_photos_are_in_the_card_and_in_the_notice() -> None:
    for page in (FOLDER / "README.md", FOLDER.parents[1] / "NOTICE"):
        text = page.read_text()
        assert all(word in text for word in ("CC0-1.0", "CC0Textures", "Linolafett", "Bricks25", "Gravel04"))
    assert sum(picture.stat().st_size for picture in PICTURES) < 50_000


def test_the_baseline_covers_the_colours_and_labels() -> None:
    baseline = json.loads((FOLDER / KEYS["baseline"]).read_text())
    assert list(baseline["inputs"]) == ["red", "green", "blue"]
    assert sum(baseline["labels"].values()) == pytest.approx(1, abs=1e-3)


def test_from_a_folder_of_jpegs_through_camera_and_model_to_predictions_and_a_rule(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.write(CONFIG)
    with running(site) as agent:
        agent.until(lambda s: s["counts"]["rules_fired"].keys() >= {"wall", "lawn", "path"})
        agent.stop()
    made = [body for body in site.bodies("prediction") if body["skipped"] is None]
    assert {body["label"] for body in made} == {"brick", "grass", "gravel"}
    assert {(body["model"], body["variant"]) for body in made} == {("surface", "surface_int8.tflite")}
    said = [body["message"] for body in site.bodies("event") if body["type"] == "alert"]
    assert any(re.fullmatch(r"grass, [01]\.\d\d", one) for one in said)

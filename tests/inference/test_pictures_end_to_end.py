"""From a folder of pictures to labels, decisions and files at the collector: the real agent, with a model that sees."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from agents import Site, process, running, wait_for
from flatmodel import FULLY_CONNECTED, INT8, INT32, SOFTMAX, Op, Tensor, model
from PIL import Image

from edgeagent.collector.server import Server
from edgeagent.collector.store import Store
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.engine import signature
from edgeagent.inference.tflite import TfliteModel, find_runtime

SIDE = 4
RED, BLUE = (230, 20, 10), (10, 30, 220)
BUNDLE = """\
name: door
version: "1"
task: classification
input:
  channels: [{{name: red, unit: "1"}}, {{name: green, unit: "1"}}, {{name: blue, unit: "1"}}]
  shape: [{side}, {side}]
  rate: 1 Hz
  window: 1 s
  hop: 0.1 s
  scaling: {{mean: [0, 0, 0], std: [1, 1, 1]}}
output: {{labels: [red, blue], scores: probabilities}}
variants: [{{file: door.tflite, sha256: {sha256}, accelerator: cpu}}]
golden: {{file: golden.npz, tolerance: 0.05}}
licence: Apache-2.0
"""
CONFIG = """\
sensors:
  front: {driver: camera, folder: pictures, rate: 10 Hz}
models: {door: {bundle: ./door}}
pipelines:
  door: {input: front, model: door}
rules:
  opened: {when: door.label == "red", do: [{event: {message: "{door.label} at {front.file_size:.0f} B"}}]}
sampling:
  budget: {per_day: 1 GB}
  policies: {everything: {uniform: 1.0}}
"""


def more_red_than_blue() -> bytes:
    """A .tflite that adds up red and takes away blue, and the other way round."""
    pixels = SIDE * SIDE
    weights = np.array([[1, 0, -1] * pixels, [-1, 0, 1] * pixels], np.int8)
    tensors = [
        Tensor((1, SIDE, SIDE, 3), INT8, 1.0, -128),
        Tensor((2, 3 * pixels), INT8, 0.01, 0, weights),
        Tensor((2,), INT32, 0.01, 0, np.zeros(2, np.int32)),
        Tensor((1, 2), INT8, 0.4, 0),
        Tensor((1, 2), INT8, 1 / 256, -128),
    ]
    ops = [Op(FULLY_CONNECTED, (0, 1, 2), (3,)), Op(SOFTMAX, (3,), (4,))]
    return model(tensors, ops, [0], [4])


def write_bundle(folder: Path) -> None:
    folder.mkdir()
    data = more_red_than_blue()
    (folder / "door.tflite").write_bytes(data)
    (folder / "bundle.yaml").write_text(BUNDLE.format(side=SIDE, sha256=hashlib.sha256(data).hexdigest()))
    (folder / "golden.npz").touch()
    runtime = TfliteModel(find_runtime(), data, signature(load_bundle(folder)))
    inputs = np.random.default_rng(5).integers(0, 256, (4, SIDE * SIDE, 3)).astype(np.float32)
    outputs = np.array([runtime.predict(one)[0] for one in inputs])
    np.savez(folder / "golden.npz", inputs=inputs, outputs=outputs)


def picture(colour: tuple[int, int, int], form: str = "JPEG") -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, form)
    return out.getvalue()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    write_bundle(site.folder / "door")
    (site.folder / "pictures").mkdir()
    for name, colour in (("1.jpg", RED), ("2.jpg", BLUE)):
        (site.folder / "pictures" / name).write_bytes(picture(colour))
    return site


@contextmanager
def collecting(folder: Path) -> Iterator[str]:
    """A collector; gives its address."""
    server = Server(Store(folder), "127.0.0.1", 0)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def collected(dataset: Path) -> list[tuple[str | None, bytes]]:
    """Label and file of each picture of which there is a line: its files are there before it.

    A busy machine misses pictures, too: the sample of one that is missing is none.
    """
    lines = (line for day in (dataset / "records").glob("*.jsonl") for line in day.read_text().splitlines())
    samples = [entry for entry in map(json.loads, lines) if entry["body"].get("encoding") == "jpeg"]
    return [
        (entry["body"]["prediction"]["label"], (dataset / "samples" / f"{entry['sample']}.jpg").read_bytes())
        for entry in samples
    ]


def test_what_the_camera_saw_is_labelled_decided_on_and_collected_as_the_file_that_it_was(
    site: Site,
) -> None:
    dataset = site.folder / "dataset"
    with collecting(dataset) as url:
        site.write(CONFIG, f"outbox: {{flush: 0.1 s}}\nupstream: {{fleet: {{http: {{url: {url}}}}}}}\n")
        with running(site) as agent:
            agent.until(lambda s: s["counts"]["rules_fired"].get("opened", 0) > 1)
            wait_for(lambda: {label for label, _ in collected(dataset)} >= {"red", "blue"})
            agent.stop()
    assert {one for one in collected(dataset) if one[0]} == {("red", picture(RED)), ("blue", picture(BLUE))}


def test_a_replay_of_a_cameras_journal_sees_the_same_pictures_and_two_are_alike_to_the_byte(
    site: Site,
) -> None:
    site.write(CONFIG)
    journal = site.folder / "journal"
    with running(site, "--journal", str(journal)) as agent:
        agent.until(lambda s: s["counts"]["rules_fired"].get("opened", 0) > 1)
        agent.stop()
    live = [body["message"] for body in site.bodies("event") if body["type"] == "alert"]
    records = []
    for name in ("first.jsonl", "second.jsonl"):
        with process(site, "replay", journal, "-c", site.config, "--records", site.folder / name) as replay:
            assert replay.wait() == 0, replay.said
        records.append((site.folder / name).read_bytes())
    assert records[0] == records[1]
    told = [json.loads(line)["body"] for line in records[0].splitlines()]
    assert [body["message"] for body in told if body.get("type") == "alert"] == live
    assert len(live) > 1


def test_a_picture_that_is_broken_in_its_middle_is_missing_with_the_reason_and_the_next_is_seen(
    site: Site,
) -> None:
    whole = picture(RED, "PNG")
    middle = whole.index(b"IDAT") + 8
    broken = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    (site.folder / "pictures" / "3.png").write_bytes(broken)
    site.write(CONFIG)
    with running(site) as agent:
        agent.until_said("model door: a broken picture")
        agent.until_said("model door answers again")
        agent.stop()
    broken_ones = [b for b in site.bodies("prediction") if "broken picture" in b.get("error", "")]
    assert {(body["skipped"], body["label"]) for body in broken_ones} == {("missing", None)}

"""A picture of any size becomes what the model was trained on; Pillow says what that is."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatmodel import UINT8, Tensor, passing
from PIL import Image, ImageOps

from edgeagent.agent.clock import VirtualClock
from edgeagent.buses.camera.picture import decode
from edgeagent.config.schema import Part
from edgeagent.errors import BundleFault, ConfigFault, DeviceFault
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.inline import Inline
from edgeagent.inference.preprocess import Form
from edgeagent.inference.preprocess.chain import Chain
from edgeagent.records import Channel

BILINEAR = Image.Resampling.BILINEAR
RGB = tuple(Channel(name, "1") for name in ("red", "green", "blue"))
WIDE, TALL, SMALL = (160, 90), (90, 160), (12, 20)


def photo(size: tuple[int, int]) -> Image.Image:
    """Smooth, as photographs are."""
    coarse = np.random.default_rng(1).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def file(picture: Image.Image, form: str, **more: Any) -> bytes:
    out = BytesIO()
    picture.save(out, form, **more)
    return out.getvalue()


PILLOWS: dict[Any, Any] = {
    "stretch": lambda picture, size: picture.resize(size, BILINEAR),
    "letterbox": lambda picture, size: ImageOps.pad(picture, size, BILINEAR),
    "crop": lambda picture, size: ImageOps.fit(picture, size, BILINEAR),
}
policies = pytest.mark.parametrize("policy", PILLOWS)


@policies
@pytest.mark.parametrize("size", [WIDE, TALL, SMALL], ids=["wide", "tall", "small"])
def test_a_picture_is_resized_as_pillow_does(policy: Any, size: tuple[int, int]) -> None:
    picture = photo(size)
    ours = decode(file(picture, "PNG"), 48, 32, resize=policy)
    np.testing.assert_array_equal(ours, np.asarray(PILLOWS[policy](picture, (48, 32))))


@policies
def test_of_a_jpeg_only_as_much_is_unpacked_as_is_needed_and_it_looks_the_same(policy: Any) -> None:
    """Draft mode gives an eighth, a quarter or half of each side; what is left to do is the same resize."""
    data = file(photo((1280, 720)), "JPEG", quality=95)
    ours = decode(data, 96, 96, resize=policy).astype(int)
    whole = np.asarray(PILLOWS[policy](Image.open(BytesIO(data)), (96, 96))).astype(int)
    assert np.abs(ours - whole).mean() < 1
    assert np.percentile(np.abs(ours - whole), 99) <= 6


def test_a_letterbox_is_black_beside_the_picture() -> None:
    white = Image.new("RGB", (100, 50), "white")
    ours = decode(file(white, "PNG"), 20, 20, resize="letterbox")
    assert ours[:5].max() == ours[-5:].max() == 0
    assert ours[5:15].min() == 255


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_grey_palette_and_transparency_become_colours(mode: str) -> None:
    data = file(Image.new("RGB", (10, 10), "white").convert(mode), "PNG")
    assert decode(data, 5, 5, resize="stretch").tolist() == [[[255] * 3] * 5] * 5


def test_colours_come_in_the_order_of_training_or_as_pillows_grey() -> None:
    pixels = np.asarray(photo((8, 6))).reshape(-1, 3).astype(np.float32)
    given = Form((1, 6, 8, 3), RGB, 0.0)
    bgr = Chain([Part("colours", "bgr")], given)
    np.testing.assert_array_equal(bgr(pixels), pixels[:, ::-1])
    assert [c.name for c in bgr.form.channels] == ["blue", "green", "red"]
    grey = Chain([Part("colours", "grey")], given)
    assert grey.form.shape == (1, 6, 8, 1)
    pillows = np.asarray(photo((8, 6)).convert("L")).reshape(-1, 1).astype(float)
    assert np.abs(grey(pixels) - pillows).max() <= 0.51  # Pillow rounds to a whole level


def test_normalise_takes_each_picture_by_itself_over_all_colours_or_each() -> None:
    pixels = np.asarray(photo((8, 6))).reshape(-1, 3).astype(np.float32)
    given = Form((1, 6, 8, 3), RGB, 0.0)
    every = Chain([Part("normalise", "all")], given)(pixels)
    np.testing.assert_allclose(every, (pixels - pixels.mean()) / pixels.std(), rtol=1e-4, atol=1e-5)
    each = Chain([Part("normalise", "channel")], given)(pixels)
    np.testing.assert_allclose(each, (pixels - pixels.mean(0)) / pixels.std(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["detrend", "resample"])
def test_a_picture_has_no_samples_in_time(name: str) -> None:
    with pytest.raises(ConfigFault, match="its rows are not samples in time"):
        Chain([Part(name, "linear")], Form((1, 6, 8, 3), RGB, 0.0))


def test_colours_of_what_is_no_picture_are_refused() -> None:
    with pytest.raises(ConfigFault, match="channels are x; expected red, green, blue"):
        Chain([Part("colours", "bgr")], Form((6, 1), (Channel("x", "V"),), 5.0))


YAML = """\
name: picture
version: "1"
task: embedding
input:
  channels: [{{name: red, unit: "1"}}, {{name: green, unit: "1"}}, {{name: blue, unit: "1"}}]
  rate: 1 Hz
  window: 1 s
  hop: 1 s
  shape: [6, 8]
  resize: {resize}
  preprocess: [{{colours: bgr}}]
output: {{size: 144}}
variants: [{{file: m.tflite, sha256: {sha256}, accelerator: cpu}}]
golden: {{file: golden.npz, tolerance: 0}}
"""


def bundle(folder: Path, resize: str = "letterbox") -> Path:
    """Its model gives back the bytes that it takes."""
    model = passing(Tensor((1, 6, 8, 3), UINT8))
    (folder / "m.tflite").write_bytes(model)
    text = YAML.format(resize=resize, sha256=hashlib.sha256(model).hexdigest())
    (folder / "bundle.yaml").write_text(text)
    pixels = np.asarray(photo((8, 6))).reshape(1, -1, 3)
    np.savez(
        folder / "golden.npz", inputs=pixels, outputs=pixels[:, :, ::-1].reshape(1, -1).astype(np.float32)
    )
    return folder


def test_the_model_gets_the_bytes_of_the_resized_picture_in_its_own_order_of_colours(tmp_path: Path) -> None:
    engine = Inline(load_bundle(bundle(tmp_path)), "auto", VirtualClock())
    engine.start()
    scores = engine.predict((file(photo(WIDE), "PNG"),)).scores
    expected = np.asarray(ImageOps.pad(photo(WIDE), (8, 6), BILINEAR))[:, :, ::-1]
    assert scores == tuple(expected.reshape(-1).tolist())
    assert engine.status()["clipped"] == 0
    with pytest.raises(DeviceFault, match="broken picture"):
        engine.predict((file(photo(WIDE), "PNG")[:-40],))


def test_a_way_to_resize_that_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(BundleFault, match="not one of the choices, found 'squash', expected crop, letterbox"):
        load_bundle(bundle(tmp_path, "squash"))

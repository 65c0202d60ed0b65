"""The steps before the model on what a device has, numpy alone: numbers from the formulas themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeagent.config import parts
from edgeagent.config.schema import Part
from edgeagent.inference.preprocess import Form
from edgeagent.inference.preprocess.chain import FOLDER, Chain
from edgeagent.records import Channel

pytestmark = pytest.mark.tflite_runtime


def options(name: str) -> type:
    found: type = parts.find(FOLDER, name).Options
    return found


def test_a_sine_on_a_slope_comes_through_detrend_filter_and_spectrum_as_butterworth_says() -> None:
    t = np.arange(1000) / 100
    window = (3 * np.sin(2 * np.pi * 7 * t) + 5 + 0.5 * t)[:, None].astype(np.float32)
    steps = [
        Part("detrend", "linear"),
        Part("low_pass", options("low_pass")(to=10.0, order=4, zero_phase=True)),
        Part("fft_magnitude", options("fft_magnitude")(from_=5.0, to=10.0)),
    ]
    chain = Chain(steps, Form((1000, 1), (Channel("x", "V"),), 100.0))
    warped = math.tan(math.pi * 7 / 100) / math.tan(math.pi * 10 / 100)
    both_ways = 1 / (1 + warped**8)
    assert chain.form.shape == (51, 1)
    assert chain(window)[20, 0] == pytest.approx(3 * both_ways, rel=0.01)


def test_resampling_keeps_a_slow_sine_and_drops_what_the_new_rate_cannot_show() -> None:
    t, new_t = np.arange(500) / 100, np.arange(200) / 40
    slow, quick = np.sin(2 * np.pi * t), np.sin(2 * np.pi * 35 * t)
    resample = [Part("resample", options("resample")(to=40.0))]
    chain = Chain(resample, Form((500, 2), (Channel("x", "V"), Channel("y", "V")), 100.0))
    made = chain(np.stack([slow, quick], axis=1).astype(np.float32))
    assert np.abs(made[:, 0] - np.sin(2 * np.pi * new_t))[5:-5].max() < 0.01
    assert np.abs(made[20:-20, 1]).max() < 0.01


def test_statistics_of_a_square_wave_are_those_of_the_textbook() -> None:
    square = np.tile([2.0, -2.0], 50)[:, None].astype(np.float32)
    names = ["mean", "std", "rms", "peak", "crest", "skewness", "kurtosis"]
    chain = Chain([Part("statistics", names)], Form((100, 1), (Channel("x", "V"),), 100.0))
    assert chain(square)[:, 0].tolist() == [0, 2, 2, 2, 1, 0, -2]

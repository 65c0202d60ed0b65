"""Each step of `preprocess:` computes what SciPy does, which is not on the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config import parts
from edgeagent.config.schema import Part
from edgeagent.errors import ConfigFault
from edgeagent.inference.preprocess import Form, butterworth
from edgeagent.inference.preprocess.chain import FOLDER, Chain
from edgeagent.records import Channel

RATE_HZ = 100.0
IMU = tuple(Channel(f"acc_{a}", "m/s2") for a in "xyz") + tuple(Channel(f"gyro_{a}", "rad/s") for a in "xyz")
GIVEN = Form((500, 6), IMU, RATE_HZ)


def window(samples: int = 500) -> Any:
    """float32[samples, 6]: a tone of 7 Hz, a drift, gravity on one axis, noise."""
    t = np.arange(samples)[:, None] / RATE_HZ
    noise = np.random.default_rng(3).normal(0, 0.3, (samples, 6))
    tone = np.sin(2 * np.pi * 7 * t + np.arange(6))
    return (tone + noise + t * np.arange(6) + [0, 0, 9.80665, 0, 0, 0]).astype(np.float32)


def step(name: str, options: Any, given: Form = GIVEN) -> Chain:
    module = parts.find(FOLDER, name)
    return Chain(
        [Part(name, module.Options(**options) if isinstance(options, dict) and name != "unit" else options)],
        given,
    )


def close(ours: Any, theirs: Any) -> None:
    """As near as float32 can be that came from float64."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_detrend_is_scipys(kind: Any) -> None:
    close(step("detrend", kind)(window()), scipy.signal.detrend(window().astype(float), axis=0, type=kind))


FILTERS: list[tuple[str, str, dict[str, float], Any]] = [
    ("low_pass", "lowpass", {"to": 20.0}, 20.0),
    ("high_pass", "highpass", {"from_": 2.0}, 2.0),
    ("band_pass", "bandpass", {"from_": 5.0, "to": 20.0}, [5.0, 20.0]),
    ("band_stop", "bandstop", {"from_": 5.0, "to": 20.0}, [5.0, 20.0]),
]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize(("name", "kind", "edges", "scipys"), FILTERS, ids=[f[0] for f in FILTERS])
def test_a_filter_is_scipys_butterworth(
    name: str, kind: str, edges: dict[str, float], scipys: Any, order: int
) -> None:
    sos = scipy.signal.butter(order, scipys, kind, fs=RATE_HZ, output="sos")
    x = window().astype(float)
    rest = scipy.signal.sosfilt_zi(sos)[:, :, None] * x[0]
    close(step(name, {**edges, "order": order})(window()), scipy.signal.sosfilt(sos, x, axis=0, zi=rest)[0])
    both_ways = step(name, {**edges, "order": order, "zero_phase": True})(window())
    close(both_ways, scipy.signal.sosfiltfilt(sos, x, axis=0))


@settings(max_examples=60)
@given(
    order=st.integers(1, 6),
    edges=st.lists(st.floats(0.02, 0.97), min_size=1, max_size=2, unique=True).filter(
        lambda e: len(e) == 1 or abs(e[0] - e[1]) > 0.02
    ),
    other=st.booleans(),
)
def test_any_design_has_scipys_frequency_response(order: int, edges: list[float], other: bool) -> None:
    edges = sorted(edges)
    if len(edges) == 1:
        kind, band = (
            ("high", butterworth.Band(edges[0], None)) if other else ("low", butterworth.Band(None, edges[0]))
        )
    else:
        kind, band = "bandstop" if other else "bandpass", butterworth.Band(edges[0], edges[1], stop=other)
    sos = scipy.signal.butter(order, edges if len(edges) == 2 else edges[0], kind, output="sos")
    ours = [[s.b0, s.b1, s.b2, 1.0, s.a1, s.a2] for s in butterworth.design(band, order, 2.0)]
    theirs = scipy.signal.sosfreqz(sos, 256)[1]
    np.testing.assert_allclose(scipy.signal.sosfreqz(np.array(ours), 256)[1], theirs, atol=1e-6)


@pytest.mark.parametrize("samples", [28, 31, 32, 33, 64, 333])
def test_a_filter_takes_windows_of_any_length(samples: int) -> None:
    sos = scipy.signal.butter(4, 20.0, fs=RATE_HZ, output="sos")
    x = window(samples).astype(float)
    rest = scipy.signal.sosfilt_zi(sos)[:, :, None] * x[0]
    ours = step("low_pass", {"to": 20.0}, GIVEN._replace(shape=(samples, 6)))(window(samples))
    close(ours, scipy.signal.sosfilt(sos, x, axis=0, zi=rest)[0])


@pytest.mark.parametrize("weights", ["hann", "none"])
@pytest.mark.parametrize("samples", [500, 499])
def test_fft_magnitude_is_scipys_fft_as_amplitudes(weights: Any, samples: int) -> None:
    given_ = GIVEN._replace(shape=(samples, 6))
    chain = step("fft_magnitude", {"window": weights}, given_)
    w = scipy.signal.get_window("hann" if weights == "hann" else "boxcar", samples)
    expected = np.abs(scipy.fft.rfft(window(samples) * w[:, None], axis=0)) / w.sum()
    expected[1 : (samples + 1) // 2] *= 2
    assert chain.form.shape == expected.shape == (samples // 2 + 1, 6)
    close(chain(window(samples)), expected)


def test_a_sine_comes_out_as_its_amplitude_at_its_frequency() -> None:
    t = np.arange(500) / RATE_HZ
    tone = np.repeat((3 * np.sin(2 * np.pi * 7 * t) + 1)[:, None], 6, axis=1).astype(np.float32)
    magnitude = step("fft_magnitude", {"from_": 5.0, "to": 10.0})(tone)
    assert magnitude.shape == (26, 6)
    assert magnitude[10, 0] == pytest.approx(3.0, abs=1e-4)
    assert magnitude[12:].max() < 1e-4
    assert step("fft_magnitude", {})(tone)[0, 0] == pytest.approx(1.0, abs=1e-4)


def test_statistics_are_numpys_and_scipys() -> None:
    x = window().astype(float)
    rms = np.sqrt(np.mean(x**2, axis=0))
    expected = {
        "mean": x.mean(0),
        "std": x.std(0),
        "rms": rms,
        "peak": np.abs(x).max(0),
        "crest": np.abs(x).max(0) / rms,
        "skewness": scipy.stats.skew(x),
        "kurtosis": scipy.stats.kurtosis(x),
    }
    ours = step("statistics", list(expected))(window())
    for row, (name, figures) in zip(ours, expected.items(), strict=True):
        np.testing.assert_allclose(row, figures, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_channel_that_never_changes_has_finite_statistics() -> None:
    every = ["mean", "std", "rms", "peak", "crest", "skewness", "kurtosis"]
    assert step("statistics", every)(np.zeros((500, 6), np.float32)).tolist() == [[0.0] * 6] * 7
    still = np.full((500, 6), 0.1, np.float32)  # whose sum is rounded
    assert step("statistics", ["std", "skewness", "kurtosis"])(still).max() < 1e-8
    assert not step("normalise", "channel")(still).any()


def test_normalise_takes_each_window_by_itself() -> None:
    close(step("normalise", "channel")(window()), scipy.stats.zscore(window().astype(float), axis=0))
    close(step("normalise", "all")(window()), scipy.stats.zscore(window().astype(float), axis=None))


@pytest.mark.parametrize("to_hz", [50.0, 40.0, 25.0, 33.0, 100.0, 250.0, 44.1])
def test_resample_is_scipys_polyphase(to_hz: float) -> None:
    resampled_as_by_scipy(500, to_hz)


@pytest.mark.parametrize("samples", [2, 31, 79, 80, 81, 499])
@pytest.mark.parametrize("to_hz", [40.0, 99.0, 250.0])
def test_resample_takes_windows_of_any_length(samples: int, to_hz: float) -> None:
    resampled_as_by_scipy(samples, to_hz)


def resampled_as_by_scipy(samples: int, to_hz: float) -> None:
    x = window(samples).astype(float)
    up, down = round(to_hz * 10), round(RATE_HZ * 10)
    kept = -(-samples * up // down)
    line, new_line = np.linspace(0, 1, samples)[:, None], np.arange(kept)[:, None] * down / up / (samples - 1)
    rise = x[-1] - x[0]
    flat = scipy.signal.resample_poly(x - x[0] - rise * line, up, down, axis=0)
    chain = step("resample", {"to": to_hz}, GIVEN._replace(shape=(samples, 6)))
    assert chain.form.shape == (kept, 6)
    assert chain.form.rate_hz == pytest.approx(to_hz)
    close(chain(window(samples)), flat + x[0] + rise * new_line)


def test_units_are_converted_channel_by_channel_and_the_next_step_knows() -> None:
    chain = step("unit", {"acc_z": "g", "gyro_x": "deg/s"})
    still = np.tile(np.array([0, 0, 9.80665, np.pi, 0, 2], np.float32), (500, 1))
    assert chain(still)[0].tolist() == pytest.approx([0, 0, 1, 180, 0, 2])
    assert [c.unit for c in chain.form.channels] == ["m/s2", "m/s2", "g", "deg/s", "rad/s", "rad/s"]


def test_steps_follow_one_another_and_leave_the_window_alone() -> None:
    chain = Chain(
        [
            Part("detrend", "linear"),
            Part("band_pass", parts.find(FOLDER, "band_pass").Options(from_=5.0, to=20.0)),
            Part("resample", parts.find(FOLDER, "resample").Options(to=50.0)),
            Part("fft_magnitude", parts.find(FOLDER, "fft_magnitude").Options()),
        ],
        GIVEN,
    )
    x = window()
    before = x.copy()
    made = chain(x)
    assert (made.shape, made.dtype.name, chain.rows) == ((126, 6), "float32", 126)
    np.testing.assert_array_equal(x, before)
    y = scipy.signal.detrend(x.astype(float), axis=0)
    sos = scipy.signal.butter(4, [5, 20], "bandpass", fs=RATE_HZ, output="sos")
    y = scipy.signal.sosfilt(sos, y, axis=0, zi=scipy.signal.sosfilt_zi(sos)[:, :, None] * y[0])[0]
    line, rise = np.linspace(0, 1, 500)[:, None], y[-1] - y[0]
    flat = scipy.signal.resample_poly(y - y[0] - rise * line, 1, 2, axis=0)
    y = flat + y[0] + rise * line[::2]
    w = scipy.signal.get_window("hann", 250)
    expected = np.abs(scipy.fft.rfft(y * w[:, None], axis=0)) / w.sum()
    expected[1:-1] *= 2
    close(made, expected)


def test_without_steps_a_window_is_handed_on_as_it_is() -> None:
    x = window()
    assert Chain([], GIVEN)(x) is x


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("low_pass", {"to": 50.0}, "step 1, low_pass: 50 Hz; expected less than 50 Hz, half the rate"),
        ("band_pass", {"from_": 20.0, "to": 5.0}, "from 20 to 5 Hz at 100 Hz; expected rising"),
        ("resample", {"to": 31.41592}, "from 100 to 31.4159 Hz; expected rates like 50 and 40 Hz"),
        (
            "fft_magnitude",
            {"from_": 60.0},
            "no frequency lies there; expected some from 0 to 50 Hz, which are 0.2 Hz apart",
        ),
        ("statistics", [], "none; expected some of mean, std, rms"),
        ("unit", {"acc": "g"}, "there is no channel 'acc'; expected acc_x, .* Did you mean 'acc_.'"),
        ("unit", {"acc_x": "degC"}, "acc_x is in m/s2, which no degC can be made of"),
        ("unit", {"acc_x": "gee"}, "'gee': step 1, unit: not a unit that is known"),
    ],
)
def test_a_step_that_cannot_be_taken_says_why(name: str, options: Any, says: str) -> None:
    with pytest.raises(ConfigFault, match=says):
        step(name, options)


def test_a_window_too_short_for_a_filter_both_ways_is_refused() -> None:
    with pytest.raises(ConfigFault, match="a window of 20 samples; expected more than 27 for this filter"):
        step("band_pass", {"from_": 5.0, "to": 20.0, "zero_phase": True}, GIVEN._replace(shape=(20, 6)))


@pytest.mark.parametrize("name", ["detrend", "low_pass", "fft_magnitude", "statistics", "resample"])
def test_what_needs_samples_in_time_does_not_follow_a_spectrum(name: str) -> None:
    options: dict[str, Any] = {"detrend": "linear", "statistics": ["rms"], "fft_magnitude": {}}
    module = parts.find(FOLDER, name)
    wanted = options.get(name, {"to": 20.0})
    second = Part(name, module.Options(**wanted) if isinstance(wanted, dict) else wanted)
    first = Part("fft_magnitude", parts.find(FOLDER, "fft_magnitude").Options())
    with pytest.raises(ConfigFault, match=f"step 2, {name}: its rows are not samples in time"):
        Chain([first, second], GIVEN)


def test_no_step_needs_more_than_numpy() -> None:
    folder = Path(butterworth.__file__).parent
    imports = {
        line.split()[1].split(".")[0]
        for f in folder.glob("*.py")
        for line in f.read_text().splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imports <= {
        "__future__",
        "collections",
        "edgeagent",
        "fractions",
        "math",
        "msgspec",
        "numpy",
        "typing",
    }

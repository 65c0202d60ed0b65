"""Blocks become windows; what is missing stays visible."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import ConfigFault
from edgeagent.records import Block, Channel, Layout
from edgeagent.windows import Ring, Windows, decimate, fill, fit, low_pass_taps

LAYOUT = Layout(50.0, (Channel("x", "m/s2"),))
PERIOD_NS = 20_000_000


def block(first: int, count: int, lost: int = 0) -> Block:
    at = np.arange(first, first + count)
    return Block("imu", first, at * PERIOD_NS, at.astype(np.float32)[:, None], int(at[-1]) * PERIOD_NS, lost)


def test_windows_are_cut_by_length_and_hop() -> None:
    ring = Ring(LAYOUT, 5.0)
    windows = Windows("p", ring, LAYOUT, 2.0, 1.0)
    ring.add(block(0, 99))
    assert list(windows.cut(0)) == []
    ring.add(block(99, 151))
    cut = list(windows.cut(7))
    assert [w.seq for w in cut] == [1, 2, 3, 4]
    assert [int(w.values[0, 0]) for w in cut] == [0, 50, 100, 150]
    assert all(w.values.shape == (100, 1) and w.missing_fraction == 0 and w.t_read_ns == 7 for w in cut)
    assert cut[1].t_start_ns == 50 * PERIOD_NS
    assert cut[1].t_end_ns == 150 * PERIOD_NS


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30))
def test_how_samples_are_split_into_blocks_changes_no_window(sizes: list[int]) -> None:
    ring = Ring(LAYOUT, 4.0)
    windows = Windows("p", ring, LAYOUT, 2.0, 0.5)
    got, at = [], 0
    for n in sizes:
        ring.add(block(at, n))
        at += n
        got += [int(w.values[0, 0]) for w in windows.cut(0)]
    assert got == list(range(0, at - 99, 25))
    assert ring.samples == at
    assert ring.missing == 0


def test_a_loss_that_the_driver_reports_leaves_empty_slots() -> None:
    ring = Ring(LAYOUT, 5.0)
    windows = Windows("p", ring, LAYOUT, 2.0, 2.0)
    ring.add(block(0, 40))
    assert ring.add(block(50, 50, lost=10)) == 10
    (window,) = windows.cut(0)
    assert window.missing_fraction == pytest.approx(0.1)
    assert ring.missing == 10
    assert window.values[45, 0] == pytest.approx(45.0), "a short hole is interpolated for the model"


def test_a_hole_in_time_is_found_without_being_told() -> None:
    ring = Ring(LAYOUT, 5.0)
    ring.add(block(0, 40))
    assert ring.add(block(43, 10)) == 3
    t_ns, values = ring.slots(40, 43)
    assert np.isnan(values).all()
    assert list(t_ns) == [40 * PERIOD_NS, 41 * PERIOD_NS, 42 * PERIOD_NS]


def test_windows_that_an_hour_without_samples_swallowed_are_counted_not_cut() -> None:
    ring = Ring(LAYOUT, 5.0)
    windows = Windows("p", ring, LAYOUT, 2.0, 1.0)
    ring.add(block(0, 100))
    assert len(list(windows.cut(0))) == 1
    ring.add(block(100 + 3600 * 50, 200))
    cut = list(windows.cut(0))
    assert windows.closed == 3605
    assert windows.overrun + len(cut) == windows.closed - 1
    assert cut[-1].missing_fraction == 0.0
    assert all(w.missing_fraction > 0 for w in cut[:-3])


def test_a_device_that_runs_one_percent_fast_misses_nothing() -> None:
    ring = Ring(LAYOUT, 5.0)
    for first in range(0, 5000, 50):
        at = np.arange(first, first + 50)
        t_ns = np.rint(at * PERIOD_NS * 0.99).astype(np.int64)
        ring.add(Block("imu", first, t_ns, at.astype(np.float32)[:, None], int(t_ns[-1])))
    assert ring.missing == 0
    assert ring.end == 5000


def test_a_failed_reading_is_missing_and_never_zero() -> None:
    ring = Ring(LAYOUT, 5.0)
    values = np.ones((100, 1), np.float32)
    values[10:13] = np.nan
    t_ns = np.arange(100) * PERIOD_NS
    windows = Windows("p", ring, LAYOUT, 2.0, 2.0)
    assert ring.add(Block("imu", 0, t_ns, values, 0, reasons=("crc",))) == 3
    (window,) = windows.cut(0)
    assert window.missing_fraction == pytest.approx(0.03)
    assert (window.values == 1).all()


def test_a_capture_gets_what_is_held_of_a_stretch_of_time() -> None:
    ring = Ring(LAYOUT, 2.0)
    ring.add(block(0, 500))
    t_ns, values = ring.between(450 * PERIOD_NS, 460 * PERIOD_NS)
    assert list(values[:, 0]) == list(range(450, 461))
    assert len(ring.between(0, 1000 * PERIOD_NS)[0]) == ring.capacity
    assert t_ns[0] == 450 * PERIOD_NS


def test_decimation_keeps_what_is_slow_and_removes_what_would_alias() -> None:
    t = np.arange(2000) / 1000
    slow, fast = np.sin(2 * np.pi * 2 * t), np.sin(2 * np.pi * 60 * t)
    out = decimate(np.stack([slow, fast, np.full_like(t, 3.0)], axis=1).astype(np.float32), 20)
    assert out.shape == (100, 3)
    np.testing.assert_allclose(out[5:-5, 0], slow[::20][5:-5], atol=0.02)
    assert np.abs(out[5:-5, 1]).max() < 0.01
    np.testing.assert_allclose(out[:, 2], 3.0, atol=1e-5)
    assert low_pass_taps(20).sum() == pytest.approx(1.0)


def test_fill_interpolates_inside_and_holds_at_the_ends() -> None:
    values = np.array([[np.nan], [1], [np.nan], [3], [np.nan]], np.float32)
    assert list(fill(values)[:, 0]) == [1, 1, 2, 3, 3]


def test_a_sensor_fits_a_model_by_channel_name_unit_and_integer_rate() -> None:
    x, y = Channel("x", "m/s2", 0.1), Channel("y", "rad/s")
    assert fit(Layout(200.0, (y, x)), Layout(50.0, (Channel("x", "m/s2"),)), 1.0) == (4, [1])
    with pytest.raises(ConfigFault, match=r"120 Hz; expected 50 Hz or an integer multiple"):
        fit(Layout(120.0, (x,)), LAYOUT, 1.0)
    with pytest.raises(ConfigFault, match="wants channel x; expected one of the sensor's: y"):
        fit(Layout(50.0, (y,)), LAYOUT, 1.0)
    with pytest.raises(ConfigFault, match="gives x in g; expected m/s2"):
        fit(Layout(50.0, (Channel("x", "g"),)), LAYOUT, 1.0)

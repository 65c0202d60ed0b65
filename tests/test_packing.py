from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeagent.inference.bundle import own_bundles
from edgeagent.packing import pack, unpack
from edgeagent.recording import BlockEntry, Recording
from edgeagent.records import MAX_RAW_BYTES, Channel, Raw, decode_raw, encode_raw

ROOT = Path(__file__).parents[1]
RECORDING = own_bundles() / "activity" / "recording"
COUNTS = tuple(Channel(name, "g", lsb=0.5) for name in "xyz")
VALUES = tuple(Channel(name, "V") for name in "xyz")


def smooth(samples: int = 500, step: float = 0.5) -> npt.NDArray[np.float32]:
    """Three channels whose counts are sines of 2000 steps."""
    t = np.arange(samples)[:, None] / 50
    counts = np.rint(2000 * np.sin(t * np.array([1.0, 2.0, 3.0])))
    values: npt.NDArray[np.float32] = (counts * step).astype(np.float32)
    return values


@given(
    st.sampled_from(["<i2", "<i4", "<f4"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))
    )
)
def test_unpacking_gives_back_every_bit(planar: npt.NDArray[np.generic]) -> None:
    channels, samples = planar.shape
    again = unpack(pack(planar), channels, samples, planar.dtype.str)
    assert again.tobytes() == planar.tobytes()
    assert (again.shape, again.dtype) == (planar.shape, planar.dtype)


@pytest.mark.parametrize("samples", [0, 1, 2, 500])
@pytest.mark.parametrize("channels", [COUNTS, VALUES, ()])
def test_decoding_gives_back_what_was_encoded(channels: tuple[Channel, ...], samples: int) -> None:
    values = smooth(samples)[:, : len(channels)]
    assert np.array_equal(decode_raw(encode_raw(values, channels), channels), values)


def test_a_slow_signal_is_packed_and_one_sample_is_not_made_larger() -> None:
    assert encode_raw(smooth(), COUNTS).packing == "delta-shuffle-zstd"
    assert len(encode_raw(smooth(), COUNTS).data) < 500 * 3 * 2 / 1.5
    one = encode_raw(smooth(1), COUNTS)
    assert (one.packing, len(one.data)) == ("none", 6)


def test_missing_samples_stay_missing() -> None:
    values = smooth()
    values[100:200] = np.nan
    raw = encode_raw(values, COUNTS)
    assert (raw.encoding, raw.packing) == ("float32", "delta-shuffle-zstd")
    assert np.array_equal(decode_raw(raw, COUNTS), values, equal_nan=True)


def test_a_recording_from_before_there_was_packing_is_read() -> None:
    blocks = [entry for entry in Recording(RECORDING).entries() if isinstance(entry, BlockEntry)]
    assert {entry.raw.packing for entry in blocks} == {"none"}
    assert b"packing" not in (RECORDING / "journal.bin").read_bytes()


def test_the_shipped_recording_becomes_1_4_times_smaller() -> None:
    recording = Recording(RECORDING)
    _, values = recording.series("imu")
    raw = encode_raw(values, recording.header.sensors["imu"].channels)
    assert raw.encoding == "int16"
    assert values.size * 2 / len(raw.data) > 1.4


@pytest.mark.parametrize(
    "change",
    [
        {"data": b""},
        {"data": b"garbage"},
        {"samples": 499},
        {"samples": 501},
        {"samples": -500},
        {"samples": MAX_RAW_BYTES},
        {"encoding": "int32"},
        {"packing": "none"},
        {"data": zstd.compress(bytes(3001))},
    ],
)
def test_bytes_that_do_not_fit_are_refused(change: dict[str, object]) -> None:
    raw = msgspec.structs.replace(encode_raw(smooth(), COUNTS), **change)
    with pytest.raises(ValueError):  # noqa: PT011 (numpy words some of them)
        decode_raw(raw, COUNTS)


def test_a_frame_cut_short_is_refused() -> None:
    raw = encode_raw(smooth(), COUNTS)
    with pytest.raises(ValueError, match="are another number"):
        decode_raw(msgspec.structs.replace(raw, data=raw.data[:-20]), COUNTS)


def test_a_few_bytes_that_claim_to_be_gigabytes_take_no_memory() -> None:
    bomb = zstd.compress(bytes(200_000_000))
    assert len(bomb) < 20_000
    with pytest.raises(ValueError, match="are another number"):
        unpack(bomb, 3, 500, "<i2")


def test_the_protocol_pages_two_lines_unpack() -> None:
    page = (ROOT / "edgeagent/upstream/PROTOCOL.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    counts = np.rint(smooth().T / 0.5).astype("<i2")
    raw: Raw = encode_raw(smooth(), COUNTS)
    names = {"np": np, "zstd": zstd, "data": raw.data, "channels": 3, "samples": 500}
    exec(code, names)
    assert np.array_equal(names["counts"], counts)  # type: ignore[arg-type]

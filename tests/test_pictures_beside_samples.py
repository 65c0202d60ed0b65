"""Pictures beside their samples: in windows, samples, captures and recordings. A picture here is a few bytes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeagent.actuators.guard import Guard
from edgeagent.conditioning import valid
from edgeagent.conditioning.chain import Conditions
from edgeagent.config.schema import Part, Rule, Sampling
from edgeagent.decisions import capture
from edgeagent.decisions.rules import Rules
from edgeagent.errors import ConfigFault
from edgeagent.joined import join
from edgeagent.pipeline import Arrival, Core, ModelPlan, PipelinePlan
from edgeagent.recording import BlockEntry, Header, LayoutEntry, Recording, Writer, block_entry, entry_block
from edgeagent.records import NS_PER_S, Block, Channel, Layout, Reading, Window, decode_raw, picture_raw
from edgeagent.sampling import uniform
from edgeagent.sampling.report import Report
from edgeagent.sampling.sampler import Sampler
from edgeagent.windows import PICTURES_BYTES, Ring, Windows, fit

PERIOD_NS = NS_PER_S // 5
CAMERA = Layout(5.0, (Channel("file_size", "B"),), pictures=True)
PIXEL = (Channel("red", "1"), Channel("green", "1"), Channel("blue", "1"))
STILL = Layout(2.0, PIXEL, shape=(4, 4))
MODEL = ModelPlan("m", "eye", "1", {"m.tflite": "ab" * 32}, "auto", lambda _: Reading(label="door"), 0.5)


def picture(number: int, size_bytes: int = 20) -> bytes:
    return b"\xff\xd8\xff" + number.to_bytes(4) + bytes(size_bytes - 7)


def block(number: int, *, whole: bool = True, lost: int = 0, size_bytes: int = 20) -> Block:
    """The picture of slot `number`, or a reading that failed."""
    t_ns = np.array([number * PERIOD_NS])
    size = float(size_bytes) if whole else np.nan
    beside = picture(number, size_bytes) if whole else b""
    reasons = () if whole else ("cut short",)
    return Block(
        "front", number, t_ns, np.array([[size]], np.float32), int(t_ns[0]), lost, reasons, (beside,)
    )


def cut(numbers: list[int], wanted: Layout, length_s: float, hop_s: float) -> list[Window]:
    """The windows that close when these pictures come; a number below 0 is one that failed."""
    ring = Ring(CAMERA, 2.0)
    windows = Windows("p", ring, wanted, length_s, hop_s)
    closed = []
    for number in numbers:
        ring.add(block(abs(number), whole=number >= 0))
        closed += list(windows.cut(0))
    return closed


def test_a_model_of_stills_gets_each_picture_however_fast_the_camera_runs() -> None:
    windows = cut([0, 1, 2], STILL, 0.5, 0.2)
    assert [w.pictures for w in windows] == [(picture(0),), (picture(1),), (picture(2),)]
    assert [w.missing_fraction for w in windows] == [0, 0, 0]


def test_a_longer_hop_passes_pictures_over() -> None:
    assert [w.pictures for w in cut(list(range(7)), STILL, 0.5, 0.6)] == [
        (picture(0),),
        (picture(3),),
        (picture(6),),
    ]


def test_a_picture_that_failed_or_never_came_is_a_window_without_one() -> None:
    failed, after = cut([-1, 2], STILL, 0.5, 0.2)
    assert (failed.missing_fraction, failed.pictures) == (1.0, (b"",))
    assert (after.missing_fraction, after.pictures) == (0.0, (picture(2),))
    assert [w.missing_fraction for w in cut([0, 3], STILL, 0.5, 0.2)] == [0, 1, 1, 0]


def test_a_model_of_several_pictures_gets_the_newest_of_each_of_its_periods_and_holes_are_held() -> None:
    wanted = msgspec.structs.replace(STILL, rate_hz=2.5)
    (window,) = cut([0, 1, 2, -3, 4, 5], wanted, 1.2, 1.2)
    assert window.pictures == (picture(1), picture(2), picture(5))
    assert window.missing_fraction == pytest.approx(1 / 6)
    (begins_with_a_hole,) = cut([-1, -2, 3, 4, 5, 6], wanted, 1.2, 1.2)
    assert begins_with_a_hole.pictures[0] == picture(3)


def test_what_a_model_of_pictures_fits_is_a_camera_alone() -> None:
    imu = Layout(50.0, (Channel("x", "m/s2"),))
    with pytest.raises(ConfigFault, match=r"takes pictures; expected a camera"):
        fit(imu, STILL, 0.5)
    with pytest.raises(ConfigFault, match=r"runs at 5 Hz; expected 2 Hz or an integer multiple"):
        fit(CAMERA, STILL, 1.0)
    with pytest.raises(ConfigFault, match=r"one camera alone"):
        join(("front", "imu"), {"front": CAMERA, "imu": imu}, STILL, 1.0)


def test_a_camera_without_pictures_for_the_model_of_another_kind_is_a_sensor_as_any() -> None:
    assert fit(CAMERA, Layout(5.0, CAMERA.channels), 1.0) == (1, [0])


def test_of_more_pictures_than_memory_may_hold_the_oldest_go_and_their_sizes_stay() -> None:
    ring = Ring(CAMERA, 60.0)
    count, size_bytes = 9, PICTURES_BYTES // 8
    for number in range(count):
        ring.add(block(number, size_bytes=size_bytes))
    held = ring.pictures(0, count * PERIOD_NS)
    assert [t_ns // PERIOD_NS for t_ns, _ in held] == list(range(1, count))
    assert ring.missing == 0
    assert len(ring.between(0, count * PERIOD_NS)[1]) == count


def test_pictures_go_with_the_samples_that_the_ring_lets_go_of() -> None:
    ring = Ring(CAMERA, 0.2)
    for number in range(100):
        ring.add(block(number))
    assert len(ring.pictures(0, 100 * PERIOD_NS)) == ring.capacity


# --- through the core ---------------------------------------------------------------------------------


def core(
    keep: float = 0.0,
    rules: dict[str, Rule] | None = None,
    per_day: int = 20_000_000,
    conditions: dict[str, Conditions] | None = None,
) -> Core:
    plan = PipelinePlan("door", ("front",), STILL, 0.5, 0.2, Report("all"), MODEL)
    policies = {"some": Part("uniform", uniform.Options(uniform=keep))} if keep else {}
    sampling = Sampling(policies=policies)
    sampling = msgspec.structs.replace(
        sampling, budget=msgspec.structs.replace(sampling.budget, per_day=per_day)
    )
    made = Core(
        [plan],
        Rules(rules or {}, {"door": ("front",), "front": ("front",)}, {}),
        Sampler(sampling, "seed"),
        Guard({}),
        capture_s=2.0,
        truths={},
        conditions=conditions or {},
    )
    made.layout("front", CAMERA, 0)
    return made


def test_a_model_is_asked_with_the_pictures_themselves() -> None:
    (request,) = core().block(block(3), 4 * PERIOD_NS).requests
    assert request.pictures == (picture(3),)


def test_a_picture_that_failed_is_not_predicted_on_and_its_gap_is_told_with_the_reason() -> None:
    c = core()
    effects = c.block(block(0, whole=False), 0)
    assert effects.requests == []
    assert [d.body["skipped"] for d in effects.drafts] == ["missing"]
    (gap,) = [d for d in c.end(NS_PER_S) if d.kind == "gap"]
    assert (gap.body["lost"], gap.body["reasons"]) == (1, ["cut short"])


def test_a_filter_on_the_size_finds_the_covered_lens_and_its_picture_is_not_seen() -> None:
    covered = valid.Options(min=15.0)
    c = core(conditions={"front": {"file_size": [Part("valid", covered)]}})
    assert c.block(block(0), 0).requests
    effects = c.block(block(1, size_bytes=10), PERIOD_NS)
    assert effects.requests == []
    assert [d.body["skipped"] for d in effects.drafts] == ["missing"]


def test_a_sample_is_the_file_as_the_camera_made_it() -> None:
    c = core(keep=1.0)
    c.block(block(0), 0)
    c.block(block(1), PERIOD_NS)
    drafts = c.arrival(Arrival("door", 1, (1.0,), "m.tflite", "cpu"), 2 * PERIOD_NS).drafts
    (sample,) = [d for d in drafts if d.kind == "sample"]
    assert sample.body["data"] == picture(0)
    assert {key: sample.body[key] for key in ("encoding", "samples", "picture", "pictures")} == {
        "encoding": "jpeg",
        "samples": 1,
        "picture": 1,
        "pictures": 1,
    }
    assert sample.body["prediction"]["label"] == "door"
    assert sample.body["t_mono_ns"] == 0


def test_the_budget_is_charged_the_size_of_the_file() -> None:
    c = core(keep=1.0, per_day=24 * 16_000)  # an hour's share is 16 kB; a record has 1 kB around its picture
    for number in range(8):
        c.block(block(number, size_bytes=4000), number * PERIOD_NS)
        c.arrival(Arrival("door", number + 1, (1.0,), "m.tflite", "cpu"), number * PERIOD_NS)
    counters = c.sampling_counters()
    assert (counters["kept.some"], counters["refused"]) == (3, 5)


def test_a_capture_is_a_record_a_picture_each_with_its_number() -> None:
    small = Rule(
        when="front.file_size < 15",
        hold=0.0,
        do=[Part("capture", capture.Options(before=0.5, after=0.5))],
    )
    c = core(rules={"dark": small})
    drafts = [
        d
        for number in range(8)
        for d in c.block(block(number, size_bytes=10 if number == 3 else 20), number * PERIOD_NS).drafts
    ]
    taken = [d.body for d in drafts if d.kind == "sample"]
    assert [body["t_mono_ns"] // PERIOD_NS for body in taken] == [1, 2, 3, 4, 5]
    assert [(body["picture"], body["pictures"]) for body in taken] == [(n, 5) for n in range(1, 6)]


def test_a_picture_is_no_array_and_numbers_are_no_picture() -> None:
    raw = picture_raw(picture(1))
    assert (raw.encoding, raw.samples, raw.packing) == ("jpeg", 1, "none")
    with pytest.raises(ValueError, match="a picture"):
        decode_raw(raw, CAMERA.channels)
    with pytest.raises(ValueError, match="not a picture"):
        picture_raw(b"GIF89a")


def test_a_recording_keeps_the_files_and_one_with_too_few_is_damaged(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "r", Header(1, sensors={}))
    writer.write(LayoutEntry(0, "front", CAMERA))
    writer.write(block_entry(block(7), CAMERA, 1))
    writer.close()
    told, entry = Recording(tmp_path / "r").entries()
    assert isinstance(told, LayoutEntry)
    assert isinstance(entry, BlockEntry)
    assert told.layout == CAMERA
    assert entry_block(entry, CAMERA).pictures == (picture(7),)
    two = msgspec.structs.replace(entry, pictures=(b"", b""))
    with pytest.raises(ValueError, match="2 pictures for 1 samples"):
        entry_block(two, CAMERA)

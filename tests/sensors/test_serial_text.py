"""Lines of numbers: what a sound device prints, what a broken one prints, and what is made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.agent.clock import RealClock, ScaledClock, VirtualClock
from edgeagent.buses import Buses
from edgeagent.buses.fake import FakeDevice
from edgeagent.buses.fake.port import FakePort
from edgeagent.errors import ConfigFault, DeviceFault, DeviceGone
from edgeagent.records import NS_PER_S, Block
from edgeagent.sensors import Context, Sensor
from edgeagent.sensors.lines import Column, CsvParser, JsonParser, KeyValueParser, LineParser
from edgeagent.sensors.serial_text import Options, build, layout

TWO = [Column(name="current", unit="A", scale=0.01), Column(name="temperature", unit="degC", offset=-40.0)]
PLAIN = [Column(name="a", unit="1"), Column(name="b", unit="1")]


@pytest.fixture
def parser() -> LineParser:
    """One that has found the start of a line."""
    parser = CsvParser(PLAIN, ",")
    parser.feed(b"rest of a line\n")
    return parser


# Lines to rows


def test_a_line_becomes_a_row_in_the_units_of_its_channels() -> None:
    parser = CsvParser(TWO, ",")
    parser.feed(b"\n")
    values, reasons = parser.feed(b"250,65.5\n-3,40\n")
    assert values == pytest.approx(np.array([[2.5, 25.5], [-0.03, 0.0]]))
    assert values.dtype == np.float32
    assert reasons == ()


@pytest.mark.parametrize(
    "data", [b"1,2\n", b"1,2\r\n", b" 1 , 2 \n", b"\r\n\n1,2\n", b"1.0e0,+2\n", b"1,2\n3"], ids=repr
)
def test_ends_of_line_blanks_and_empty_lines_do_not_matter(parser: LineParser, data: bytes) -> None:
    values, reasons = parser.feed(data)
    assert (values.tolist(), reasons) == ([[1.0, 2.0]], ())


@pytest.mark.parametrize(("delimiter", "line"), [(";", b"1;2\n"), ("\t", b"1\t2\n"), (" ", b"  1   2 \r\n")])
def test_the_delimiter_is_what_the_config_says(delimiter: str, line: bytes) -> None:
    parser = CsvParser(PLAIN, delimiter)
    parser.feed(b"\n")
    assert parser.feed(line).values.tolist() == [[1.0, 2.0]]


def test_half_a_first_line_is_left_out_however_well_it_looks() -> None:
    parser = CsvParser(PLAIN, ",")
    assert parser.feed(b"3,4").values.tolist() == []
    assert parser.feed(b"5\n1,2\n").values.tolist() == [[1.0, 2.0]]
    parser.restart()
    assert parser.feed(b"9,9\n1,2\n").values.tolist() == [[1.0, 2.0]]
    assert parser.faults.total() == 0


@given(st.lists(st.integers(0, 60), max_size=12))
def test_how_the_bytes_are_cut_makes_no_difference(cuts: list[int]) -> None:
    data = b"x\n1,2\r\n3.5,-4\n\n5,6,7\nspam,1\n0,nan\n8,9\n"
    whole = CsvParser(PLAIN, ",")
    expected = whole.feed(data).values
    parser = CsvParser(PLAIN, ",")
    edges = [0, *sorted(cuts), len(data)]
    pieces = [parser.feed(data[a:b]).values for a, b in pairwise(edges)]
    assert np.array_equal(np.concatenate(pieces), expected, equal_nan=True)
    assert parser.faults == whole.faults


# Lines that are none


@pytest.mark.parametrize(
    ("line", "cause", "reason"),
    [
        (b"1\n", "wrong_fields", "1 fields, expected 2: '1'"),
        (b"1,2,3\r\n", "wrong_fields", "3 fields, expected 2: '1,2,3'"),
        (b"1,\n", "not_numbers", "not all numbers: '1,'"),
        (b"Ready, steady\n", "not_numbers", "not all numbers: 'Ready, steady'"),
        (b"1_0,2\n", "not_numbers", "not all numbers: '1_0,2'"),
        (b"\xff,2\n", "not_numbers", r"not all numbers: '\\xff,2'"),
        (b"0x10,2\n", "not_numbers", "not all numbers: '0x10,2'"),
        (
            b"\xe6\x86\x98,\xfe\x06\n",
            "not_numbers",
            "not all numbers: bytes that are no text. Check `baud:`, then cable and ground",
        ),
    ],
)
def test_a_malformed_line_is_a_row_of_nan_with_its_reason(
    parser: LineParser, line: bytes, cause: str, reason: str
) -> None:
    values, reasons = parser.feed(b"1,2\n" + line + b"3,4\n")
    assert np.array_equal(values, np.array([[1, 2], [np.nan, np.nan], [3, 4]]), equal_nan=True)
    assert reasons == (reason,)
    assert {c: n for c, n in parser.faults.items() if n} == {cause: 1}


@pytest.mark.parametrize("number", [b"nan", b"inf", b"-inf", b"1e39", b"1e999"])
def test_a_number_that_is_not_finite_is_nan_alone_in_its_row(parser: LineParser, number: bytes) -> None:
    values, reasons = parser.feed(b"1," + number + b"\n")
    assert values[0, 0] == 1.0
    assert np.isnan(values[0, 1])
    assert reasons == ("the device sent nan or inf",)
    assert parser.faults["not_finite"] == 1


def test_each_cause_is_told_once_a_block_and_counted_each_time(parser: LineParser) -> None:
    values, reasons = parser.feed(b"1\n2\nx,y\n3\nnan,1\n")
    assert len(values) == 5
    assert len(reasons) == 3
    assert parser.faults == {"wrong_fields": 3, "not_numbers": 1, "not_finite": 1, "too_long": 0}


def test_a_line_without_end_is_given_up_at_4_kb_and_the_next_one_is_read(parser: LineParser) -> None:
    rows: list[list[float]] = []
    reasons: list[str] = []
    for _ in range(50):
        values, why = parser.feed(b"7" * 1000)
        rows += values.tolist()
        reasons += why
    assert np.isnan(rows).tolist() == [[True, True]]
    assert reasons == [f"no line end within 4096 bytes: '{'7' * 40}'"]
    assert parser.faults["too_long"] == 1
    assert parser.feed(b"7\n1,2\n").values.tolist() == [[1.0, 2.0]]


def test_a_long_line_that_arrives_at_once_is_given_up_too(parser: LineParser) -> None:
    values, _ = parser.feed(b"1" * 5000 + b"\n1,2\n")
    assert np.array_equal(values, np.array([[np.nan, np.nan], [1, 2]]), equal_nan=True)
    assert parser.faults["too_long"] == 1


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_no_garbage_ends_the_parser_or_becomes_an_infinity(garbage: list[bytes]) -> None:
    parser = CsvParser(PLAIN, ",")
    for piece in garbage:
        values, _ = parser.feed(piece)
        assert values.shape[1] == 2
        assert not np.isinf(values).any()
    assert parser.feed(b"\n\n1,2\n").values[-1].tolist() == [1.0, 2.0]


# Numbers by name


def test_key_value_lines_are_read_by_name_whatever_else_the_line_says() -> None:
    parser = KeyValueParser(
        [Column(name="t", unit="degC", key="Temp 1"), Column(name="i", unit="A", scale=0.001)]
    )
    parser.feed(b"\n")
    values, reasons = parser.feed(
        b"#7 Temp 1: 21.5 degC, i=250mA, ok\r\ni = -3 Temp 1=+2.05e1\xc2\xb0C;x=1\ni:0\tTemp 1:.5\n"
    )
    assert values == pytest.approx(np.array([[21.5, 0.25], [20.5, -0.003], [0.5, 0.0]]))
    assert reasons == ()


def test_a_name_is_a_whole_word() -> None:
    parser = KeyValueParser([Column(name="t", unit="1")])
    parser.feed(b"\n")
    assert parser.feed(b"set=1 x.t=2 a-t=3 t=4\n").values.tolist() == [[4.0]]


@pytest.mark.parametrize("token", [b"0x10", b"1_0", b"on", b"", b"1.2.3", b"12:30:05"])
def test_what_only_begins_like_a_number_is_none(token: bytes) -> None:
    parser = KeyValueParser([Column(name="t", unit="1")])
    parser.feed(b"\n")
    values, reasons = parser.feed(b"t=" + token + b"\n")
    assert np.isnan(values).tolist() == [[True]]
    assert "not all numbers" in reasons[0]
    assert parser.faults["not_numbers"] == 1


def test_json_lines_are_read_by_name_and_into_objects() -> None:
    parser = JsonParser([Column(name="i", unit="A", key="power.i"), Column(name="on", unit="1")])
    parser.feed(b"\n")
    values, reasons = parser.feed(
        b'{"id":"x","power":{"u":230,"i":2.5},"on":true}\r\n{"on":false,"power":{"i":"-3.5A"}}\n'
    )
    assert (values.tolist(), reasons) == ([[2.5, 1.0], [-3.5, 0.0]], ())


@pytest.mark.parametrize(
    ("parser", "line", "reason"),
    [
        (KeyValueParser(PLAIN), b"a=1 c=3\n", "no 'b' in 'a=1 c=3'"),
        (JsonParser(PLAIN), b'{"a": 1, "b": null}\n', "no 'b' in"),
        (JsonParser(PLAIN), b'{"a": 1, "b": {"c": 2}}\n', "not all numbers"),
        (JsonParser(PLAIN), b'{"a": 1, "b": "soon"}\n', "not all numbers"),
    ],
)
def test_a_name_that_is_missing_is_nan_and_the_other_is_there(
    parser: LineParser, line: bytes, reason: str
) -> None:
    parser.restart()
    parser.feed(b"\n")
    values, reasons = parser.feed(line)
    assert np.array_equal(values, np.array([[1.0, np.nan]]), equal_nan=True)
    assert [reason in r for r in reasons] == [True]


@pytest.mark.parametrize("line", [b'{"a": 1', b"[1, 2]", b"12", b"\xff{}", b'{"a": ' * 2000, b"boot"])
def test_a_line_that_is_no_json_object_is_a_row_of_nan(line: bytes) -> None:
    parser = JsonParser(PLAIN)
    parser.feed(b"\n")
    values, reasons = parser.feed(line[:4000] + b"\n")
    assert np.isnan(values).tolist() == [[True, True]]
    assert parser.faults["not_json"] == 1
    assert "no JSON object" in reasons[0]


@given(st.lists(st.binary(max_size=60), max_size=9), st.sampled_from([KeyValueParser, JsonParser]))
def test_no_garbage_ends_the_parsers_by_name(garbage: list[bytes], kind: type[KeyValueParser]) -> None:
    parser = kind(PLAIN)
    for piece in garbage:
        values, reasons = parser.feed(b'a=1 {"b": ' + piece + b"}\n")
        assert not np.isinf(values).any()
        assert bool(reasons) == bool(np.isnan(values).any())


# What it costs


def test_1_mb_without_a_line_end_stays_bounded_and_the_next_line_is_read(parser: LineParser) -> None:
    rows = sum(len(parser.feed(b"1" * 4096).values) for _ in range(256))
    assert rows == 1
    assert parser.faults["too_long"] == 1
    assert parser.feed(b"\n1,2\n").values.tolist() == [[1.0, 2.0]]


def test_lines_that_break_out_of_the_bulk_parser_are_malformed(parser: LineParser) -> None:
    values, _ = parser.feed(b"1,2],[3,4\n5,6\n")
    assert np.array_equal(values, np.array([[np.nan, np.nan], [5, 6]]), equal_nan=True)


@given(
    st.lists(
        st.sampled_from(["1", "-2.5", "+3", "007", "1e3", ".5", "nan", "1e39", "", " 4 "]),
        min_size=2,
        max_size=2,
    ),
    st.sampled_from([",", ";", "\t"]),
)
def test_in_bulk_or_one_by_one_makes_no_difference(fields: list[str], delimiter: str) -> None:
    line = delimiter.join(fields).encode() + b"\n"
    alone, beside = CsvParser(PLAIN, delimiter), CsvParser(PLAIN, delimiter)
    alone.feed(b"\n")
    beside.feed(b"\n")
    spoilt = beside.feed(b"spoilt\n" + line).values[1:]
    assert np.array_equal(alone.feed(line).values, spoilt, equal_nan=True)


def test_a_decimal_comma_is_no_delimiter() -> None:
    parser = CsvParser([*PLAIN, Column(name="c", unit="1")], ";")
    parser.feed(b"\n")
    assert np.isnan(parser.feed(b"1,5;2\n").values).all()


def test_a_line_of_56_bytes_costs_less_than_3_percent_of_a_core_at_92_kb_a_second() -> None:
    columns = [Column(name=n, unit="1", scale=0.5) for n in "abcdefg"]
    line = b",".join([b"-1.2345"] * 7) + b"\n"
    assert len(line) == 56
    ten_ms = line * (920 // len(line))
    parser = CsvParser(columns, ",")
    started = time.process_time()
    for _ in range(300):
        parser.feed(ten_ms)
    assert time.process_time() - started < 0.03 * 300 * 0.010


# On a port


@pytest.fixture
def cable() -> Iterator[FakePort]:
    cable = FakePort()
    yield cable
    cable.unplug()


Opener = Callable[..., Sensor]


@pytest.fixture
def opened(cable: FakePort) -> Iterator[Opener]:
    sensors = []

    def start(**options: object) -> Sensor:
        clock = RealClock()
        shape = Options(port=cable.path, channels=PLAIN, baud=115200, **options)  # type: ignore[arg-type]
        sensors.append(build("press", shape, Context(clock, Buses(clock))))
        sensors[-1].open()
        return sensors[-1]

    yield start
    for sensor in sensors:
        sensor.close()


def read_rows(sensor: Sensor, n: int) -> list[Block]:
    """Blocks until there are n rows; gives up after a minute."""
    blocks: list[Block] = []
    deadline = time.monotonic() + 60
    while sum(len(b.values) for b in blocks) < n:
        assert time.monotonic() < deadline, "the rows did not come"
        block = sensor.read()
        blocks += [block] if block else []
    return blocks


def test_lines_on_the_port_come_out_as_blocks(cable: FakePort, opened: Opener) -> None:
    sensor = opened()
    cable.send(b"half\n1,2\n3,4\n5,")
    cable.send(b"6\r\n")
    blocks = read_rows(sensor, 3)
    assert np.concatenate([b.values for b in blocks]).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert [b.seq for b in blocks] == list(range(1, len(blocks) + 1))
    now_ns = time.monotonic_ns()
    for block in blocks:
        assert now_ns - 5 * NS_PER_S < block.t_mono_ns[0] <= block.t_mono_ns[-1] <= block.t_read_ns <= now_ns


def test_lines_without_a_stated_rate_are_spread_over_the_time_since_the_last_read(
    cable: FakePort, opened: Opener
) -> None:
    sensor = opened()
    cable.send(b"\n" + b"1,2\n" * 20)
    t_ns = np.concatenate([b.t_mono_ns for b in read_rows(sensor, 20)])
    assert (np.diff(t_ns) > 0).all()


def test_lines_at_a_stated_rate_are_a_period_apart_however_they_arrive(
    cable: FakePort, opened: Opener
) -> None:
    sensor = opened(rate=100.0)
    cable.send(b"\n" + b"1,2\n" * 20)
    t_ns = np.concatenate([b.t_mono_ns for b in read_rows(sensor, 20)])
    assert np.diff(t_ns) == pytest.approx(10_000_000, rel=0.06)


def test_time_never_runs_back_when_lines_come_all_at_once(cable: FakePort, opened: Opener) -> None:
    sensor = opened(rate=10.0)
    cable.send(b"\n" + b"1,2\n" * 20)
    before = read_rows(sensor, 20)
    cable.send(b"1,2\n" * 20)
    t_ns = np.concatenate([b.t_mono_ns for b in before + read_rows(sensor, 20)])
    assert (np.diff(t_ns) > 0).all()


def test_after_data_the_next_read_is_due_one_latency_later(cable: FakePort, opened: Opener) -> None:
    sensor = opened(latency=0.25)
    cable.send(b"\n1,2\n")
    (block,) = read_rows(sensor, 1)
    assert sensor.due_ns() == block.t_read_ns + NS_PER_S // 4
    assert sensor.read() is None
    assert sensor.due_ns() <= time.monotonic_ns()


def test_unplugged_in_mid_line_is_gone_and_half_the_line_is_nobodys(cable: FakePort, opened: Opener) -> None:
    sensor = opened()
    cable.send(b"\n1,2\n3,")
    assert len(read_rows(sensor, 1)) == 1
    cable.unplug()
    with pytest.raises(DeviceGone, match="unplugged"):
        sensor.read()


def test_a_port_opened_again_starts_at_a_new_line(cable: FakePort, opened: Opener) -> None:
    sensor = opened()
    cable.send(b"\n1,2\n3,")
    read_rows(sensor, 1)
    sensor.close()
    sensor.open()
    cable.send(b"4\n5,6\n")
    assert read_rows(sensor, 1)[0].values.tolist() == [[5.0, 6.0]]


def test_a_port_that_someone_holds_says_who(cable: FakePort, opened: Opener) -> None:
    opened()
    with pytest.raises(DeviceFault, match="in use by"):
        opened()


def test_a_device_that_stated_a_rate_and_falls_silent_is_a_fault_and_one_that_did_not_is_not(
    cable: FakePort,
) -> None:
    clock = ScaledClock(100.0, time.monotonic_ns())
    shape = Options(port=cable.path, channels=PLAIN, rate=10.0)
    sensor = build("press", shape, Context(clock, Buses(clock)))
    sensor.open()
    cable.send(b"\n1,2\n")
    assert len(read_rows(sensor, 1)) == 1
    with pytest.raises(DeviceFault, match="has printed no line for 10 s"):
        read_rows(sensor, 1)
    sensor.close()
    unstated = build("press", Options(port=cable.path, channels=PLAIN), Context(clock, Buses(clock)))
    unstated.open()
    until_ns = clock.now_ns() + 30 * NS_PER_S
    while clock.now_ns() < until_ns:
        assert unstated.read() is None
    unstated.close()


def test_garbage_is_counted_and_the_next_good_line_is_read(cable: FakePort, opened: Opener) -> None:
    sensor = opened()
    cable.send(b"\n" + bytes(range(128, 256)) + b"\n\x00\x01\n1,2\n")
    blocks = read_rows(sensor, 3)
    assert blocks[-1].values[-1].tolist() == [1.0, 2.0]
    assert sensor.counters()["lines_wrong_fields"] == 2


# What the config may say


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"channels": []}, "no channels"),
        ({"channels": [PLAIN[0], PLAIN[0]]}, "two channels are called 'a'"),
        ({"delimiter": ""}, "expected one character"),
        ({"delimiter": "--"}, "expected one character"),
        ({"delimiter": "."}, "expected one character"),
        ({"rate": 0.0}, "rate 0 Hz"),
        ({"channels": [Column(name="a", unit="1", key="b")]}, "format csv, which has no names"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigFault, match=says):
        layout(Options(**{"port": "/dev/ttyACM0", "channels": PLAIN, **options}))  # type: ignore[arg-type]


def test_the_layout_has_the_channels_and_the_stated_rate() -> None:
    shape = layout(Options(port="x", channels=TWO, rate=20.0))
    assert (shape.rate_hz, [(c.name, c.unit) for c in shape.channels]) == (
        20.0,
        [("current", "A"), ("temperature", "degC")],
    )


def test_without_a_stated_rate_it_is_measured() -> None:
    clock = VirtualClock(NS_PER_S)
    options = Options(port="fake:printer", channels=TWO, fake=FakeDevice(rate=8.0))
    sensor = build("press", options, Context(clock, Buses(clock)))
    sensor.open()
    assert sensor.counters()["measured_hz"] == 0
    while clock.now_ns() < 11 * NS_PER_S:
        clock.sleep_s(max(sensor.due_ns() - clock.now_ns(), 0) / NS_PER_S)
        sensor.read()
    assert sensor.counters()["measured_hz"] == pytest.approx(8.0, rel=0.02)
    assert "true_rate_hz" not in sensor.counters(), "there is none to be held against it"

from __future__ import annotations

import pytest

from edgeagent.config.quantities import DURATION, FREQUENCY, SIZE, Dimension, parse_quantity
from edgeagent.errors import ConfigFault


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("50 Hz", FREQUENCY, 50.0),
        ("1.5kHz", FREQUENCY, 1500.0),
        ("30 /min", FREQUENCY, 0.5),
        ("5 s", DURATION, 5.0),
        ("  250 ms ", DURATION, 0.25),
        ("0 s", DURATION, 0.0),
        ("1e2 s", DURATION, 100.0),
        ("2 h", DURATION, 7200.0),
        ("20 MB", SIZE, 20_000_000),
        ("20 MiB", SIZE, 20 * 2**20),
    ],
)
def test_a_quantity_is_a_number_in_its_own_unit(text: str, dimension: Dimension, value: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "dimension", "meant"),
    [
        ("50 hz", FREQUENCY, "50 Hz"),
        ("50hertz", FREQUENCY, ""),
        ("5 seconds", DURATION, "5 s"),
        ("10 minutes", DURATION, "10 min"),
        ("20 mb", SIZE, "20 MB"),
        ("20 Mib", SIZE, "20 MiB"),
        ("50", FREQUENCY, ""),
    ],
)
def test_a_wrong_unit_names_those_accepted_and_the_one_meant(
    text: str, dimension: Dimension, meant: str
) -> None:
    with pytest.raises(ConfigFault) as fault:
        parse_quantity(text, dimension)
    assert fault.value.where == repr(text)
    assert dimension.example in fault.value.expected
    assert fault.value.hint == (f"Did you mean '{meant}'?" if meant else "")


@pytest.mark.parametrize(
    ("text", "dimension"),
    [
        ("nan s", DURATION),
        ("inf s", DURATION),
        ("1e999 s", DURATION),
        ("-1 s", DURATION),
        ("0 Hz", FREQUENCY),
    ],
)
def test_what_is_not_finite_or_below_the_least_is_refused(text: str, dimension: Dimension) -> None:
    with pytest.raises(ConfigFault):
        parse_quantity(text, dimension)

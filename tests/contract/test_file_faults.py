"""Every driver that reads files, of the kernel or of a camera, against what can become of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from driven import Driven, rows, values
from test_sensors import IN_FILES, Case, folders_in

from edgeagent.buses import Buses
from edgeagent.errors import DeviceFault
from edgeagent.records import Block

Spoil = Callable[[bytes], bytes]
SPOILS: dict[str, Spoil] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "garbage": lambda content: Random(1).randbytes(len(content) + 20),
    "words": lambda _: b"nan\n",
}


class Filed(Driven):
    """A case with its files at hand."""

    def __init__(self, case: Case, work: Path) -> None:
        super().__init__(case, Buses(case.clock))
        (self.folder,) = folders_in(work)
        self._whole = {file: file.read_bytes() for file in self.folder.rglob("*") if file.is_file()}

    def spoil(self, spoil: Spoil) -> None:
        for file, content in self._whole.items():
            file.write_bytes(spoil(content))

    def mend(self) -> None:
        for file, content in self._whole.items():
            file.write_bytes(content)

    def clean(self, blocks: list[Block]) -> bool:
        expected = self.case.expected["rows"]
        wanted = np.array((expected * rows(blocks))[: rows(blocks)], dtype=float)
        return np.allclose(values(blocks), wanted, rtol=1e-5, equal_nan=True)


@pytest.fixture(params=IN_FILES, ids=lambda p: p.name)
def filed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Filed]:
    filed = Filed(Case(request.param, tmp_path), tmp_path)
    yield filed
    filed.sensor.close()


@pytest.mark.parametrize("spoilt", SPOILS)
def test_files_that_are_spoilt_are_faults_or_missing_values_and_read_clean_when_they_are_mended(
    filed: Filed, spoilt: str
) -> None:
    filed.sensor.open()
    filed.run(filed.periods_s)
    filed.spoil(SPOILS[spoilt])
    during = filed.run_as_reader(filed.periods_s)
    assert all(bool(b.reasons) == bool(np.isnan(b.values).any()) for b in during)
    if spoilt != "half":  # half a number is a number
        assert not any(filed.clean([b]) for b in during)
    filed.mend()
    filed.run_as_reader(filed.periods_s)
    assert filed.clean(filed.run(filed.periods_s))


def test_files_that_are_gone_are_faults_or_missing_values_and_read_clean_when_they_are_back(
    filed: Filed,
) -> None:
    filed.sensor.open()
    (*_, last) = filed.run(filed.periods_s)
    away = filed.folder.rename(filed.folder.with_name("away"))
    try:
        during = values(filed.run(10 * filed.periods_s))
    except DeviceFault:
        filed.sensor.close()
    else:
        assert np.isnan(during[-1]).all()
    away.rename(filed.folder)
    filed.run_as_reader(filed.periods_s)
    blocks = filed.run(filed.periods_s)
    assert filed.clean(blocks)
    assert blocks[0].t_mono_ns[0] > last.t_mono_ns[-1]

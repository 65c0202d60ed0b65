"""`threads: auto` is measured once a model and board, and pinned with the reason."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tiny import windows, write_bundle

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.inference.choices import Choice
from edgeagent.inference.engine import Loaded, ModelEngine, Runner
from edgeagent.inference.faults import WorkerDied
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tensors import Scored
from edgeagent.inference.threads import Pin, Pins, board
from edgeagent.records import Float32Array

pytestmark = pytest.mark.tflite_runtime

WINDOW = windows(1)[0]


class Board(Inline):
    """The engine of a board on which a call takes `cost_ms`, by the number of threads; a number without one crashes."""

    def __init__(self, folder: Path, cost_ms: dict[int, float], pins: Pins) -> None:
        self.made: list[int] = []
        self._cost_ms, self._time = cost_ms, VirtualClock(now_ns=10**15)
        super().__init__(write_bundle(folder), "auto", self._time, "auto", pins)

    def _make_runner(self, choice: Choice, threads: int) -> Runner:  # type: ignore[override]
        self.made.append(threads)
        return _Taking(super()._make_runner(choice, threads), self._cost_ms.get(threads), self._time)


class _Taking:
    pid = None

    def __init__(self, runner: Runner, cost_ms: float | None, clock: VirtualClock) -> None:
        self._runner, self._cost_ms, self._clock = runner, cost_ms, clock

    def is_ready(self) -> bool:
        return True

    def load(self) -> Loaded:
        return self._runner.load()

    def predict(self, values: Float32Array, state: Float32Array | None) -> Scored:
        if self._cost_ms is None:
            raise WorkerDied("the worker died while predicting (SIGSEGV)")
        self._clock.sleep_s(self._cost_ms / 1000)
        return self._runner.predict(values, state)

    def abort(self) -> None:
        """It does not hang."""

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(autouse=True)
def _four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})


def settled(engine: ModelEngine) -> tuple[object, str]:
    """The number of threads with which it serves, and why."""
    engine.start()
    with np.load(engine.bundle.golden.file) as file:
        np.testing.assert_allclose(engine.predict(WINDOW).scores, file["outputs"][0], atol=1 / 256)
    status = engine.status()
    return status["threads"], str(status["threads_why"])


@pytest.mark.parametrize(
    ("cost_ms", "made", "threads", "why"),
    [
        ({1: 8, 2: 4, 4: 2}, [1, 2, 4], 4, "measured on this board, 1: 8.0 ms, 2: 4.0 ms, 4: 2.0 ms"),
        ({1: 8, 2: 4, 4: 3.5}, [1, 2, 4], 2, "measured on this board, 1: 8.0 ms, 2: 4.0 ms, 4: 3.5 ms"),
        ({1: 8, 2: 7, 4: 1}, [1, 2], 1, "measured on this board, 1: 8.0 ms, 2: 7.0 ms"),
        ({1: 8, 2: 90, 4: 1}, [1, 2], 1, "measured on this board, 1: 8.0 ms, 2: 90.0 ms"),
        ({1: 0.5}, [1], 1, "one takes 0.50 ms, too little to share"),
        (
            {1: 8},
            [1, 2],
            1,
            "measured on this board, 1: 8.0 ms, 2: the worker died while predicting (SIGSEGV)",
        ),
    ],
    ids=["each pays", "two pay", "an eighth is too little", "slower", "nothing to share", "two crash"],
)
def test_more_threads_serve_for_as_long_as_each_doubling_saves_a_fifth(
    tmp_path: Path, cost_ms: dict[int, float], made: list[int], threads: int, why: str
) -> None:
    with closing(Board(tmp_path, cost_ms, Pins())) as engine:
        assert settled(engine) == (threads, why)
        assert engine.made == made


def test_what_was_found_is_pinned_and_the_next_start_measures_nothing(tmp_path: Path) -> None:
    file = tmp_path / "threads.json"
    for made in ([1, 2, 4], [2]):
        with closing(Board(tmp_path / "bundle", {1: 8, 2: 4, 4: 4}, Pins(file))) as engine:
            assert settled(engine)[0] == 2
            assert engine.made == made
            sha256 = engine.bundle.variants[0].sha256
    (pin,) = json.loads(file.read_text()).items()
    assert pin[0] == sha256
    assert (pin[1]["threads"], pin[1]["board"]) == (2, board())


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ({"runtime": "another-runtime 1.0"}, [4, 1, 2, 4]),  # known only once it is loaded
        ({"board": "another board, 4 cores"}, [1, 2, 4]),
    ],
)
def test_what_was_found_by_another_runtime_or_on_another_board_is_measured_anew(
    tmp_path: Path, changed: dict[str, str], made: list[int]
) -> None:
    file = tmp_path / "threads.json"
    sha256 = write_bundle(tmp_path / "bundle").variants[0].sha256
    pin = {"threads": 4, "why": "of old", "runtime": "", "board": board()} | changed
    file.write_text(json.dumps({sha256: pin}))
    with closing(Board(tmp_path / "bundle", {1: 8, 2: 4, 4: 4}, Pins(file))) as engine:
        assert settled(engine)[0] == 2
        assert engine.made == made
    found = Pins(file).find(sha256)
    assert found is not None
    assert found.threads == 2


def test_a_card_with_more_cores_left_for_us_is_another_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = Pins(tmp_path / "threads.json")
    pins.keep("a" * 64, Pin(4, "measured", "runtime 1.0", board()))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert pins.find("a" * 64) is None


def test_a_number_in_the_config_is_not_measured_and_a_clock_that_stands_still_pins_nothing(
    tmp_path: Path,
) -> None:
    pins = Pins(tmp_path / "threads.json")
    bundle = write_bundle(tmp_path / "bundle")
    with closing(Inline(bundle, "auto", VirtualClock(10**15), 2, pins)) as engine:
        assert settled(engine) == (2, "the config says so")
    with closing(Inline(bundle, "auto", VirtualClock(10**15), "auto", pins)) as engine:
        assert settled(engine) == (1, "not measured yet")
    assert not (tmp_path / "threads.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}'])
def test_a_file_of_pins_that_cannot_be_read_costs_a_measurement_and_no_more(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "threads.json"
    file.write_bytes(content)
    with closing(Board(tmp_path / "bundle", {1: 8, 2: 4, 4: 4}, Pins(file))) as engine:
        assert settled(engine)[0] == 2
    assert len(json.loads(file.read_text())) == 1


def test_pins_without_a_folder_to_lie_in_are_kept_in_memory(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "not there" / "threads.json")
    for made in ([1, 2], [1]):
        with closing(Board(tmp_path / "bundle", {1: 8, 2: 8}, pins)) as engine:
            assert settled(engine)[0] == 1
            assert engine.made == made


def test_a_small_model_in_a_worker_keeps_to_one_thread(tmp_path: Path) -> None:
    with closing(Supervisor(write_bundle(tmp_path), "auto", RealClock(), threads="auto")) as engine:
        assert settled(engine)[0] == 1


@pytest.mark.parametrize(
    ("cpuinfo", "says"),
    [
        (
            "processor\t: 0\nBogoMIPS\t: 108.00\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
            "Raspberry Pi 4 Model B Rev 1.4, 4 cores",
        ),
        (
            "model name\t: ARMv7 Processor rev 4 (v7l)\nModel\t\t: Raspberry Pi 3 Model B\n",
            "Raspberry Pi 3 Model B, 4 cores",
        ),
        (
            "model\t\t: 85\nmodel name\t: Intel(R) Atom(TM) CPU  E3845\n",
            "Intel(R) Atom(TM) CPU  E3845, 4 cores",
        ),
        ("", f"{os.uname().machine}, 4 cores"),
    ],
)
def test_a_board_is_its_model_or_its_cpu_and_how_many_cores_are_ours(
    tmp_path: Path, cpuinfo: str, says: str
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert board(tmp_path) == says

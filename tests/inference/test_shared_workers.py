"""Several models in one worker: a process an accelerator, and one model's end is not its neighbours'."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tiny import classifier, windows, write_bundle

from edgeagent.agent.clock import VirtualClock
from edgeagent.config.schema import Delegate, External
from edgeagent.errors import BundleFault, InferenceFault
from edgeagent.inference import inline
from edgeagent.inference.inline import Inline
from edgeagent.inference.supervisor import Supervisor, Workers
from edgeagent.records import Float32Array

pytestmark = pytest.mark.tflite_runtime

WINDOW = windows(1)[0]
SOURCE = Path(__file__).parent / "delegate" / "delegate.c"
PATIENCE_S = 90.0


class Board:
    """The models of one board, by name, and the workers that they share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clock, self.workers = VirtualClock(now_ns=10**15), Workers()
        self.models: dict[str, Supervisor] = {}

    def add(
        self,
        name: str,
        model: bytes = b"",
        accelerator: str | External = "cpu",
        *,
        deadline_s: float = 20.0,
        apart: bool = False,
    ) -> Supervisor:
        bundle = write_bundle(self._folder / name, [model] if model else [])
        engine = Supervisor(
            bundle, accelerator, self.clock, deadline_s=deadline_s, workers=self.workers, apart=apart
        )
        self.models[name] = engine
        return engine

    def start(self, *names: str) -> list[Supervisor]:
        engines = [self.add(name) for name in names]
        for engine in engines:
            engine.start()
        return engines


@contextmanager
def board_in(folder: Path) -> Iterator[Board]:
    board = Board(folder)
    try:
        yield board
    finally:
        for engine in board.models.values():
            engine.close()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with board_in(tmp_path) as one:
        yield one


def pid(engine: Supervisor) -> int:
    found = engine.status()["pid"]
    assert isinstance(found, int)
    return found


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = threading.Event()
    timer = threading.Timer(PATIENCE_S, deadline.set)
    timer.start()
    try:
        while not holds():
            assert not deadline.wait(0.005), f"not within {PATIENCE_S:g} s"
    finally:
        timer.cancel()


def scores(engine: Supervisor, window: Float32Array = WINDOW) -> Float32Array:
    return np.array(engine.predict(window).scores, np.float32)


def expected(engine: Supervisor) -> Float32Array:
    with np.load(engine.bundle.golden.file) as file:
        found: Float32Array = file["outputs"]
    return found


def dies_computing(engine: Supervisor, number: int) -> InferenceFault:
    """Let its worker end by a signal while it computes for this model."""
    worker = engine._runner._worker  # type: ignore[union-attr]
    os.kill(worker.pid, signal.SIGSTOP)
    faults: list[InferenceFault] = []

    def ask() -> None:
        with pytest.raises(InferenceFault) as fault:
            engine.predict(WINDOW)
        faults.append(fault.value)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: bool(worker._asked))
    os.kill(worker.pid, number)
    os.kill(worker.pid, signal.SIGCONT)
    asking.join(PATIENCE_S)
    (fault,) = faults
    return fault


def test_models_on_one_accelerator_share_a_process_and_each_gives_its_own_scores(board: Board) -> None:
    first, second = board.start("first", "second")
    assert pid(first) == pid(second)
    for window, one, other in zip(windows(), expected(first), expected(second), strict=True):
        np.testing.assert_allclose(scores(first, window), one, atol=1e-6)
        np.testing.assert_allclose(scores(second, window), other, atol=1e-6)


def test_many_threads_that_ask_at_once_each_get_their_own_answer(board: Board) -> None:
    engines = board.start("a", "b", "c")
    wrong: list[str] = []

    def ask(engine: Supervisor, shift: int) -> None:
        wanted = expected(engine)
        for i in range(50):
            k = (i + shift) % len(wanted)
            if not np.allclose(scores(engine, windows()[k]), wanted[k], atol=1e-6):
                wrong.append(f"{engine.bundle.folder.name} {k}")

    threads = [threading.Thread(target=ask, args=(engine, i)) for i, engine in enumerate(engines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {pid(engine) for engine in engines} == {pid(engines[0])}


def test_models_that_come_and_go_all_the_time_leave_the_one_that_stays_in_peace(board: Board) -> None:
    (stays,) = board.start("stays")
    guests = [board.add(f"guest {i}") for i in range(3)]

    def come_and_go(guest: Supervisor) -> None:
        for _ in range(8):
            with closing(
                Supervisor(guest.bundle, "cpu", board.clock, deadline_s=20.0, workers=board.workers)
            ) as one:
                one.start()

    threads = [threading.Thread(target=come_and_go, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    process = pid(stays)
    while any(thread.is_alive() for thread in threads):
        np.testing.assert_allclose(scores(stays), expected(stays)[0], atol=1e-6)
    assert (pid(stays), stays.status()["restarts"]) == (process, 0)


def test_a_model_that_goes_leaves_its_neighbour_and_the_last_ends_the_process(board: Board) -> None:
    first, second = board.start("first", "second")
    process = pid(first)
    first.close()
    second.predict(WINDOW)
    assert pid(second) == process
    second.close()
    assert not Path(f"/proc/{process}").exists()
    (third,) = board.start("third")
    assert pid(third) != process


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_model_that_crashes_the_worker_costs_its_neighbours_nothing_and_is_alone_from_then_on(
    board: Board, number: int
) -> None:
    guilty, sound = board.start("guilty", "sound")
    fault = dies_computing(guilty, number)
    assert f"died while predicting with model_0.tflite ({signal.Signals(number).name})" in str(fault)
    np.testing.assert_allclose(scores(sound), expected(sound)[0], atol=1e-6)
    assert sound.status()["state"] == "ok"
    assert "another model took the worker with it" in str(sound.status()["last_error"])
    assert (guilty.status()["state"], sound.status()["restarts"]) == ("restarting", 1)
    board.clock.sleep_s(1)
    guilty.predict(WINDOW)
    assert pid(guilty) != pid(sound)
    assert guilty.device != sound.device
    dies_computing(guilty, number)
    sound.predict(WINDOW)
    assert sound.status()["restarts"] == 1, "the second time nobody else was in it"


def test_a_model_that_hangs_is_killed_and_its_neighbours_are_back_at_their_next_request(board: Board) -> None:
    guilty, sound = board.add("guilty", deadline_s=0.2), board.add("sound")
    guilty.start()
    sound.start()
    os.kill(pid(guilty), signal.SIGSTOP)
    with pytest.raises(InferenceFault, match=r"hung while predicting .* within 0\.2 s"):
        guilty.predict(WINDOW)
    sound.predict(WINDOW)
    board.clock.sleep_s(1)
    guilty.predict(WINDOW)
    assert pid(guilty) != pid(sound)


def test_a_worker_that_someone_kills_is_nobodys_fault_and_all_share_the_next_one(board: Board) -> None:
    first, second = board.start("first", "second")
    os.kill(pid(first), signal.SIGKILL)
    with pytest.raises(InferenceFault, match="SIGKILL"):
        first.predict(WINDOW)
    second.predict(WINDOW)
    board.clock.sleep_s(1)
    first.predict(WINDOW)
    assert pid(first) == pid(second)


@pytest.mark.parametrize("broken", [b"TFL3", classifier()[:600]])
def test_a_model_that_cannot_be_loaded_does_not_keep_its_neighbour_from_predicting(
    board: Board, broken: bytes
) -> None:
    """LiteRT refuses these, tflite-runtime dies of some; then the neighbour is loaded anew."""
    (sound,) = board.start("sound")
    bad = board.add("bad", broken)
    with pytest.raises((BundleFault, InferenceFault)):
        bad.start()
    np.testing.assert_allclose(scores(sound), expected(sound)[0], atol=1e-6)
    assert sound.status()["state"] == "ok"


def test_a_model_that_is_to_be_apart_has_a_worker_to_itself(board: Board) -> None:
    (shared,) = board.start("shared")
    alone = board.add("alone", apart=True)
    alone.start()
    (later,) = board.start("later")
    assert pid(alone) != pid(shared)
    assert pid(later) == pid(shared)


def test_the_workers_memory_may_grow_with_each_model_that_is_in_it_and_no_further(board: Board) -> None:
    first, second = board.start("first", "second")
    size = first.bundle.variants[0].file.stat().st_size
    for _ in range(3):
        second.close()
        (second,) = board.start("second")
    assert resource.prlimit(pid(first), resource.RLIMIT_AS)[0] == 512_000_000 + 2 * 3 * size


def test_a_worker_that_has_used_up_its_numbers_takes_no_more_models(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.inference.supervisor._NUMBERS", 2)
    first, second, third = board.start("first", "second", "third")
    assert pid(first) == pid(second) != pid(third)
    for engine in (first, second, third):
        engine.predict(WINDOW)


# Accelerators


@pytest.fixture(scope="session")
def npu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shared") / "npu.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-DWORKS", "-o", library, SOURCE, "-lm"], check=True)
    return library


def on(library: Path, log: Path) -> External:
    log.touch()
    return External(external=Delegate(library=str(library), options={"log": str(log)}))


def test_each_accelerator_has_one_worker_for_all_its_models(board: Board, npu: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first, second = (
        board.add("first", accelerator=on(npu, log)),
        board.add("second", accelerator=on(npu, log)),
    )
    other = board.add("other", accelerator=on(npu, tmp_path / "other-log"))
    cpu = board.add("cpu")
    for engine in (first, second, other, cpu):
        engine.start()
    assert pid(first) == pid(second)
    assert len({pid(engine) for engine in (first, other, cpu)}) == 3
    first.close()
    second.predict(WINDOW)
    assert log.read_text().split().count("destroy") == 1, "the accelerator was told that one model is gone"


def test_on_an_accelerator_nobody_is_apart_since_only_one_process_can_have_it(
    board: Board, npu: Path, tmp_path: Path
) -> None:
    requested = on(npu, tmp_path / "log")
    first = board.add("first", accelerator=requested)
    second = board.add("second", accelerator=requested, apart=True)
    first.start()
    second.start()
    assert pid(first) == pid(second)
    assert first.device == second.device == "external:npu.so"


def test_a_better_choice_that_is_probed_in_a_neighbours_worker_mixes_up_no_answers(
    board: Board, npu: Path, tmp_path: Path
) -> None:
    missing, log = tmp_path / "npu.so", tmp_path / "log"
    late = board.add("late", accelerator=on(missing, log))
    late.start()
    assert late.predict(WINDOW).accelerator == "cpu"
    missing.write_bytes(npu.read_bytes())
    there = board.add("there", accelerator=on(missing, log))
    there.start()
    board.clock.sleep_s(61)
    late.predict(WINDOW)  # begins the probe
    for window, wanted in zip(windows(), expected(there), strict=True):
        np.testing.assert_allclose(scores(there, window), wanted, atol=2 / 256)
    assert late._probe is not None
    wait_for(late._probe.runner.is_ready)
    late.predict(WINDOW)
    assert late.predict(WINDOW).accelerator == "external:npu.so"
    assert pid(late) == pid(there)


def test_inline_models_on_one_accelerator_take_turns_also_while_one_is_proved(
    npu: Path, tmp_path: Path
) -> None:
    requested = on(npu, tmp_path / "log")
    bundle = write_bundle(tmp_path / "bundle")
    turn = inline._turns[str(npu)]
    with closing(Inline(bundle, requested, VirtualClock(now_ns=10**15))) as engine:
        with turn:
            proving = threading.Thread(target=engine.start)
            proving.start()
            wait_for(lambda: "create" in (tmp_path / "log").read_text())
            assert "invoke" not in (tmp_path / "log").read_text(), "another one has the accelerator"
        proving.join(PATIENCE_S)
        assert engine.predict(WINDOW).accelerator == "external:npu.so"


def test_no_descriptor_is_left_behind_when_models_come_and_go(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    with board_in(tmp_path) as board:
        first, second = board.start("first", "second")
        dies_computing(first, signal.SIGSEGV)
        second.predict(WINDOW)
        with closing(board.add("third")) as third:
            third.start()
    assert descriptors() == before

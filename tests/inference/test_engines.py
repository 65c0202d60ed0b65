"""Whatever a model does, the agent goes on: both engines, then what only the child process can promise."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from flatmodel import FULLY_CONNECTED, INT8, INT32, TILE, Op, Tensor, model
from tiny import classifier, weights, windows, write_bundle

from edgeagent.agent.clock import RealClock, VirtualClock
from edgeagent.errors import Bug, BundleFault, ConfigFault, InferenceFault
from edgeagent.inference import Answer
from edgeagent.inference.bundle import Bundle
from edgeagent.inference.delegates import CPU
from edgeagent.inference.engine import ModelEngine
from edgeagent.inference.inline import Inline
from edgeagent.inference.recovery import FAILURES_A_CHOICE, QUARANTINE_NS
from edgeagent.inference.supervisor import MEMORY_BYTES, Supervisor, Workers
from edgeagent.inference.tensors import Signature
from edgeagent.inference.worker import Settings
from edgeagent.records import NS_PER_S, Float32Array
from edgeagent.timebase import Clock

pytestmark = pytest.mark.tflite_runtime

Build = Callable[[Bundle, str, Clock], ModelEngine]
WINDOW = windows(1)[0]


@pytest.fixture(params=[Supervisor, Inline])
def build(request: pytest.FixtureRequest) -> Build:
    kind: Build = request.param
    return kind


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(now_ns=10**15)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path)


@pytest.fixture
def supervisor(bundle: Bundle, clock: VirtualClock) -> Iterator[Supervisor]:
    with closing(Supervisor(bundle, "auto", clock)) as engine:
        engine.start()
        yield engine


def _golden(bundle: Bundle) -> tuple[Float32Array, Float32Array]:
    with np.load(bundle.golden.file) as file:
        return file["inputs"], file["outputs"]


def _pid(engine: ModelEngine) -> int:
    pid = engine.status()["pid"]
    assert isinstance(pid, int)
    return pid


def _until_it_serves(engine: ModelEngine, clock: VirtualClock) -> Answer:
    """The first answer, waiting out each back-off; fails if one variant may fail more often than it should."""
    for _ in range(FAILURES_A_CHOICE):
        try:
            return engine.predict(WINDOW)
        except InferenceFault:
            clock.sleep_s(2)
    return pytest.fail(f"still not serving: {engine.status()}")


# Both engines


def test_an_engine_gives_a_score_a_label_and_says_who_gave_it(
    build: Build, bundle: Bundle, clock: VirtualClock
) -> None:
    with closing(build(bundle, "auto", clock)) as engine:
        engine.start()
        for window, expected in zip(*_golden(bundle), strict=True):
            answer = engine.predict(window)
            np.testing.assert_allclose(answer.scores, expected, atol=1e-6)
            assert (answer.variant, answer.accelerator) == ("model_0.tflite", "cpu")


def test_status_tells_what_was_asked_and_got_and_why(
    build: Build, bundle: Bundle, clock: VirtualClock
) -> None:
    engine = build(bundle, "auto", clock)
    assert engine.status()["state"] == "starting"
    with closing(engine):
        engine.start()
        status = engine.status()
    assert (status["asked"], status["got"], status["state"]) == ("auto", "cpu", "ok")
    assert (status["restarts"], status["last_error"]) == (0, "")
    assert "first of the bundle's variants" in str(status["why"])
    assert str(status["backend"]).startswith(("ai-edge-litert 2", "tflite-runtime 2.14"))


def test_an_accelerator_that_is_not_there_is_refused_with_those_that_are(
    build: Build, bundle: Bundle
) -> None:
    with pytest.raises(ConfigFault, match="'tpu' is not known here; expected auto, cpu, edgetpu"):
        build(bundle, "tpu", RealClock())


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_window_with_nan_or_inf_in_it_is_refused_and_the_model_goes_on(
    build: Build, bundle: Bundle, clock: VirtualClock, number: float
) -> None:
    with closing(build(bundle, "auto", clock)) as engine:
        engine.start()
        broken = WINDOW.copy()
        broken[:, 1] = number
        with pytest.raises(InferenceFault, match="no sample at all"):
            engine.predict(broken)
        assert sum(engine.predict(WINDOW).scores) == pytest.approx(1, abs=0.02)
        assert engine.status()["restarts"] == 0


def test_status_tells_what_share_of_the_values_was_beyond_the_models_range(
    build: Build, bundle: Bundle, clock: VirtualClock
) -> None:
    """Golden vectors do not count. A third of one window in two is a sixth."""
    with closing(build(bundle, "auto", clock)) as engine:
        engine.start()
        assert engine.status()["clipped"] == 0
        engine.predict(np.full_like(WINDOW, 10.0))
        engine.predict(np.array([[10.0, 10.0, 1e6]] * 4, np.float32))
        assert engine.status()["clipped"] == pytest.approx(1 / 6)


def test_a_window_of_another_shape_is_our_bug(build: Build, bundle: Bundle, clock: VirtualClock) -> None:
    with closing(build(bundle, "auto", clock)) as engine, pytest.raises(Bug, match=r"\(1, 3\)"):
        engine.predict(np.zeros((1, 3), np.float32))


def test_a_model_that_fails_its_golden_vectors_does_not_serve(
    build: Build, bundle: Bundle, clock: VirtualClock
) -> None:
    inputs, outputs = _golden(bundle)
    np.savez(bundle.golden.file, inputs=inputs, outputs=outputs[:, ::-1])
    with closing(build(bundle, "auto", clock)) as engine:
        with pytest.raises(BundleFault, match="fails its golden vectors"):
            engine.start()
        assert engine.status()["state"] == "quarantined"
        with pytest.raises(InferenceFault, match=r"quarantined .*It is tried again in 300\.0 s"):
            engine.predict(WINDOW)


def test_a_model_that_was_altered_never_reaches_the_runtime(
    build: Build, bundle: Bundle, clock: VirtualClock
) -> None:
    bundle.variants[0].file.write_bytes(classifier()[:200])
    with closing(build(bundle, "auto", clock)) as engine:
        with pytest.raises(BundleFault, match="altered or cut short"):
            engine.start()
        assert engine.status()["pid"] is None


def test_an_unsupported_operator_gives_way_to_the_next_variant(
    build: Build, tmp_path: Path, clock: VirtualClock
) -> None:
    bundle = write_bundle(tmp_path, [classifier(custom_op="edgetpu-custom-op"), classifier()])
    with closing(build(bundle, "auto", clock)) as engine:
        engine.start()
        assert engine.predict(WINDOW).variant == "model_1.tflite"
        why = str(engine.status()["why"])
    assert why.startswith(
        "model_1.tflite, because model_0.tflite: the model needs the operator edgetpu-custom-op"
    )


def test_a_variant_that_computes_otherwise_gives_way_to_the_next(
    build: Build, tmp_path: Path, clock: VirtualClock
) -> None:
    """It loads and runs; only its golden vectors tell."""
    other = classifier().replace(weights().tobytes(), (-weights()).tobytes())
    with closing(build(write_bundle(tmp_path, [other, classifier()]), "auto", clock)) as engine:
        engine.start()
        assert engine.predict(WINDOW).variant == "model_1.tflite"
        why = str(engine.status()["why"])
    assert why.startswith("model_1.tflite, because model_0.tflite: ")
    assert "model_0.tflite fails its golden vectors: vector" in why


def test_a_quarantined_model_serves_as_soon_as_its_bundle_was_mended(
    build: Build, bundle: Bundle, clock: VirtualClock
) -> None:
    bundle.variants[0].file.write_bytes(b"")
    with closing(build(bundle, "auto", clock)) as engine:
        with pytest.raises(BundleFault, match="is empty"):
            engine.start()
        with pytest.raises(InferenceFault, match="quarantined"):
            engine.predict(WINDOW)
        bundle.variants[0].file.write_bytes(classifier())
        engine.predict(WINDOW)
        assert engine.status()["state"] == "ok"


def test_a_closed_engine_predicts_no_more(build: Build, bundle: Bundle, clock: VirtualClock) -> None:
    engine = build(bundle, "auto", clock)
    engine.start()
    engine.close()
    engine.close()
    with pytest.raises(InferenceFault, match="is closed"):
        engine.predict(WINDOW)


# The child process alone


def test_a_worker_that_was_killed_between_requests_costs_one_and_comes_back(
    supervisor: Supervisor, clock: VirtualClock
) -> None:
    first = _pid(supervisor)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(InferenceFault, match=r"the worker died while .* \(SIGKILL\).*ran out of memory"):
        supervisor.predict(WINDOW)
    assert supervisor.status()["pid"] is None
    supervisor.predict(WINDOW)
    second = _pid(supervisor)
    assert second != first
    os.kill(second, signal.SIGKILL)
    with pytest.raises(InferenceFault, match="SIGKILL"):
        supervisor.predict(WINDOW)
    with pytest.raises(InferenceFault, match=r"restarting .*tried again in 0\.2 s"):
        supervisor.predict(WINDOW)
    clock.sleep_s(0.2)
    supervisor.predict(WINDOW)
    assert supervisor.status()["restarts"] == 2


def test_a_worker_that_is_killed_during_a_request_costs_that_request(
    supervisor: Supervisor, clock: VirtualClock
) -> None:
    os.kill(_pid(supervisor), signal.SIGSTOP)  # so that the request is under way for certain
    kill = threading.Timer(0.05, os.kill, (_pid(supervisor), signal.SIGKILL))
    kill.start()
    with pytest.raises(InferenceFault, match=r"died while predicting with model_0.tflite \(SIGKILL\)"):
        supervisor.predict(WINDOW)
    kill.join()
    clock.sleep_s(1)
    supervisor.predict(WINDOW)


def test_a_model_that_crashes_its_worker_again_and_again_is_left_alone_until_its_bundle_changes(
    bundle: Bundle, clock: VirtualClock
) -> None:
    with closing(Supervisor(bundle, "auto", clock)) as engine:
        for _ in range(FAILURES_A_CHOICE):
            engine.start()
            os.kill(_pid(engine), signal.SIGSEGV)
            with pytest.raises(InferenceFault, match="SIGSEGV"):
                engine.predict(WINDOW)
            clock.sleep_s(2)
        clock.sleep_s(10 * QUARANTINE_NS / NS_PER_S)
        with pytest.raises(
            InferenceFault, match=r"quarantined .* once the config or a file of the bundle has"
        ):
            engine.predict(WINDOW)
        (bundle.folder / "bundle.yaml").touch()
        engine.predict(WINDOW)
        assert engine.status()["state"] == "ok"


def test_a_worker_that_hangs_past_its_deadline_is_killed(bundle: Bundle, clock: VirtualClock) -> None:
    with closing(Supervisor(bundle, "auto", clock, deadline_s=0.05)) as engine:
        engine.start()
        pid = _pid(engine)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(
            InferenceFault, match=r"hung while predicting .* no answer within 0\.05 s, so it was killed"
        ):
            engine.predict(WINDOW)
        assert not Path(f"/proc/{pid}").exists()
        assert engine.status()["state"] == "restarting"


def huge_header(model: bytes) -> bytes:
    """Its first four bytes, which say where its root is, say 2 GB."""
    return b"\xff\xff\xff\x7f" + model[4:]


@pytest.mark.parametrize(
    "broken",
    [
        classifier()[:600],
        np.random.default_rng(3).bytes(900),
        b"TFL3",
        b"\0",
        huge_header(classifier()),
    ],
    ids=["truncated", "random", "a word", "a byte", "huge header"],
)
def test_a_malformed_model_with_the_right_hash_harms_only_its_worker(
    tmp_path: Path, clock: VirtualClock, broken: bytes
) -> None:
    """tflite-runtime dies of some of these (SIGSEGV), LiteRT refuses them: either way the next variant serves."""
    bundle = write_bundle(tmp_path, [broken, classifier()])
    with closing(Supervisor(bundle, "auto", clock)) as engine:
        assert _until_it_serves(engine, clock).variant == "model_1.tflite"
        assert engine.status()["state"] == "ok"
        assert "model_0.tflite: " in str(engine.status()["last_error"])


def greedy(size_bytes: int) -> bytes:
    """A model whose only tensor beside its input is so large: what a flipped bit can make of a shape."""
    times = Tensor((2,), INT32, data=np.array([1000, size_bytes // 12_000], np.int32))
    row = Tensor((1, 12), INT8, 0.1)
    return model([row, times, row], [Op(TILE, (0, 1), (2,))], [0], [2])


@pytest.mark.parametrize("size_bytes", [600_000_000, 11_000_000_000])
def test_a_model_that_asks_for_more_memory_than_it_may_have_is_stopped(
    tmp_path: Path, clock: VirtualClock, size_bytes: int
) -> None:
    bundle = write_bundle(tmp_path, [greedy(size_bytes), classifier()])
    with closing(Supervisor(bundle, "auto", clock)) as engine:
        assert _until_it_serves(engine, clock).variant == "model_1.tflite"
        assert "memory" in str(engine.status()["last_error"])


def test_it_is_the_limit_that_stops_it(tmp_path: Path, clock: VirtualClock) -> None:
    bundle = write_bundle(tmp_path, [greedy(600_000_000), classifier()])
    with closing(Supervisor(bundle, "auto", clock, memory_bytes=4 * 10**9)) as engine:
        engine.start()
        assert "[1000, 600000]" in str(engine.status()["last_error"])


def test_signals_to_the_terminals_group_do_not_end_the_worker(supervisor: Supervisor) -> None:
    pid = _pid(supervisor)
    assert os.getpgid(pid) != os.getpgid(0)
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGTERM)
    supervisor.predict(WINDOW)
    assert _pid(supervisor) == pid


def test_ps_shows_what_the_worker_is(supervisor: Supervisor) -> None:
    assert Path(f"/proc/{_pid(supervisor)}/comm").read_text().strip() == "edgeagent-model"


def test_short_of_memory_the_kernel_takes_the_worker_first(supervisor: Supervisor) -> None:
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(Path(f"/proc/{_pid(supervisor)}/oom_score_adj").read_text()) > ours


def test_the_agent_itself_loads_no_runtime(tmp_path: Path, bundle: Bundle) -> None:
    program = f"""
import sys
from pathlib import Path
from edgeagent.agent.clock import RealClock
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.supervisor import Supervisor
engine = Supervisor(load_bundle(Path({str(bundle.folder)!r})), "auto", RealClock())
engine.start()
engine.close()
sys.exit(any("litert" in name or "tflite_runtime" in name for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


def test_the_worker_imports_numpy_and_one_runtime_and_nothing_else_that_is_not_pythons_own(
    bundle: Bundle,
) -> None:
    program = f"""
import sys
import edgeagent.inference.worker
from edgeagent.inference.backends import open_model
from edgeagent.inference.delegates import CPU
from edgeagent.inference.tensors import Signature
model = open({str(bundle.variants[0].file)!r}, "rb").read()
open_model("model.tflite", model, Signature(4, 3, 3, [0.0] * 3, [1.0] * 3), 1, CPU)
roots = {{name.partition(".")[0] for name, one in sys.modules.items() if getattr(one, "__file__", None)}}
print(*roots - set(sys.stdlib_module_names))
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    found = set(done.stdout.split()) - {"_distutils_hack", "edgeagent"}  # the first: setuptools' own start-up
    assert found in ({"numpy", "ai_edge_litert"}, {"numpy", "tflite_runtime"})


def test_the_worker_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path, bundle: Bundle) -> None:
    program = f"""
import os, signal
from pathlib import Path
from edgeagent.agent.clock import RealClock
from edgeagent.inference.bundle import load_bundle
from edgeagent.inference.supervisor import Supervisor
engine = Supervisor(load_bundle(Path({str(bundle.folder)!r})), "auto", RealClock())
engine.start()
print(engine.status()["pid"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    # As the next best parent we can tell when the orphan ends.
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        parent = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, check=False
        )
        code = os.waitpid(int(parent.stdout), 0)[1]
    finally:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    assert (parent.returncode, code) == (-signal.SIGKILL, 0)


_PR_SET_CHILD_SUBREAPER = 36


def test_close_from_another_thread_ends_a_request_under_way(supervisor: Supervisor) -> None:
    os.kill(_pid(supervisor), signal.SIGSTOP)
    closing_soon = threading.Timer(0.05, supervisor.close)
    closing_soon.start()
    with pytest.raises(InferenceFault, match="died while predicting"):
        supervisor.predict(WINDOW)
    closing_soon.join()
    assert supervisor.status()["pid"] is None


def test_a_picture_after_the_first_few_asks_the_kernel_for_no_memory() -> None:
    """To be given pages and to give them back at each picture took as long as a fifth of a MobileNet."""
    pixels = np.random.default_rng(3).integers(0, 256, (224 * 224, 3)).astype(np.float32)
    signature = Signature(224 * 224, 3, 1, mean=[127.5] * 3, std=[127.5] * 3)
    settings = Settings("sum.tflite", signature, CPU, 1, MEMORY_BYTES)
    child = Workers().host("sum", _sum_of(pixels.size), settings, deadline_s=60, apart=True)
    with closing(child):
        child.load()
        for _ in range(5):  # a runtime takes its own memory by the second
            assert child.predict(pixels, None).clipped > 0  # to count it is what took ours
        before = _page_faults(child.pid)
        for _ in range(20):
            child.predict(pixels, None)
        assert _page_faults(child.pid) - before < 20 * 100


def _sum_of(values: int) -> bytes:
    weights, bias = np.ones((1, values), np.int8), np.zeros(1, np.int32)
    tensors = [
        Tensor((1, values), INT8, 1 / 128, 0),
        Tensor((1, values), INT8, 1.0, 0, weights),
        Tensor((1,), INT32, 1 / 128, 0, bias),
        Tensor((1, 1), INT8, 1024.0, 0),
    ]
    return model(tensors, [Op(FULLY_CONNECTED, (0, 1, 2), (3,))], [0], [3])


def _page_faults(pid: int) -> int:
    """How often the kernel had to give a process memory that it did not have."""
    after_the_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(after_the_name[7])


def test_a_folder_full_of_a_technicians_scripts_does_not_confuse_the_worker(
    bundle: Bundle, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('not the numpy you sought')")
    monkeypatch.chdir(tmp_path)
    with closing(Supervisor(bundle, "auto", clock)) as engine:
        engine.start()


def test_no_descriptor_is_left_behind(bundle: Bundle, clock: VirtualClock) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(2):
        engine = Supervisor(bundle, "auto", clock)
        engine.start()
        engine.close()
    assert descriptors() == before

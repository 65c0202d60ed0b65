"""Models on accelerators: real delegates, built here from C, that work, refuse, fail, crash and hang."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny import classifier, windows, write_bundle

from edgeagent.agent.clock import VirtualClock
from edgeagent.config.schema import Delegate, External
from edgeagent.errors import InferenceFault
from edgeagent.inference import Answer, edgetpu
from edgeagent.inference.delegates import Accelerator, load_delegate
from edgeagent.inference.engine import ModelEngine
from edgeagent.inference.faults import AcceleratorFault
from edgeagent.inference.inline import Inline
from edgeagent.inference.recovery import FAILURES_A_CHOICE, FIRST_PROBE_NS
from edgeagent.inference.supervisor import Supervisor
from edgeagent.inference.tflite import find_runtime
from edgeagent.records import NS_PER_S

pytestmark = pytest.mark.tflite_runtime

WINDOW = windows(1)[0]
SOURCE = Path(__file__).parent / "delegate" / "delegate.c"
KINDS = ("works", "refuses", "fails", "crashes", "hangs")


def compile_library(source: Path, library: Path, *flags: str) -> Path:
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", *flags, "-o", library, source, "-lm"], check=True)
    return library


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("delegates")
    return {kind: compile_library(SOURCE, folder / f"{kind}.so", f"-D{kind.upper()}") for kind in KINDS}


@contextmanager
def engine_on(
    folder: Path, library: Path | str, kind: type[ModelEngine] = Supervisor, **options: str
) -> Iterator[tuple[ModelEngine, VirtualClock, Path]]:
    """An engine that is asked for this delegate, its clock, and the delegate's log."""
    folder.mkdir(exist_ok=True)
    clock, log = VirtualClock(now_ns=10**15), folder / "log"
    log.touch()
    external = External(external=Delegate(library=str(library), options={"log": str(log), **options}))
    deadline: dict[str, Any] = {"deadline_s": 0.3} if kind is Supervisor else {}
    with closing(kind(write_bundle(folder / "bundle"), external, clock, **deadline)) as engine:
        yield engine, clock, log


def served(engine: ModelEngine, clock: VirtualClock) -> Answer:
    """The first answer, waiting out each back-off."""
    for _ in range(2 * FAILURES_A_CHOICE):
        try:
            return engine.predict(WINDOW)
        except InferenceFault:
            clock.sleep_s(2)
    return pytest.fail(f"still not serving: {engine.status()}")


@pytest.mark.parametrize("kind", [Supervisor, Inline])
def test_a_delegate_that_works_gets_its_options_and_computes_what_the_cpu_would(
    kind: type[ModelEngine], tmp_path: Path, libraries: dict[str, Path]
) -> None:
    with engine_on(tmp_path, libraries["works"], kind, cache="3") as (engine, _, log):
        engine.start()
        golden = len(log.read_text().split("invoke")) - 1
        answer = engine.predict(WINDOW)
        assert log.read_text().split() == ["cache3", "create", *["invoke"] * (golden + 1)]
        assert golden == len(windows())
        assert (answer.variant, answer.accelerator) == ("model_0.tflite", "external:works.so")
        assert (engine.status()["asked"], engine.status()["got"]) == ("external:works.so",) * 2
        with np.load(engine.bundle.golden.file) as file:
            np.testing.assert_allclose(answer.scores, file["outputs"][0], atol=2 / 256)


def test_a_delegate_is_let_go_in_order_when_its_engine_closes(
    tmp_path: Path, libraries: dict[str, Path]
) -> None:
    """A Coral that was cut off in mid-transfer wants to be replugged."""
    with engine_on(tmp_path, libraries["works"]) as (engine, _, log):
        engine.start()
    assert log.read_text().split()[-1] == "destroy"


class Case(NamedTuple):
    """What a delegate leads to: what the status says of it, what serves then, and what once it was mended."""

    says: str
    serves: str
    mended: str
    tries: int


CASES = {
    "works": Case("is the first of the bundle's variants", "external:works.so", "external:works.so", 1),
    "refuses": Case("refuses: no NPU on this board. See whether", "cpu", "external:refuses.so", 0),
    "fails": Case("failed: the NPU does not answer", "cpu", "external:fails.so", FAILURES_A_CHOICE),
    "crashes": Case("the worker died while predicting", "cpu", "cpu", FAILURES_A_CHOICE),
    "hangs": Case("the worker hung while predicting", "cpu", "external:hangs.so", FAILURES_A_CHOICE),
}


def test_each_of_the_five_delegates_ends_where_it_should(
    tmp_path: Path, libraries: dict[str, Path], tell: Callable[[str], None]
) -> None:
    """Asked for, with the CPU behind it; then mended, and probed. What crashed its workers is not probed again."""
    rows = []
    for kind, case in CASES.items():
        library = tmp_path / f"{kind}.so"
        replace(library, libraries[kind])
        with engine_on(tmp_path / kind, library) as (engine, clock, log):
            assert served(engine, clock).accelerator == case.serves
            status, created = engine.status(), log.read_text().count("create")
            assert (status["asked"], status["got"]) == (f"external:{kind}.so", case.serves)
            assert (status["state"], status["restarts"], created) == ("ok", 0, case.tries)
            assert case.says in str(status["why"])
            said = engine.predict(WINDOW).why
            assert bool(said) == (case.serves == "cpu")
            assert said.partition(":")[0] in str(status["why"])
            replace(library, libraries["works"])
            assert climbed(engine, clock) == case.mended
            invoked = log.read_text().count("invoke")
        rows.append((kind, case.serves, case.mended, created, invoked, case.says))
    heads = ("delegate", "serves", "once mended", "created", "invoked", "says")
    for row in (heads, *rows):
        tell("{:8} | {:17} | {:19} | {:>7} | {:>7} | {}".format(*row))


def replace(library: Path, by: Path) -> None:
    """As a package manager does it: a new file under the old name."""
    young = library.with_suffix(".new")
    young.write_bytes(by.read_bytes())
    young.replace(library)


def climbed(engine: ModelEngine, clock: VirtualClock) -> str:
    """What serves after the next probe has had its time."""
    clock.sleep_s(FIRST_PROBE_NS / NS_PER_S)
    engine.predict(WINDOW)  # begins the probe
    probe = engine._probe
    if probe is not None:
        assert os.path.exists(f"/proc/{probe.runner.pid}")
        while not probe.runner.is_ready():
            Event().wait(0.01)
        engine.predict(WINDOW)
    return engine.predict(WINDOW).accelerator


def test_a_better_choice_is_probed_beside_the_one_that_serves_and_no_window_waits(
    tmp_path: Path, libraries: dict[str, Path]
) -> None:
    library = tmp_path / "npu.so"
    with engine_on(tmp_path, library) as (engine, clock, _):
        assert served(engine, clock).accelerator == "cpu"
        cpu_pid = engine.status()["pid"]
        assert climbed(engine, clock) == "cpu", "it is still not there"
        assert engine.status()["pid"] == cpu_pid, "and what served was not disturbed"
        replace(library, libraries["works"])
        assert climbed(engine, clock) == "cpu", "the second probe comes later than the first"
        clock.sleep_s(FIRST_PROBE_NS / NS_PER_S)
        assert climbed(engine, clock) == "external:npu.so"
        assert engine.status()["pid"] != cpu_pid
        assert not os.path.exists(f"/proc/{cpu_pid}")
        assert "is the first of the bundle's variants" in str(engine.status()["why"])


def test_a_delegate_that_is_lost_while_it_serves_costs_that_request_and_comes_back(
    tmp_path: Path, libraries: dict[str, Path]
) -> None:
    """As when a Coral is pulled, and plugged in again."""
    library = tmp_path / "npu.so"
    replace(library, libraries["works"])
    with engine_on(tmp_path, library) as (engine, clock, _):
        assert served(engine, clock).accelerator == "external:npu.so"
        library.unlink()
        os.kill(int(str(engine.status()["pid"])), 11)
        with pytest.raises(InferenceFault, match="SIGSEGV"):
            engine.predict(WINDOW)
        clock.sleep_s(0.2)
        assert engine.predict(WINDOW).accelerator == "cpu"
        why = str(engine.status()["why"])
        os.kill(int(str(engine.status()["pid"])), 11)
        with pytest.raises(InferenceFault, match="SIGSEGV"):
            engine.predict(WINDOW)
        assert "npu.so" in engine.predict(WINDOW).why, (
            "it is the CPU for want of the other, whatever the CPU's fate"
        )
        assert engine.status()["why"] == why
        assert engine.status()["restarts"] == 2
        replace(library, libraries["works"])
        assert climbed(engine, clock) == "external:npu.so"


def test_a_delegate_that_takes_no_operator_is_not_taken_for_one_that_computes(
    tmp_path: Path, libraries: dict[str, Path]
) -> None:
    library = tmp_path / "idle.so"
    compile_library(SOURCE, library, "-DWORKS", "-DSOFTMAX=NOTHING", "-DNOTHING=9999")
    with engine_on(tmp_path, library) as (engine, clock, _):
        assert served(engine, clock).accelerator == "cpu"
        assert "takes none of the model's operators" in str(engine.status()["why"])


# What is no delegate at all


def refusal(library: Path | str) -> str:
    with pytest.raises(AcceleratorFault) as fault:
        load_delegate(Accelerator("external", str(library)), find_runtime().load_delegate)
    return str(fault.value)


def test_a_library_that_is_missing_says_so(tmp_path: Path) -> None:
    assert "no/such.so: cannot open shared object file: No such file" in refusal(tmp_path / "no/such.so")
    assert "libnosuch.so: cannot open shared object file" in refusal("libnosuch.so")
    assert "install the vendor's package for this machine" in refusal("libnosuch.so")


def test_a_library_for_another_processor_says_which(tmp_path: Path, libraries: dict[str, Path]) -> None:
    alien = bytearray(libraries["works"].read_bytes())
    theirs, name = (243, "RISC-V") if alien[18] != 243 else (62, "x86-64")
    alien[18] = theirs
    (tmp_path / "alien.so").write_bytes(alien)
    assert f"alien.so is for {name}, this program for " in refusal(tmp_path / "alien.so")


def test_a_file_that_is_no_library_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("not a library")
    assert "file too short" in refusal(tmp_path / "text.so")


def test_a_library_that_is_no_delegate_says_which_symbol_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "other.c").write_text("int something_else;")
    other = compile_library(tmp_path / "other.c", tmp_path / "other.so")
    assert "no TFLite delegate; expected the symbol tflite_plugin_create_delegate" in refusal(other)


# The Edge TPU


def test_an_edge_tpu_model_without_the_library_falls_to_the_cpu_and_says_what_to_install(
    tmp_path: Path,
) -> None:
    both = [classifier(custom_op="edgetpu-custom-op"), classifier()]
    bundle = write_bundle(tmp_path, both, accelerators=("edgetpu", "cpu"))
    with closing(Supervisor(bundle, "auto", VirtualClock(now_ns=10**15))) as engine:
        engine.start()
        answer = engine.predict(WINDOW)
        assert (answer.variant, answer.accelerator) == ("model_1.tflite", "cpu")
        assert answer.why == "model_0.tflite on edgetpu: the Edge TPU's library is not there"
        why = str(engine.status()["why"])
    assert "model_0.tflite on edgetpu: the Edge TPU's library is not there" in why
    assert "install the package libedgetpu1-std" in why


def stand_in(folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is called libedgetpu.so.1 for a worker, and is the delegate of this kind; its log."""
    log = folder / "log"
    compile_library(SOURCE, folder / edgetpu.LIBRARY, f"-D{kind}", f'-DLOG="{log}"')
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    return log


@pytest.mark.parametrize(
    ("requested", "device"), [("edgetpu:usb", ["deviceusb"]), ("edgetpu:0", ["device:0"]), ("edgetpu", [])]
)
def test_what_is_called_libedgetpu_is_opened_on_the_device_that_was_asked_for_and_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requested: str, device: list[str]
) -> None:
    log = stand_in(tmp_path, "WORKS", monkeypatch)
    bundle = write_bundle(tmp_path / "bundle", [classifier()] * 2, accelerators=("edgetpu", "cpu"))
    with closing(Supervisor(bundle, requested, VirtualClock(now_ns=10**15))) as engine:
        engine.start()
        answer = engine.predict(WINDOW)
    assert (answer.variant, answer.accelerator, answer.why) == ("model_0.tflite", requested, "")
    assert log.read_text().split()[: len(device) + 2] == [*device, "create", "invoke"]


def test_an_edge_tpu_that_does_not_open_is_told_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(tmp_path, "REFUSES", monkeypatch)
    bundle = write_bundle(tmp_path / "bundle", [classifier()] * 2, accelerators=("edgetpu", "cpu"))
    with closing(Supervisor(bundle, "auto", VirtualClock(now_ns=10**15))) as engine:
        engine.start()
        assert engine.predict(WINDOW).accelerator == "cpu"
        why = str(engine.status()["why"])
    assert "libedgetpu.so.1 refuses: no NPU on this board. Missing: " in why
    assert "no Coral is to be seen on USB or PCIe" in why


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def plug_in_a_coral(root: Path) -> None:
    write(root / "sys/bus/usb/devices/2-1/idVendor", "18d1\n")
    write(root / "sys/bus/usb/devices/2-1/idProduct", "9302\n")


def test_what_an_edge_tpu_lacks_is_told_thing_by_thing(tmp_path: Path) -> None:
    def lacking(*groups: str, has_library: bool = True) -> list[str]:
        return edgetpu.lacking(tmp_path, has_library=has_library, groups=groups)

    library, device, rule = lacking(has_library=False)
    assert "libedgetpu1-std" in library
    assert "no Coral is to be seen" in device
    assert "99-edgeagent.rules" in rule
    plug_in_a_coral(tmp_path)
    rule_file = tmp_path / "etc/udev/rules.d/99-edgeagent.rules"
    ours = Path(__file__).parents[2] / "systemd/99-edgeagent.rules"
    write(rule_file, ours.read_text())
    assert lacking("dialout") == [
        "this user is not in the group edgeagent: sudo usermod -aG edgeagent USER, then log in again"
    ]
    assert lacking("edgeagent") == []
    write(rule_file, "# SUBSYSTEM==usb 1a6e GROUP=nobody")
    assert len(lacking("edgeagent")) == 1
    assert edgetpu.lacking(tmp_path, has_library=True, groups=None) == [], "root needs no rule"


def test_a_coral_on_pci_express_is_seen_too(tmp_path: Path) -> None:
    write(tmp_path / "dev/apex_0", "")
    assert edgetpu.lacking(tmp_path, has_library=True, groups=None) == []

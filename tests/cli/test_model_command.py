"""Model bundles at the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from edgeagent.cli import FAULTS, OK, USAGE, main
from edgeagent.inference.bundle import own_bundles


@pytest.fixture
def activity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped bundle; the current folder is empty but for that."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(own_bundles() / "activity", tmp_path / "mine")


def test_check_says_step_by_step_that_a_shipped_bundle_is_right(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "check", "mine"]) == OK
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * 4
    assert "activity_int8.tflite on cpu: golden vectors: the largest difference is" in lines[-1]


def test_check_of_a_broken_bundle_ends_in_1_and_as_json_says_the_same(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (activity / "activity_int8.tflite").write_bytes(b"TFL3")
    assert main(["model", "check", str(activity), "--json"]) == FAULTS
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["bundle"]) == (False, str(activity))
    assert [step["what"] for step in report["steps"] if step["result"] == "fault"] == ["activity_int8.tflite"]


def test_a_bundle_is_found_by_its_name_or_said_not_to_be(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "show", "activity"]) == OK
    assert str(own_bundles() / "activity") in capsys.readouterr().out
    assert main(["model", "show", "actvity"]) == FAULTS
    assert "no bundle 'actvity' in models, " in capsys.readouterr().err


def test_list_tells_of_each_place_once_and_of_a_folder_alone(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("models").symlink_to(own_bundles())
    assert main(["model", "list"]) == OK
    out = capsys.readouterr().out
    assert out.count("activity  which exercise a wrist is doing: acc_x acc_y acc_z (m/s2)") == 1
    assert main(["model", "list", ".", "--json"]) == OK
    (row,) = json.loads(capsys.readouterr().out)["."]
    assert (row["bundle"], row["gives"]) == ("mine", "7 labels")
    assert main(["model", "list", "mine"]) == OK
    assert capsys.readouterr().out == "mine: none that this user can see\n"


def test_show_tells_what_goes_in_and_comes_out(activity: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "show", "mine"]) == OK
    out = capsys.readouterr().out
    for fact in (
        "window    2 s at 50 Hz, a new one every 1 s",
        "channel   gyro_z (rad/s), less 0, divided by 1.12089",
        "gives     7 labels: pendulum, abduction, elevation, inward, outward, trapezius, row",
        "variant   activity_int8.tflite, for cpu: 15240 bytes, int8",
        "int8[1, 100, 6], scale 0.110613, zero point 50",
        "3 x CONV_2D",
        "accuracy_int8: 0.8942",
        f"card      {Path('mine') / 'README.md'}",
    ):
        assert fact in out


def test_show_as_json_has_bundle_yaml_and_the_tensors(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "show", "mine", "--json"]) == OK
    report = json.loads(capsys.readouterr().out)
    assert report["keys"]["input"]["rate"] == 50
    assert report["models"]["activity_int8.tflite"]["inputs"][0]["shape"] == [1, 100, 6]


def test_schema_has_every_key_of_a_shipped_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "schema"]) == OK
    schema = json.loads(capsys.readouterr().out)
    written = YAML(typ="safe").load(own_bundles() / "activity" / "bundle.yaml")
    assert written.keys() <= schema["properties"].keys()
    assert written["input"].keys() <= schema["properties"]["input"]["properties"].keys()
    assert re.search(
        schema["properties"]["input"]["properties"]["window"]["pattern"], written["input"]["window"]
    )


def test_pack_and_unpack_are_there_and_back(activity: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "pack", "mine"]) == OK
    assert capsys.readouterr().out.startswith("activity-1.0.0.tar: ")
    assert main(["model", "pack", "mine", "-o", "again.tar"]) == OK
    assert Path("again.tar").read_bytes() == Path("activity-1.0.0.tar").read_bytes()
    assert main(["model", "unpack", "again.tar"]) == FAULTS
    assert "models: there is no such folder. Make it" in capsys.readouterr().err
    Path("models").mkdir()
    assert main(["model", "unpack", "again.tar"]) == OK
    assert main(["model", "check", "models/activity"]) == OK


def test_bench_measures_each_way_and_how_right_the_bundle_is_on_its_own_recording(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "bench", "mine", "--calls", "10", "--threads", "1,2", "--json"]) == OK
    one, two = json.loads(capsys.readouterr().out)["figures"]
    assert (one["threads"], two["threads"]) == (1, 2)
    for way in ("raw", "inline", "process"):
        assert 0 < one[way]["p50"] <= one[way]["p90"] <= one[way]["p99"]
    assert 5e6 < one["memory_bytes"] < 100e6
    metrics = YAML(typ="safe").load(activity / "bundle.yaml")["metrics"]
    assert (one["windows"], round(one["accuracy"], 4)) == (252, metrics["accuracy_recording"])


def test_bench_says_how_right_a_bundle_is_on_its_own_pictures_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(own_bundles() / "surface", "mine")
    bench = ["model", "bench", "mine", "--calls", "10", "--threads", "1"]
    assert main([*bench, "--json"]) == OK
    (one,) = json.loads(capsys.readouterr().out)["figures"]
    metrics = YAML(typ="safe").load(Path("mine/bundle.yaml"))["metrics"]
    assert (one["windows"], one["accuracy"]) == (12, metrics["accuracy_pictures"])
    Path("mine/pictures/grass-1.jpg").rename("mine/pictures/brick-9.jpg")
    Path("mine/pictures/grass-2.jpg").rename("mine/pictures/moss-2.jpg")
    assert main(bench) == OK
    assert "right 90.9% of 11 windows of its held-out data" in capsys.readouterr().out
    Path("mine/pictures/gravel-1.jpg").write_bytes(b"no picture")
    assert main(bench) == FAULTS
    assert "no picture (10 bytes)" in capsys.readouterr().out


def test_bench_of_a_bundle_without_a_recording_leaves_accuracy_out(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(activity / "recording")
    assert main(["model", "bench", "mine", "--calls", "10", "--threads", "1"]) == OK
    out = capsys.readouterr().out
    assert re.search(
        r"process +[\d.]+ [um]s +[\d.]+ [um]s +[\d.]+ [um]s\n +worker [\d.]+ MB, off golden 0.0", out
    )
    assert re.search(
        r"\nrecommended: accelerator: cpu, threads: 1\n  cpu with 1 thread takes [\d.]+ [um]s\n", out
    )
    assert "right" not in out
    assert max(map(len, out.splitlines())) <= 100


def test_bench_compares_with_a_model_beside_the_bundle_and_does_not_recommend_it(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(activity / "activity_int8.tflite", "other.tflite")
    shutil.rmtree(activity / "recording")
    beside = ["--beside", "other.tflite", "--calls", "10", "--threads", "1", "--json"]
    assert main(["model", "bench", "mine", *beside]) == OK
    report = json.loads(capsys.readouterr().out)
    own, other = report["figures"]
    assert (own["variant"], own["stray"]) == ("activity_int8.tflite", False)
    assert (other["variant"], other["stray"], other["quantization"]) == ("other.tflite", True, "int8")
    assert report["recommendation"]["variant"] == "activity_int8.tflite"
    assert main(["model", "bench", "mine", "--beside", "missing.tflite"]) == FAULTS
    assert "missing.tflite: it cannot be read" in capsys.readouterr().err


CONFIG = """\
# press 7, hall 2: do not move
device: {id: press-07}
state: state
sensors:
    imu: {driver: mpu6050, bus: "fake:mpu6050", rate: 50 Hz}   # on the bearing
models:
    motion: {bundle: ./mine, accelerator: auto}  # as trained in May
pipelines:
    p: {input: imu, model: motion}
rules:
    fast:
        when: p.label == "row" and p.score > 0.9
        do:
          - event: {severity: warning, message: "rows {p.score:.2f}, and this line is longer than most would wrap it"}
"""


def test_bench_writes_what_it_recommends_into_the_config_and_every_comment_stays(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(activity / "recording")
    config = Path("agent.yaml")
    config.write_text(CONFIG)
    config.chmod(0o640)
    assert (
        main(["model", "bench", "mine", "--calls", "10", "--threads", "1", "-c", "agent.yaml", "--write"])
        == OK
    )
    assert "agent.yaml: motion accelerator: cpu, threads: 1" in capsys.readouterr().out
    wanted = CONFIG.replace("accelerator: auto}", "accelerator: cpu, threads: 1}")
    assert config.read_text() == wanted
    assert config.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in Path().iterdir() if path.name.startswith(".")) == []


def test_bench_with_a_config_that_does_not_have_the_bundle_says_what_it_has(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("agent.yaml").write_text(CONFIG.replace("bundle: ./mine", "bundle: activity"))
    assert main(["model", "bench", "mine", "--calls", "10", "-c", "agent.yaml"]) == FAULTS
    assert (
        "no model of it is the bundle in mine; expected one of its models: motion (activity)"
        in capsys.readouterr().err
    )
    assert main(["model", "bench", "mine", "--write"]) == USAGE


def test_bench_measures_the_accelerator_that_a_config_asks_for_and_says_why_it_cannot(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(activity / "recording")
    external = "{external: {library: /opt/libvx.so, options: {cache: 1}}}"
    Path("agent.yaml").write_text(CONFIG.replace("accelerator: auto", f"accelerator: {external}"))
    assert (
        main(["model", "bench", "mine", "--calls", "10", "--threads", "1", "-c", "agent.yaml", "--json"])
        == OK
    )
    report = json.loads(capsys.readouterr().out)
    cpu, npu = report["figures"]
    assert cpu["process"]["p50"] > 0
    assert (npu["accelerator"], npu["process"]) == ("external:libvx.so", None)
    assert "/opt/libvx.so: cannot open shared object file" in npu["trouble"]
    assert report["recommendation"]["accelerator"] == "cpu"


def test_bench_tells_why_a_variant_cannot_be_measured(
    activity: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = activity / "bundle.yaml"
    yaml.write_text(yaml.read_text().replace("accelerator: cpu", "accelerator: edgetpu"))
    assert main(["model", "bench", "mine", "--calls", "10"]) == FAULTS
    assert "libedgetpu" in capsys.readouterr().out
    assert main(["model", "bench", "mine", "--threads", "0"]) == USAGE


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("../mine/golden.npz", "golden.file: not a file name"),
        ("link.npz", "link.npz is a link out of the bundle, to /etc/passwd"),
    ],
)
def test_check_of_a_config_refuses_a_bundle_that_reaches_out_of_its_folder(
    activity: Path, capsys: pytest.CaptureFixture[str], file: str, says: str
) -> None:
    yaml = activity / "bundle.yaml"
    yaml.write_text(yaml.read_text().replace("file: golden.npz", f"file: {file}"))
    (activity / "link.npz").symlink_to("/etc/passwd")
    Path("agent.yaml").write_text(
        "device: {id: a}\nsensors: {imu: {driver: sine}}\nmodels:\n  m: {bundle: ./mine}\n"
    )
    assert main(["check", "agent.yaml"]) == FAULTS
    out = capsys.readouterr().out
    assert says in out
    assert "agent.yaml:4:" in out

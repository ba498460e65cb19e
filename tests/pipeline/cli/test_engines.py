"""`pipeline engines`: export, test, list and time engines."""

from __future__ import annotations

import json
import os
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from deploy.engines.onnx_engine import OnnxEngine
from deploy.protocol import Engine, EngineError
from deploy.registry import Registry
from pipeline.cli.main import main
from pipeline.errors import InputError
from pipeline.tools import engines as tools


def engines(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["engines", *map(str, arguments)])


def test_export_writes_checked_graphs(tmp_path: Path) -> None:
    done = engines("export", "--precision", "fp16", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    names = ["frame_x4_uint8_fp16.onnx", "prepare_x4_uint8_fp16.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert "differs from PyTorch by at most" in done.stdout
    onnx.checker.check_model(onnx.load(tmp_path / names[0]))


def test_verify_list_and_bench_agree() -> None:
    done = engines("verify", "--engine", "torch", "--engine", "onnx")
    assert done.exit_code == 0, done.output
    assert "torch on cpu: the baseline for the others" in done.stdout
    assert "dB against PyTorch (50 needed)" in done.stdout
    listed = json.loads(engines("list", "--json").stdout)["entries"]
    kinds = [entry["key"]["kind"] for entry in listed if entry["state"] == "ok"]
    assert kinds.count("onnx") >= 2
    assert "selftest" in kinds
    assert "self-test of onnx" in engines("list").stdout

    size = ("--size", "64x96", "--turns", "1", "--engine", "torch", "--engine", "onnx")
    rows = json.loads(engines("bench", *size, "--json").stdout)["engines"]
    assert [row["engine"] for row in rows] == ["torch", "onnx"]
    assert all(row["fps"] > 0 for row in rows)
    assert "| torch | cpu | fp32 |" in engines("bench", *size).stdout


def test_an_engine_with_wrong_results_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a cache of its own, as the engine is quarantined there
    monkeypatch.setenv("PIPELINE_CACHE", str(tmp_path))
    monkeypatch.setattr(OnnxEngine, "enhance", lambda self, lr, *refs, **_: refs[0])
    done = engines("verify", "--engine", "onnx")
    assert done.exit_code == 1
    assert done.stdout.startswith("onnx FAILED and is not used: its results differ")


@pytest.mark.parametrize("size", ["640", "0x64", "100x30", "wide", "32x100000000"])
def test_impossible_sizes_are_refused_in_one_line(size: str) -> None:
    done = engines("bench", "--size", size)
    assert done.exit_code == 2
    assert f"--size is {size}, but must be HEIGHTxWIDTH" in done.stderr


def test_missing_weights_are_reported_in_one_line(tmp_path: Path) -> None:
    done = engines("export", "--model", tmp_path / "none.safetensors", "-o", tmp_path)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["build", "verify", "bench"])
def test_unusable_weights_are_reported_once(command: str) -> None:
    done = engines(command, "--model", "none")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "found no model 'none'" in done.stderr


@pytest.mark.parametrize("out", ["file", "file/onnx"])
def test_exporting_into_a_file_is_refused_in_one_line(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    done = engines("export", "-o", tmp_path / out)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: -o {tmp_path / out} is a file or below one")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.parametrize(
    "words",
    [
        ("--target", "sm89", "--address", "10.0.0.1:6379"),
        ("--target", "sm89", "--engine", "onnx"),
        ("--cluster", "--engine", "onnx"),
        ("-o", "plans", "--engine", "onnx"),
    ],
)
def test_options_that_build_would_ignore_are_refused(words: tuple[str, ...]) -> None:
    done = engines("build", *words)
    assert done.exit_code == 2
    assert "cannot be combined with" in done.stderr or "-o needs --target" in done.stderr


def test_unknown_targets_are_refused_in_one_line(tmp_path: Path) -> None:
    done = engines("build", "--target", "sm90", "-o", tmp_path)
    assert done.exit_code == 2
    assert "unknown target sm90, expected some of sm75" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="there is a driver")
def test_tensorrt_without_a_driver_is_refused_in_one_line() -> None:
    done = engines("verify", "--engine", "tensorrt")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: TensorRT needs an NVIDIA driver")
    assert done.stderr.count("\n") == 1
    done = engines("bench", "--engine", "tensorrt")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: no engine can be timed: TensorRT needs an NVIDIA driver")


def test_build_times_engines_with_the_threads_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def load(name: str, **options: object) -> Engine:
        measured.append((name, options["threads"]))
        raise EngineError("stop here")

    monkeypatch.setattr(tools, "load_engine", load)
    with pytest.raises(InputError, match="stop here"):
        tools.choose_again("fast", Registry(tmp_path), print)
    # a run looks the measurements up by the number of threads in its plan
    assert measured == [("auto", len(os.sched_getaffinity(0)))]

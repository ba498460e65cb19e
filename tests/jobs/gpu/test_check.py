"""The GPU check on a machine without a GPU: every case runs, and failures are recorded as text."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from jobs.gpu.cases import measure_compiled
from jobs.gpu.check import list_cases, main, run_case


def test_cases_without_a_gpu_are_measured_and_the_rest_is_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "check.json"
    arguments = ["--device", "cpu", "--quick", "--models", "fast", "--out", str(out)]
    assert main([*arguments, "--engines", "torch,tensorrt"]) == 0
    results = {r["case"]: r for r in json.loads(out.read_text())["results"]}
    assert list(results) == [
        "ceilings",
        "engine torch fast",
        "engine tensorrt fast",
        "rtx",
        "pipeline fast",
    ]
    assert not any(result["failed"] for result in results.values())
    torch = results["engine torch fast"]["lines"]
    assert torch[1]["psnr"] >= 50
    assert [line["batch"] for line in torch[2:]] == [1, 2]
    # On a busy machine the share itself means nothing, so only its calculation is checked
    ceiling = results["ceilings"]["lines"][0]["matrix_tflops"]
    for line in torch[2:]:
        assert line["fps"] > 0
        share = line["fps"] * line["gflop"] * 1e9 / (ceiling * 1e12)
        assert line["of_ceiling"] == pytest.approx(share, abs=1e-4)
    assert "try --engine torch" in results["engine tensorrt fast"]["lines"][0]["failed"]
    assert results["pipeline fast"]["lines"][0]["pipeline_fps"] > 0
    printed = capsys.readouterr().out
    assert "| fast | torch | 96x64 | 2 |" in printed
    assert "* rtx: " in printed


def test_the_compiled_network_is_compared_with_the_eager_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The backend runs the graph as it is, so that no compiler is needed
    case = {"device": "cpu", "model": "fast", "weights": "fast", "sizes": ((64, 96),)}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Dynamo detected a call")
        measure_compiled(case | {"backend": "eager"})
    line = json.loads(capsys.readouterr().out)
    assert line["difference"] < 1e-3
    assert line["eager_fps"] > 0
    assert line["compiled_fps"] > 0


def test_a_case_that_crashes_or_runs_out_of_time_is_text(tmp_path: Path) -> None:
    case = {"case": "no such", "device": "cpu"}
    assert "KeyError: 'no such'" in run_case(case, 60, tmp_path)["failed"]
    assert run_case(case, 1, tmp_path)["failed"] == "skipped: no time left"


def test_the_goals_are_measured_first() -> None:
    first = list_cases(("torch", "tensorrt"), {"fast": "fast"}, quick=False, device="cuda")
    names = ["ceilings", "engine", "engine", "compiled", "rtx", "pipeline"]
    assert [case["case"] for case in first] == names
    assert first[1]["sizes"][0] == (1088, 1920)
    assert first[1]["batches"] == (1, 2, 4, 8)

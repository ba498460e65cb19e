"""The check of a GPU, without one: every case is run, and what cannot be is said as text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jobs.gpu.check import cases, main, measured


def test_all_that_needs_no_gpu_is_measured_and_the_rest_is_text(
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
    # what part of a busy machine's ceiling this is says nothing; that it was worked out right does
    ceiling = results["ceilings"]["lines"][0]["matrix_tflops"]
    for line in torch[2:]:
        assert line["fps"] > 0
        share = line["fps"] * line["gflop"] * 1e9 / (ceiling * 1e12)
        assert line["of_ceiling"] == pytest.approx(share, abs=1e-4)
    assert "try --engine torch" in results["engine tensorrt fast"]["lines"][0]["failed"]
    assert results["pipeline fast"]["lines"][0]["pipeline_fps"] > 0
    said = capsys.readouterr().out
    assert "| fast | torch | 96x64 | 2 |" in said
    assert "* rtx: " in said


def test_a_case_that_crashes_or_has_no_time_is_text(tmp_path: Path) -> None:
    case = {"case": "no such", "device": "cpu"}
    assert "KeyError: 'no such'" in measured(case, 60, tmp_path)["failed"]
    assert measured(case, 1, tmp_path)["failed"] == "skipped: no time left"


def test_the_goals_are_measured_first() -> None:
    first = cases(("torch", "tensorrt"), {"fast": "fast"}, quick=False, device="cuda")
    assert [case["case"] for case in first] == ["ceilings", "engine", "engine", "rtx", "pipeline"]
    assert first[1]["sizes"][0] == (1088, 1920)
    assert first[1]["batches"] == (1, 2, 4, 8)

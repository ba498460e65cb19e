"""A run, `evaluate` and `report` of one output give one figure."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.measuring.clips import measure_frames
from pipeline.pairing.given import list_given_frames
from pipeline.report import rows
from pipeline.schema.plan_file import read_plan
from tests.support import scenes
from tests.support.finished import run_pipeline
from tests.support.recordings import write_pair

_REPORTED = re.compile(r"(PSNR|SSIM) over bicubic: ([\d.]+) against ([\d.]+)")
_BICUBIC = re.compile(r"\(bicubic ([\d.]+) dB, ([\d.]+)\)")
_EVALUATED = re.compile(r"PSNR ([\d.]+) dB\s+SSIM ([\d.]+)")


def read_report(page: Path) -> dict[str, tuple[str, str]]:
    """Return PSNR and SSIM of the result and of bicubic up-sampling in a report's headline."""
    found = {name: (ours, plain) for name, ours, plain in _REPORTED.findall(page.read_text())}
    (psnr, plain_psnr), (ssim, plain_ssim) = found["PSNR"], found["SSIM"]
    return {"result": (psnr, ssim), "bicubic": (plain_psnr, plain_ssim)}


def read_run(text: str) -> dict[str, tuple[str, str]]:
    """Return the same figures of the text that `run` prints."""
    ours = re.search(r"PSNR ([\d.]+) dB, SSIM ([\d.]+)", text)
    plain = _BICUBIC.search(text)
    assert ours is not None
    assert plain is not None
    return {"result": (ours[1], ours[2]), "bicubic": (plain[1], plain[2])}


def read_evaluation(text: str) -> dict[str, tuple[str, str]]:
    """Return the same figures of the text that `evaluate` prints."""
    lines = {line.split()[0]: _EVALUATED.search(line) for line in text.splitlines()}
    ours, plain = lines["RGB"], lines["bicubic"]
    assert ours is not None
    assert plain is not None
    return {"result": (ours[1], ours[2]), "bicubic": (plain[1], plain[2])}


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le"])
def test_run_evaluate_and_report_agree_on_a_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: str
) -> None:
    # more frames than the report shows one by one
    monkeypatch.setattr(rows, "MOST_FRAMES", 7)
    lr, hr = write_pair(tmp_path, frames=20)
    keys = tmp_path / "keys.mkv"
    run_pipeline("degrade", hr, "--scale", "1", "--every", "9", "-o", keys)
    out = tmp_path / "out.mkv"
    page = tmp_path / "page.html"
    options = ["--engine", "torch", "--runner", "inline", "-q", "--pix-fmt", pixels]
    options += ["--preset", "ultrafast", "--crf", "4", "--ground-truth", hr, "--report", page]
    ran = run_pipeline("run", lr, "--ref-stream", keys, "-o", out, *options)

    plan = read_plan(tmp_path / "out.plan.json")
    given = list_given_frames(plan)
    assert given == {0, 9, 18}
    compared = [
        frame.psnr for frame in measure_frames(str(out), str(hr)) if frame.frame not in given
    ]
    everything = [frame.psnr for frame in measure_frames(str(out), str(hr))]
    expected = f"{np.mean(compared):.2f}"
    assert expected != f"{np.mean(everything):.2f}"

    evaluated = run_pipeline("evaluate", out, "--ground-truth", hr)
    found = read_run(ran)
    assert found["result"][0] == expected
    assert read_evaluation(evaluated) == found
    assert read_report(page) == found

    assert "means of 17 frames without the 3" in ran
    assert evaluated.startswith("17 frames; the means leave out 3")
    text = page.read_text()
    assert "PSNR and SSIM are means of 17 of 20 frames" in text
    assert "all means leave out the 3 that the reference provides" in text

    named = run_pipeline(
        "evaluate", out, "--ground-truth", hr, "--plan", tmp_path / "out.plan.json"
    )
    assert named == evaluated


def test_run_evaluate_and_report_agree_on_views_in_time(tmp_path: Path) -> None:
    for moment in range(3):
        for col in range(3):
            sharp = scenes.flowers(moment, col)
            name = f"frame_{moment:03}/view_00_{col:02}.png"
            scenes.save_picture(tmp_path / "hr" / name, sharp)
            small = np.ascontiguousarray(sharp[::2, ::2])
            scenes.save_picture(tmp_path / "lr" / name, small)
    out = tmp_path / "out"
    page = tmp_path / "page.html"
    options = ["--engine", "bicubic", "--runner", "inline", "-q", "--scale", "2"]
    options += ["--ref-stream", tmp_path / "hr/frame_001/view_00_00.png", "--ref-view", "0,0"]
    options += ["--ground-truth", tmp_path / "hr", "--report", page]
    ran = run_pipeline("run", tmp_path / "lr", "-o", out, *options)
    found = read_run(ran)
    assert (
        read_evaluation(run_pipeline("evaluate", out, "--ground-truth", tmp_path / "hr")) == found
    )
    assert read_report(page) == found


def test_a_reference_that_provides_every_frame_leaves_none_out(tmp_path: Path) -> None:
    lr, hr = write_pair(tmp_path, frames=6)
    out = tmp_path / "out.mkv"
    page = tmp_path / "page.html"
    options = ["--engine", "bicubic", "--runner", "inline", "-q", "--ground-truth", hr]
    ran = run_pipeline("run", lr, "--ref-stream", hr, "-o", out, *options, "--report", page)
    assert len(list_given_frames(read_plan(tmp_path / "out.plan.json"))) == 6
    evaluated = run_pipeline("evaluate", out, "--ground-truth", hr)
    assert evaluated.startswith("6 frames\n")
    assert read_evaluation(evaluated) == read_report(page) == read_run(ran)


def test_a_plan_beside_another_recording_is_not_used(tmp_path: Path) -> None:
    lr, hr = write_pair(tmp_path, frames=6)
    options = ["--engine", "bicubic", "--runner", "inline", "-q"]
    run_pipeline("run", lr, "--ref-stream", hr, "-o", tmp_path / "hr.plan.mkv", *options)
    (tmp_path / "hr.plan.plan.json").rename(tmp_path / "lr.plan.json")
    assert "bicubic" not in run_pipeline("evaluate", lr, "--ground-truth", lr)

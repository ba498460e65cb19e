"""Other programs read an output as our own reader does: ffprobe where there is one, and OpenCV."""

from __future__ import annotations

import json
import subprocess
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.media.cases import Case
from jobs.media.contract import check_case
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from tests.support.programs import needs

CASES = [
    Case(container="mp4", rate="variable", frames=14, audio=1),
    Case(container="mkv", colour="bt601 limited", groups="open", audio=3, extra="text"),
    Case(container="mov", pixels="yuv422p10le", start="positive", extra="timecode"),
    Case(container="ts", rate="variable", shape="anamorphic", audio=1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@needs("ffprobe")
def test_ffprobe_agrees(case: Case, tmp_path: Path) -> None:
    assert check_case(case, tmp_path).faults == []
    out = tmp_path / f"out{case.suffix}"
    command = ["ffprobe", "-v", "error", "-show_frames", "-show_streams", "-of", "json"]
    done = subprocess.run([*command, str(out)], capture_output=True, check=True)
    report = json.loads(done.stdout)
    clip = probe(str(out))
    video = report["streams"][clip.stream_index]
    pts = [f["pts"] for f in report["frames"] if f.get("stream_index") == clip.stream_index]
    assert pts == list(scan(clip).pts)
    assert Fraction(video["time_base"]) == clip.time_base
    assert (video["width"], video["height"]) == (clip.width, clip.height)
    assert video["pix_fmt"] == clip.pix_fmt
    assert Fraction(video["sample_aspect_ratio"].replace(":", "/")) == clip.sample_aspect_ratio
    assert len(report["streams"]) == 1 + len(clip.other_streams)


@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.name)
def test_opencv_sees_the_same_pictures(case: Case, tmp_path: Path) -> None:
    assert check_case(case, tmp_path).faults == []
    out = tmp_path / f"out{case.suffix}"
    capture = cv2.VideoCapture(str(out))
    theirs = []
    while (frame := capture.read())[0]:
        theirs.append(frame[1][..., ::-1])
    capture.release()
    ours = [frame.rgb for frame in read_frames(probe(str(out)))]
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        # OpenCV converts roughly, and every clip by BT.601
        luma = np.abs(a.astype(int).mean(axis=-1) - b.astype(int).mean(axis=-1))
        assert np.median(luma) <= 8

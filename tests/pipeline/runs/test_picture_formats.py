"""Formats of numbered pictures: the contents of EXR, PNG and TIFF, and notes on their losses."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import OpenEXR
import pytest
from click.testing import CliRunner, Result

from pipeline.cli.main import main
from pipeline.media.read.probe import probe
from tests.support import DATA
from tests.support.recordings import texture, write_video

OPTIONS = ["--engine", "bicubic", "--runner", "inline", "--segment", "0.4", "--batch", "4"]


def pipeline(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_exr_of_ten_bits_holds_the_recordings_own_values(tmp_path: Path) -> None:
    odd = str(DATA / "odd/h265_10bits.mp4")
    arguments = ["run", odd, "--ref-stream", odd, "--scale", "2", "--end", "0.2", *OPTIONS, "-q"]
    done = pipeline(*arguments, "-o", str(tmp_path / "exr/%03d.exr"), "--json")
    assert done.exit_code == 0, done.output
    assert any("they are not linear" in note for note in json.loads(done.stdout)["notes"])
    done = pipeline(*arguments, "-o", str(tmp_path / "png/%03d.png"))
    assert done.exit_code == 0, done.output
    names = sorted(file.stem for file in (tmp_path / "png").glob("*.png"))
    assert len(names) == 6
    for name in names:
        bgr = cv2.imread(str(tmp_path / f"png/{name}.png"), cv2.IMREAD_UNCHANGED)
        assert bgr is not None
        with OpenEXR.File(str(tmp_path / f"exr/{name}.exr")) as file:
            held = file.channels()["RGB"].pixels
        np.testing.assert_array_equal(held, bgr[..., ::-1].astype(np.float32) / 65535)
    done = pipeline("evaluate", str(tmp_path / "exr"), "--ground-truth", odd)
    assert done.exit_code == 2
    assert "contains EXR pictures, but" in done.stderr


@pytest.mark.parametrize("suffix", ["png", "tif", "exr"])
def test_transparency_is_kept_or_reported_as_lost(tmp_path: Path, suffix: str) -> None:
    lr, planes = tmp_path / "lr.mkv", []
    with av.open(str(lr), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgra"
        for number in range(3):
            rgba = np.dstack([texture(number, 48, 64), texture(number + 9, 48, 64)[..., 0]])
            planes.append(rgba[..., 3])
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="bgra")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    hr = write_video(tmp_path / "hr.mkv", [texture(i, 96, 128) for i in range(3)])
    done = pipeline(
        "run", str(lr), "--ref-stream", str(hr), "-o", str(tmp_path / f"f/%d.{suffix}"),
        *OPTIONS, "-q", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    notes = [n for n in json.loads(done.stdout)["notes"] if "transparency" in n]
    assert len(notes) == 1
    if suffix == "exr":
        assert "transparency is dropped, because EXR" in notes[0]
        done = pipeline("verify", str(lr), str(tmp_path / "f"))
        assert (done.exit_code, done.stdout.count("it is opaque")) == (1, 1)
        return
    assert "transparency is kept" in notes[0]
    for number, plane in enumerate(planes, 1):
        bgra = cv2.imread(str(tmp_path / f"f/{number}.{suffix}"), cv2.IMREAD_UNCHANGED)
        assert bgra is not None
        large = cv2.resize(plane, (128, 96), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(bgra[..., 3], large)
    done = pipeline("verify", str(lr), str(tmp_path / "f"))
    assert done.exit_code == 0, done.output


def test_losses_of_pictures_are_reported_before_and_after_the_run(tmp_path: Path) -> None:
    odd = str(DATA / "odd/rotate-buck-bunny.mp4")
    arguments = [odd, "--ref-stream", odd, "--scale", "2", "--end", "0.09", *OPTIONS]
    expected = [
        "sequence.json beside them lists the times of all frames",
        "the pictures are written upright",
        "H.273 primaries 1, transfer 1",
        "stream 1, audio aac (eng), is dropped, because pictures cannot hold it",
    ]
    for command in ("plan", "run"):
        done = pipeline(command, *arguments, "-o", str(tmp_path / "f/%d.tif"), "--json")
        assert done.exit_code == 0, done.output
        notes = " ".join(json.loads(done.stdout)["notes"])
        assert [line for line in expected if line not in notes] == []
    picture = cv2.imread(str(tmp_path / "f/1.tif"))
    assert picture is not None
    clip = probe(odd)
    assert picture.shape[:2] == (2 * clip.width, 2 * clip.height)
    done = pipeline("verify", odd, str(tmp_path / "f"))
    assert "has other" not in done.stdout
    truth = pipeline("run", *arguments, "-o", str(tmp_path / "g/%d.tif"), "--ground-truth", odd)
    assert truth.exit_code == 2


@pytest.mark.parametrize("suffix", ["png", "exr"])
def test_a_ground_truth_of_a_rotated_video_needs_a_video_as_output(
    suffix: str, tmp_path: Path
) -> None:
    odd, lr = str(DATA / "odd/rotate-buck-bunny.mp4"), str(tmp_path / "lr.mp4")
    assert pipeline("degrade", odd, "--scale", "2", "--every", "45", "-o", lr).exit_code == 0
    given = ["run", lr, "--ref-stream", odd, *OPTIONS, "-q", "--json", "--ground-truth", odd]
    refused = pipeline(*given, "-o", str(tmp_path / f"f/%d.{suffix}"))
    assert refused.exit_code == 2
    assert "of a video that is rotated for display; leave it out, or write a video" in (
        refused.stderr
    )
    done = pipeline(*given, "-o", str(tmp_path / "out.mp4"))
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["psnr"] > 20

"""Pictures in, a video out: its rate, its frames, and what reads it afterwards."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import StageError
from pipeline.execution.infer import enhance_batch
from pipeline.media.pictures.stills import load_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.pairing.upsample import upsample
from pipeline.paths import sha256
from pipeline.runs.parts import RunParts
from pipeline.runs.run import run
from pipeline.schema.clip import VideoClip
from pipeline.schema.settings import RunSettings
from tests.support.commands import invoke
from tests.support.recordings import texture, write_video

COUNT = 12
SIZE = (48, 64)
BICUBIC = ("--engine", "bicubic", "--runner", "inline", "--scale", "2", "-q")


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Return a folder of numbered LR pictures, beside a reference in `ref.png`."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(texture(number, *SIZE)).save(folder / f"{number + 1:04}.png")
    large = texture(0, 2 * SIZE[0], 2 * SIZE[1])
    Image.fromarray(large).save(tmp_path / "ref.png")
    return folder


def enhance(source: object, output: Path, *more: object) -> None:
    done = invoke("run", source, "-o", output, "--ref-stream", output.parent / "ref.png", *BICUBIC,
                  *more)  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)


def read_rate(path: Path) -> tuple[int, Fraction | None, Fraction]:
    """Return the number of frames of a video, its rate, and its duration in seconds."""
    clip = probe(str(path))
    assert isinstance(clip, VideoClip)
    index = scan(clip)
    return len(index.pts), clip.frame_rate, (index.end_pts - index.pts[0]) * clip.time_base


def test_numbered_pictures_become_a_video_that_plays(frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    enhance(frames / "%04d.png", out)
    assert read_rate(out) == (COUNT, 25, Fraction(COUNT, 25))
    clip = probe(str(out))
    assert (clip.codec, clip.pix_fmt, clip.width, clip.height) == ("h264", "yuv420p", 128, 96)

    for number, frame in enumerate(read_frames(clip)):
        plain = upsample(texture(number, *SIZE), 96, 128)
        assert np.abs(frame.rgb.astype(int) - plain).mean() < 6
    assert invoke("verify", frames, out).exit_code == 0
    shown = json.loads((tmp_path / "out.plan.json").read_text())["notes"]
    assert any("25 pictures per second, by default; try --fps" in n for n in shown)


def test_a_lossless_video_has_the_pixels_of_a_folder(frames: Path, tmp_path: Path) -> None:
    film, folder = tmp_path / "out.mkv", tmp_path / "out"
    enhance(frames, film, "--fps", "23.976")
    enhance(frames, folder)
    assert read_rate(film)[:2] == (COUNT, Fraction(24000, 1001))
    pictures = sorted(folder.glob("*.png"))
    for frame, picture in zip(read_frames(probe(str(film))), pictures, strict=True):
        np.testing.assert_array_equal(frame.rgb, load_picture(str(picture)))

    measured = invoke("evaluate", film, "--ground-truth", folder, "--json", "-q")
    assert measured.exit_code == 0, measured.output
    assert json.loads(measured.stdout)["frames"] == COUNT


def test_the_rate_is_that_of_the_reference_or_of_the_pictures_themselves(
    frames: Path, tmp_path: Path
) -> None:
    hr = write_video(
        tmp_path / "hr.mkv", [texture(n, 2 * SIZE[0], 2 * SIZE[1]) for n in range(COUNT)], rate=30
    )
    settings = RunSettings(
        input=str(frames),
        ref_stream=str(hr),
        output=str(tmp_path / "a.mkv"),
        engine="bicubic",
        runner="inline",
    )
    assert any("30 pictures per second, like the reference" in n for n in run(settings).notes)
    assert read_rate(tmp_path / "a.mkv")[1] == 30

    # numbered pictures of a video know its times
    lr = write_video(tmp_path / "lr.mkv", [texture(n, *SIZE) for n in range(COUNT)], rate=50)
    made = invoke(
        "run", lr, "-o", tmp_path / "made" / "%06d.png", "--ref-stream", hr, *BICUBIC,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    enhance(tmp_path / "made", tmp_path / "b.mkv")
    assert read_rate(tmp_path / "b.mkv")[1] == 50


def test_a_stopped_video_of_pictures_resumes_to_the_same_bits(frames: Path, tmp_path: Path) -> None:
    def settings(output: str) -> RunSettings:
        return RunSettings(
            input=str(frames),
            ref_stream=str(tmp_path / "ref.png"),
            output=str(tmp_path / output),
            engine="bicubic",
            runner="inline",
            segment=0.2,
            sandbox="on",
        )

    def fail(plan: object, engine: object, batch: object) -> object:
        if batch.task.segment.index == 1:  # type: ignore[attr-defined]
            raise RuntimeError("stopped here")
        return enhance_batch(plan, engine, batch)  # type: ignore[arg-type]

    with pytest.raises(StageError, match="stopped here"):
        run(settings("a.mp4"), parts=RunParts(enhance=fail))  # type: ignore[arg-type]
    result = run(settings("a.mp4"))
    assert result.resumed_segments == 1
    run(settings("b.mp4"))
    assert sha256(tmp_path / "a.mp4") == sha256(tmp_path / "b.mp4")

    again = run(settings("a.mp4"))
    assert again.resumed_segments == again.segments


@pytest.mark.parametrize(
    ("source", "output", "more", "message"),
    [
        ("frames/0001.png", "one.mp4", (), "the name of a video, but the input is one picture"),
        ("frames", "taken", (), "is a folder, but must be a file"),
        ("frames", "out", ("--fps", "24"), "only a video made from pictures needs a frame rate"),
        ("frames", "out.webp", (), "name a folder instead"),
    ],
)
def test_what_cannot_become_a_video_is_refused(
    frames: Path, tmp_path: Path, source: str, output: str, more: tuple[str, ...], message: str
) -> None:
    if output == "taken":
        output = "taken.mp4"
        (tmp_path / output).mkdir()
        (tmp_path / output / "mine.png").write_bytes(b"")
        more = ("--force",)
    done = invoke(
        "run", tmp_path / source, "-o", tmp_path / output,
        "--ref-stream", tmp_path / "ref.png", *BICUBIC, *more,
    )  # fmt: skip
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert message in line


def test_the_report_shows_pictures_and_their_video(frames: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    enhance(frames, tmp_path / "out.mp4", "--fps", "30", "--report", page)
    text = page.read_text()
    assert f'"frames": {COUNT}' in text or str(COUNT) in text
    assert "Traceback" not in text

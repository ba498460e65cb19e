"""Outputs of any size from anamorphic, deep, transparent and interlaced recordings."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.media.read.detect_interlacing import choose_deinterlacing
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.runs.run import run
from pipeline.schema.settings import RunSettings
from tests.support import DATA
from tests.support.commands import invoke
from tests.support.recordings import write_video

FRAMES = 6

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def truth() -> list[Picture]:
    """Return frames of a clip at 240 x 144."""
    found = []
    for frame in read_frames(probe(str(DATA / "big_buck_bunny_720p.mp4"))):
        found.append(np.ascontiguousarray(frame.rgb[300:444, 500:740], np.uint8))
        if len(found) == FRAMES:
            break
    return found


@pytest.fixture(scope="module")
def keys(truth: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video with the first of these frames."""
    return write_video(tmp_path_factory.mktemp("sizes") / "keys.mkv", truth, every=FRAMES)


def reduce(picture: Picture, width: int, height: int) -> Picture:
    """Return a picture reduced by another program."""
    small = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.array(small, np.uint8)


def write_wide(path: Path, frames: list[Picture], **changes: str) -> Path:
    """Encode frames whose pixels are 3/2 as wide as high, or in another format."""
    pix_fmt = changes.get("pix_fmt", "yuv420p")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(changes.get("codec", "libx264"), rate=25)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.sample_aspect_ratio = Fraction(changes.get("aspect", "3/2"))
        for number, frame in enumerate(frames):
            layout = "rgba" if frame.shape[2] == 4 else "rgb24"
            picture = av.VideoFrame.from_ndarray(frame, format=layout).reformat(format=pix_fmt)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("size", "made", "aspect"),
    [
        ("144p", (240, 144), 1),
        ("reference", (240, 144), 1),
        ("160x144", (160, 144), Fraction(3, 2)),
    ],
)
def test_pixels_become_square_where_the_size_has_the_display_s_proportions(
    keys: Path,
    truth: list[Picture],
    tmp_path: Path,
    size: str,
    made: tuple[int, int],
    aspect: Fraction,
) -> None:
    lr = write_wide(tmp_path / "lr.mkv", [reduce(frame, 80, 72) for frame in truth])
    output = tmp_path / "out.mkv"
    options = {"input": str(lr), "ref_stream": str(keys), "output": str(output)}
    run(RunSettings.model_validate(options | {"size": size, "engine": "bicubic"}))
    clip = probe(str(output))
    assert (clip.width, clip.height) == made
    assert clip.sample_aspect_ratio == aspect
    assert invoke("verify", lr, output).exit_code == 0


def test_deep_video_is_resized_at_its_depth(
    keys: Path, truth: list[Picture], tmp_path: Path
) -> None:
    small = [reduce(frame, 80, 48) for frame in truth]
    lr = write_wide(tmp_path / "lr.mkv", small, codec="libx265", pix_fmt="yuv420p10le", aspect="1")
    output = tmp_path / "out.mkv"
    options = {"codec": "ffv1", "pix_fmt": "gbrp16le", "engine": "bicubic", "scale": "3"}
    given = {"input": str(lr), "ref_stream": str(keys), "output": str(output)}
    run(RunSettings.model_validate(given | options))
    made, whole = ([f.rgb for f in read_frames(probe(str(path)))] for path in (output, lr))
    for ours, deep in zip(made, whole, strict=True):
        assert ours.dtype == deep.dtype == np.uint16
        assert np.array_equal(ours, cv2.resize(deep, (240, 144), interpolation=cv2.INTER_CUBIC))


def test_transparency_has_the_size_of_its_frame(
    keys: Path, truth: list[Picture], tmp_path: Path
) -> None:
    alpha = np.full((48, 80, 1), 255, np.uint8)
    alpha[10:30, 20:50] = 40
    small = [np.dstack([reduce(frame, 80, 48), alpha]) for frame in truth]
    lr = write_wide(tmp_path / "lr.mov", small, codec="qtrle", pix_fmt="argb", aspect="1")
    output = tmp_path / "out.mov"
    options = {"codec": "prores", "engine": "torch", "adapt": "off", "size": "reference"}
    given = {"input": str(lr), "ref_stream": str(keys), "output": str(output)}
    run(RunSettings.model_validate(given | options | {"end": 0.12}))
    for frame in read_frames(probe(str(output))):
        assert frame.alpha is not None
        assert frame.alpha.shape == (144, 240)
        levels = frame.alpha / np.iinfo(frame.alpha.dtype).max * 255
        assert np.abs(levels[40:80, 70:140] - 40).max() < 2
        assert levels[:20].min() > 253


def test_interlaced_frames_are_deinterlaced_before_they_are_resized(
    keys: Path, truth: list[Picture], tmp_path: Path
) -> None:
    lr = tmp_path / "lr.mkv"
    with av.open(str(lr), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p"
        stream.options = {"crf": "4", "x264-params": "tff=1"}
        for number, frame in enumerate(truth):
            small = av.VideoFrame.from_ndarray(reduce(frame, 80, 48), format="rgb24")
            picture = small.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))

    output = tmp_path / "out.mkv"
    options = {"codec": "ffv1", "pix_fmt": "bgr0", "engine": "bicubic", "size": "reference"}
    given = {"input": str(lr), "ref_stream": str(keys), "output": str(output)}
    run(RunSettings.model_validate(given | options))

    clip = choose_deinterlacing(probe(str(lr)), "auto")
    assert clip.deinterlace == "flagged"
    whole = [frame.rgb for frame in read_frames(clip)]
    made = [frame.rgb for frame in read_frames(probe(str(output)))]
    assert len(made) == FRAMES
    for ours, small in zip(made, whole, strict=True):
        assert np.array_equal(ours, cv2.resize(small, (240, 144), interpolation=cv2.INTER_CUBIC))

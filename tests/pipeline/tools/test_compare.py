"""Comparison clips: what is where in the frame, times and sound of the first, refusals."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.tools.compare import compose_frame, draw_difference, read_together
from tests.support import DATA
from tests.support.commands import invoke

PAIR_FRAMES = 6
compare = partial(invoke, "compare")


def test_side_by_side_has_the_times_of_the_first(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "side.mkv"
    done = compare(*pair, "-o", out)
    assert done.exit_code == 0, (done.output, done.exception)
    clip = probe(str(out))
    assert (clip.width, clip.height) == (256, 96)
    first = probe(str(pair[0]))
    assert [clip.seconds(p) for p in scan(clip).pts] == [first.seconds(p) for p in scan(first).pts]
    shown = next(read_frames(clip)).rgb.astype(int)
    sharp = next(read_frames(probe(str(pair[1])))).rgb.astype(int)
    # the upper half has no label; only the right pane has the detail of the HR recording
    left, right = (np.abs(shown[:48, at : at + 128] - sharp[:48]).mean() for at in (0, 128))
    assert right < 10
    assert left > 1.5 * right


def test_frames_are_matched_by_time(pair: tuple[Path, Path]) -> None:
    matched = list(read_together([probe(str(pair[1])), probe(str(pair[1]))]))
    assert len(matched) == 6
    assert all(np.array_equal(a, b) for _, (a, b) in matched)


def test_pictures_and_gifs(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert compare(*pair, pair[1], "-o", tmp_path / "three.png", "--at", "0.1").exit_code == 0
    with Image.open(tmp_path / "three.png") as picture:
        assert picture.size == (3 * 128, 96)
    assert compare(*pair, "-o", tmp_path / "w.gif", "--mode", "wipe").exit_code == 0
    with Image.open(tmp_path / "w.gif") as moving:
        assert (moving.size, moving.n_frames, moving.info["duration"]) == ((128, 96), 6, 40)


@pytest.mark.parametrize(
    ("rate", "pts"),
    [
        (100, (0, 12, 16, 66, 70)),  # a variable rate
        (30, tuple(range(24))),  # 3.3 hundredths of a second per frame
    ],
)
def test_a_gif_has_the_times_of_the_first(rate: int, pts: tuple[int, ...], tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = 64, 48
        for number, at in enumerate(pts):
            shade = np.full((48, 64, 3), 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(shade, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    clip = probe(str(tmp_path / "a.mp4"))
    ends = [*scan(clip).pts[1:], scan(clip).end_pts]
    assert compare(clip.path, clip.path, "-o", tmp_path / "a.gif").exit_code == 0

    shown = 0
    with Image.open(tmp_path / "a.gif") as moving:
        assert moving.n_frames == len(pts)
        for number, wanted in enumerate(ends):
            moving.seek(number)
            shown += moving.info["duration"]
            assert abs(shown / 1000 - clip.seconds(wanted)) <= 0.0051


def test_difference_is_grey_where_nothing_differs() -> None:
    a = np.full((4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0] = (90, 101, 180)
    shown = draw_difference(a, b)
    assert (shown[1:] == 128).all()
    assert shown[0, 0].tolist() == [128 + 80, 128 - 8, 0]


def test_a_wipe_shows_the_first_on_the_left() -> None:
    black, white = np.zeros((40, 100, 3), np.uint8), np.full((40, 100, 3), 200, np.uint8)
    shown = compose_frame([black, white], ["a", "b"], "wipe", 0.3)
    assert (shown[0, :29] == 0).all()
    assert (shown[0, 31:] == 200).all()


MISTAKES = {
    "one recording": (["{lr}", "-o", "{t}/a.mp4"], "two or three"),
    "three for a wipe": (["{lr}", "{hr}", "{hr}", "--mode", "wipe", "-o", "{t}/a.mp4"], "two"),
    "unknown kind": (["{lr}", "{hr}", "-o", "{t}/a.xyz"], "must end in .mp4"),
    "labels": (["{lr}", "{hr}", "--labels", "a,b,c", "-o", "{t}/a.mp4"], "3 labels"),
    "missing": (["{lr}", "{t}/none.mkv", "-o", "{t}/a.mp4"], "does not exist"),
    "input is output": (["{lr}", "{hr}", "--force", "-o", "{hr}"], "is also an input"),
    "there already": (["{lr}", "{hr}", "-o", "{t}/there.png"], "already exists"),
    "no folder": (["{lr}", "{hr}", "-o", "{t}/no/a.png"], "does not exist; create it first"),
    "pictures": (["{photo}", "{photo}", "-o", "{t}/a.mp4"], "try .gif"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "there.png").touch()
    photo = DATA / "kodak_21.jpg"
    names = {"lr": pair[0], "hr": pair[1], "t": tmp_path, "photo": photo}
    result = compare(*(argument.format(**names) for argument in arguments))
    assert result.exit_code == 2, (result.output, result.exception)
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["there.png"]

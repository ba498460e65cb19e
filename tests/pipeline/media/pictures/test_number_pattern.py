"""Patterns of numbered pictures, as several programs write them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.errors import MediaError
from pipeline.media.pictures.number_pattern import compile_number_pattern
from pipeline.media.pictures.stills import is_pattern, list_pictures, save_picture
from pipeline.paths import sha256
from tests.support.commands import invoke
from tests.support.recordings import texture, write_pair

FRAMES = (1, 5, 9, 10, 100, 12345)


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ("f.%04d.png", FRAMES),
        ("f.%d.png", FRAMES),
        ("f.####.png", FRAMES),
        ("f.@@@@.png", FRAMES),
        ("f.#.png", FRAMES),
        ("f.@.png", FRAMES),
        ("f.#####.png", (12345,)),
        ("f.1-10#.png", (1, 5, 9, 10)),
        ("f.1-10x4####.png", (1, 5, 9)),
        ("f.5-5#.png", (5,)),
        ("f.1,9-200#.png", (1, 9, 10, 100)),
        ("f.0001-0009@@@@.png", (1, 5, 9)),
    ],
)
def test_patterns_list_the_pictures_they_name(
    tmp_path: Path, pattern: str, numbers: tuple[int, ...]
) -> None:
    for number in FRAMES:
        save_picture(tmp_path / f"f.{number:04}.png", texture(number, 8, 8))
    for other in ("g.0001.png", "f.0001.txt", "f.0001.png.png", "f.1a.png"):
        (tmp_path / other).write_bytes(b"")
    path = str(tmp_path / pattern)
    assert is_pattern(path)
    assert [file.name for file in list_pictures(path)] == [f"f.{n:04}.png" for n in numbers]


def test_a_range_follows_a_separator() -> None:
    # the 2 belongs to the name
    matches = compile_number_pattern("take2#.png")
    assert matches("take27.png")
    assert not matches("take7.png")


@pytest.mark.parametrize("pattern", ["f.9-1#.png", "f.1-9x0#.png"])
def test_impossible_ranges_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(MediaError, match=f"in the pattern {pattern}"):
        list_pictures(str(tmp_path / pattern))


def test_signs_count_in_names_of_pictures_that_do_not_exist(tmp_path: Path) -> None:
    assert not is_pattern(str(tmp_path / "clip#1.mp4"))
    assert not is_pattern(str(tmp_path / "user@host" / "clip.mp4"))
    save_picture(tmp_path / "icon@2x.png", texture(0, 8, 8))
    assert not is_pattern(str(tmp_path / "icon@2x.png"))
    assert list_pictures(str(tmp_path / "icon@2x.png")) == [tmp_path / "icon@2x.png"]


def test_frame_numbers_and_times_give_the_same_bits(tmp_path: Path) -> None:
    lr, _ = write_pair(tmp_path, frames=6)
    names = {
        "times": ("times/key_{seconds:.3f}s.png", "times"),
        "percent": ("percent/frame_{number:06}.png", "percent/frame_%06d.png"),
        "signs": ("signs/frame.{number:04}.png", "signs/frame.0-5####.png"),
    }
    sums = []
    for name, (written, given) in names.items():
        (tmp_path / name).mkdir()
        for number in (0, 2, 5):
            file = written.format(number=number, seconds=number / 25)
            save_picture(tmp_path / file, texture(number, 96, 128))
        out = tmp_path / f"{name}.mkv"
        options = ("-o", out, "--engine", "bicubic", "--runner", "inline", "--trust-reference")
        done = invoke("run", lr, "--ref-stream", tmp_path / given, *options)
        assert done.exit_code == 0, done.output
        sums.append(sha256(out))
    assert all(a == b for a, b in pairwise(sums))

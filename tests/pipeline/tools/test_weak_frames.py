"""`pipeline keyframes --add`: the frames that the key frames of a finished run helped least."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.tools.weak_frames import choose_weakest
from tests.support.commands import invoke
from tests.support.key_frames import (
    CUT,
    enlarge,
    list_exact,
    list_names,
    plan_with,
    write_keys,
    write_two_scenes,
)

QUICK = ("--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast", "--adapt", "off")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_scenes(tmp_path_factory.mktemp("clip") / "clip.mp4")


def test_the_loop_closes(clip: Path, tmp_path: Path) -> None:
    keys, more, out = tmp_path / "keys", tmp_path / "more", tmp_path / "run.mkv"
    write_keys(clip, keys, "--at", "0.1,1.2")  # both in the first scene
    enlarge(keys)
    run = ("run", clip, "--ref-stream", keys, "-o", out, *QUICK)
    assert invoke(*run).exit_code == 0

    # the second scene has no key frame
    found = write_keys(clip, more, "--add", out)
    (proposed,) = found["key_frames"]
    assert CUT < proposed["frame"] < 79
    assert found["add_to"] == str(keys)
    assert found["next"].endswith(" --force")

    enlarge(more)
    shutil.move(more / proposed["file"], keys)
    plan = plan_with(clip, keys)
    assert proposed["frame"] in list_exact(plan)
    assert len(list_exact(plan)) == 3
    assert all(choice.ref_pts is not None for choice in plan.reference_map)
    words = found["next"].split()
    assert words[:2] == ["pipeline", "run"]
    assert invoke(*words[1:]).exit_code == 0

    # now, the frames between the key frames are the weakest
    shutil.rmtree(more)
    again = write_keys(clip, more, "--add", tmp_path / "run.plan.json", "--count", "2")
    numbers = [key["frame"] for key in again["key_frames"]]
    assert len(numbers) == 2
    assert not set(numbers) & set(list_exact(plan))
    assert len(list_names(more)) == 3


def test_the_text_says_where_the_pictures_belong(clip: Path, tmp_path: Path) -> None:
    keys, out = tmp_path / "keys", tmp_path / "out.mkv"
    write_keys(clip, keys, "--at", "0.1,1.2")
    enlarge(keys)
    assert invoke("run", clip, "--ref-stream", keys, "-o", out, *QUICK).exit_code == 0
    done = invoke("keyframes", clip, "-o", tmp_path / "more", "--add", out, "-q")
    assert f"enlarge them like the files in {keys}, move them there, then run:" in done.stdout

    other = write_two_scenes(tmp_path / "other.mkv")
    refused = invoke("keyframes", other, "-o", tmp_path / "x", "--add", out)
    assert refused.exit_code == 2
    assert f"{out} was not made from {other}" in refused.stderr
    both = invoke("keyframes", clip, "-o", tmp_path / "x", "--add", out, "--every", "1")
    assert "--every and --add are mutually exclusive" in both.stderr


def test_a_run_with_a_video_as_reference_is_refused(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    done = invoke("degrade", clip, "--scale", "2", "-o", tmp_path / "lr.mkv")
    assert done.exit_code == 0, done.output
    lr = tmp_path / "lr.mkv"
    assert invoke("run", lr, "--ref-stream", clip, "-o", out, *QUICK).exit_code == 0
    refused = invoke("keyframes", lr, "-o", tmp_path / "more", "--add", out)
    assert refused.exit_code == 2
    assert "is not a folder of pictures, so no key frames can be added" in refused.stderr


@pytest.mark.parametrize(
    ("served", "scenes", "count", "chosen"),
    [
        ([0.9, 0.8, 0.1, 0.7, 0.9], [0] * 5, 1, [2]),
        ([0.9, 0.2, 0.1, 0.7, 0.3], [0] * 5, 2, [2, 4]),  # neighbours are too close
        ([0.9, 0.2, 0.1, 0.7, 0.3], [0, 0, 1, 1, 1], 2, [1, 2]),  # but not across a cut
        ([0.5, 0.5, 0.0, 0.0, 0.0], [0, 0, 1, 1, 1], 1, [3]),  # the middle of a scene
        ([0.5, 0.4], [0, 0], 5, [1]),
    ],
)
def test_the_weakest_frames_are_spread(
    served: list[float], scenes: list[int], count: int, chosen: list[int]
) -> None:
    seconds = [0.3 * number for number in range(len(served))]
    assert choose_weakest(served, seconds, scenes, count) == chosen

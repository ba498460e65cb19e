"""`pipeline keyframes`: the pictures that it writes, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.media.pictures.exr import load_exr
from pipeline.media.pictures.key_frames import read_key_frames
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from tests.support import scenes
from tests.support.commands import invoke
from tests.support.key_frames import (
    CUT,
    RATE,
    SIDECAR,
    list_names,
    write_clip,
    write_keys,
    write_two_scenes,
)
from tests.support.killed_command import run_until


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_scenes(tmp_path_factory.mktemp("clip") / "in.mp4")


def test_each_scene_gets_a_picture_of_one_of_its_frames(clip: Path, tmp_path: Path) -> None:
    made = write_keys(clip, tmp_path / "keys")
    assert {key["scene"] for key in made["key_frames"]} == {0, 1}
    assert (made["frames"], made["scenes"]) == (80, 2)
    shown = {frame.pts: frame.rgb for frame in read_frames(probe(str(clip)))}
    numbers = {pts: number for number, pts in enumerate(scan(probe(str(clip))).pts)}
    for key in made["key_frames"]:
        assert key["scene"] == (key["frame"] >= CUT)
        assert numbers[key["pts"]] == key["frame"]
        assert key["file"] == f"key_{key['frame']:06d}_{float(key['frame'] / RATE):.3f}s.png"
        picture = cv2.imread(str(tmp_path / "keys" / key["file"]))[..., ::-1]
        assert np.array_equal(picture, shown[key["pts"]])

    names = sorted(key["file"] for key in made["key_frames"])
    assert list_names(tmp_path / "keys") == [*names, SIDECAR]
    stored = json.loads((tmp_path / "keys" / SIDECAR).read_text())
    assert (stored["format"], stored["version"], stored["input"]) == ("key frames", 1, "in.mp4")
    assert stored["fingerprint"] == probe(str(clip)).fingerprint
    assert stored["time_base"] == "1/30000"
    written = [{k: v for k, v in key.items() if k != "seconds"} for key in made["key_frames"]]
    assert stored["key_frames"] == written


def test_times_count_and_stream_key_frames(clip: Path, tmp_path: Path) -> None:
    made = write_keys(clip, tmp_path / "a", "--at", "0,1.01,0:02.0,1.0")
    assert [key["frame"] for key in made["key_frames"]] == [0, 30, 60]
    assert [key["scene"] for key in made["key_frames"]] == [None] * 3
    made = write_keys(clip, tmp_path / "b", "--i-frames")
    assert [key["frame"] for key in made["key_frames"]] == [0, 20, 40, 60]
    assert len(write_keys(clip, tmp_path / "c", "--count", 7)["key_frames"]) == 7
    assert len(write_keys(clip, tmp_path / "d", "--every", 0.5)["key_frames"]) == 3 + 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--count", 3, "--every", 1),
            "--count and --every are mutually exclusive; pass at most one of",
        ),
        (("--at", "1", "--i-frames"), "--at and --i-frames are mutually exclusive"),
        (("--every", "0"), "--every is 0, but must be a finite number of seconds above 0"),
        (("--every", "nan"), "--every is nan, but must be a finite number of seconds above 0"),
        (("--every", "inf"), "--every is inf, but must be a finite number of seconds above 0"),
        (("--every", "0.0001"), "would choose more than 2000 key frames"),
        (("--at", "1,soon"), "must be times in seconds or h:mm:ss"),
        (("--at", "60"), "has frames from 0.000 to 2.636 s"),
        (("--at", "nan"), "which has frames from"),
        (("-o", "missing/keys"), "does not exist"),
    ],
)
def test_impossible_options_are_refused_in_one_line(
    options: tuple[object, ...], words: str, clip: Path, tmp_path: Path
) -> None:
    done = invoke("keyframes", clip, "-o", tmp_path / "keys", "-q", *options)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_pictures_may_be_the_parent(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "shots" / "inside"
    inside.mkdir(parents=True)
    for number, frame in zip(range(3), read_frames(probe(str(clip))), strict=False):
        cv2.imwrite(str(tmp_path / "shots" / f"{number}.png"), frame.rgb[..., ::-1])
    monkeypatch.chdir(inside)
    write_keys(Path(".."), tmp_path / "keys", "--count", 1)
    stored = read_key_frames(tmp_path / "keys")
    assert stored is not None
    assert stored.input == "shots"


def test_too_many_key_frames_of_a_stream_are_refused(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), number % 200, np.uint8) for number in range(2001)]
    intra = write_clip(tmp_path / "intra.mp4", frames, interval=1)
    done = invoke("keyframes", intra, "-o", tmp_path / "keys", "--i-frames", "-q")
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert f"{intra} has 2001 key frames, but --i-frames selects at most 2000" in line
    assert list_names(tmp_path) == ["intra.mp4"]


def test_a_light_field_has_no_key_frames(tmp_path: Path) -> None:
    views = scenes.write_folder(tmp_path / "views", 2, 2)
    done = invoke("keyframes", views, "-o", tmp_path / "keys")
    assert done.exit_code == 2
    assert "is a light field, but key frames are chosen from a video" in done.stderr


@pytest.mark.parametrize(("option", "suffix"), [("tiff", ".tif"), ("exr", ".exr")])
def test_other_formats(option: str, suffix: str, clip: Path, tmp_path: Path) -> None:
    made = write_keys(clip, tmp_path / "keys", "--at", "0.5", "--format", option)
    (key,) = made["key_frames"]
    file = tmp_path / "keys" / key["file"]
    assert file.suffix == suffix
    expected = list(read_frames(probe(str(clip))))[15].rgb
    found = load_exr(file) if option == "exr" else cv2.imread(str(file))[..., ::-1]
    assert np.array_equal(found, expected)


def test_the_text_says_what_to_do_next(clip: Path, tmp_path: Path) -> None:
    done = invoke("keyframes", clip, "-o", tmp_path / "my keys", "--count", 4, "-q")
    assert "4 key frames of 80 frames" in done.stdout
    assert "scenes with a key frame: 2 of 2;" in done.stdout
    assert "keep their names" in done.stdout
    last = done.stdout.splitlines()[-1].strip()
    assert "plainly" not in done.stdout
    assert last == f"pipeline run {clip} --ref-stream '{tmp_path / 'my keys'}'"


def test_scenes_without_a_key_frame_are_reported(clip: Path, tmp_path: Path) -> None:
    frames = [frame.rgb for frame in read_frames(probe(str(clip)))][:65]
    upside_down = [255 - frame[::-1] for frame in frames[45:60]]
    three = write_clip(tmp_path / "three.mp4", [*frames, *upside_down])
    done = invoke("keyframes", three, "-o", tmp_path / "keys", "--count", 2, "-q")
    assert "2 key frames of 80 frames" in done.stdout
    assert "scenes with a key frame: 2 of 3;" in done.stdout
    assert "frames of the other scenes will be up-sampled without a reference" in done.stdout
    stored = read_key_frames(tmp_path / "keys")
    assert stored is not None
    assert [key.scene for key in stored.key_frames] == [0, 1]  # the longest

    # a single picture serves all scenes
    done = invoke("keyframes", three, "-o", tmp_path / "one", "--count", 1, "-q")
    assert "1 key frame of 80 frames" in done.stdout
    assert "plainly" not in done.stdout


def test_the_next_command_reaches_frames_that_are_far_away(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), n % 200, np.uint8) for n in range(160)]
    long = write_clip(tmp_path / "long.mp4", frames)
    made = write_keys(long, tmp_path / "keys", "--at", "0,0.5")
    assert made["next"].endswith("--max-ref-distance 4.9")
    assert write_keys(long, tmp_path / "b", "--at", "1.5,4")["next"].endswith("b")


@pytest.mark.parametrize(("event", "ending"), [("open", "s.png"), ("os.rename", "keys")])
def test_a_killed_command_leaves_no_folder(
    event: str, ending: str, clip: Path, tmp_path: Path
) -> None:
    command = ("keyframes", clip, "-o", tmp_path / "keys", "--at", "0,1")
    run_until(event, ending, *command)
    assert not (tmp_path / "keys").exists()
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_a_frame_that_cannot_be_decoded_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    data = bytearray(clip.read_bytes())
    # the second half of the pictures is lost
    start = data.index(b"mdat") + 4
    end = start + int.from_bytes(data[start - 8 : start - 4]) - 8
    data[(start + end) // 2 : end] = bytes(end - (start + end) // 2)
    broken.write_bytes(data)
    done = invoke("keyframes", broken, "-o", tmp_path / "keys", "--at", "0,2.5")
    assert done.exit_code == 1, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["broken.mp4"]


def test_force_replaces_key_frames_and_nothing_else(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write_keys(clip, keys, "--at", "0,1")
    done = invoke("keyframes", clip, "-o", keys, "--at", "2")
    assert done.exit_code == 2
    assert "already exists" in done.stderr
    write_keys(clip, keys, "--at", "2", "--force")
    assert list_names(keys) == ["key_000060_2.002s.png", SIDECAR]

    (keys / "thesis.odt").write_text("keep")
    done = invoke("keyframes", clip, "-o", keys, "--at", "1", "--force")
    assert done.exit_code == 2
    assert "thesis.odt in it is not one of its key frames" in done.stderr
    (keys / "thesis.odt").unlink()
    (keys / SIDECAR).unlink()
    done = invoke("keyframes", clip, "-o", keys, "--at", "1", "--force")
    assert done.exit_code == 2
    assert "(it has no keyframes.json)" in done.stderr
    assert list_names(keys) == ["key_000060_2.002s.png"]
    assert list_names(tmp_path) == ["keys"]


@pytest.mark.parametrize("name", ["1 thesis.odt", "1.psd", "1_x4.png", "1.jpg"])
def test_force_keeps_what_the_command_did_not_write(name: str, clip: Path, tmp_path: Path) -> None:
    keys, frames = tmp_path / "keys", tmp_path / "frames"
    frames.mkdir()
    for number, frame in enumerate(read_frames(probe(str(clip)))):
        if number in (0, 40):
            cv2.imwrite(str(frames / f"{number // 40 + 1}.png"), frame.rgb[..., ::-1])
    write_keys(frames, keys, "--count", 2)
    assert list_names(keys) == ["1.png", "2.png", SIDECAR]

    (keys / name).write_text("keep")
    done = invoke("keyframes", frames, "-o", keys, "--count", 1, "--force", "-q")
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"{keys} is not replaced, because {name} in it is not" in done.stderr
    assert list_names(keys) == sorted(["1.png", "2.png", SIDECAR, name])
    assert (keys / name).read_text() == "keep"


@pytest.mark.parametrize("options", [(), ("--force",)])
@pytest.mark.parametrize(("scale", "words"), [(1, "1 picture in it seems"), (2, "2 pictures in")])
def test_edited_pictures_are_never_replaced(
    options: tuple[str, ...], scale: int, words: str, clip: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    write_keys(clip, keys, "--at", "0,1,2")
    first, second, _ = sorted(keys.glob("*.png"))
    for file in (first,) if scale == 1 else (first, second):
        picture = cv2.imread(str(file))
        assert picture is not None
        size = (scale * picture.shape[1], scale * picture.shape[0])
        cv2.imwrite(str(file), np.asarray(255 - cv2.resize(picture, size), np.uint8))
    before = {file: file.read_bytes() for file in keys.iterdir()}

    done = invoke("keyframes", clip, "-o", keys, "--at", "2", "-q", *options)
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert words in line
    assert "to have been edited; try another -o, or delete the folder first" in line
    assert "--force" not in line
    assert {file: file.read_bytes() for file in keys.iterdir()} == before


def test_without_digests_pictures_newer_than_the_sidecar_count_as_edited(
    clip: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    write_keys(clip, keys, "--at", "0,1")
    stored = json.loads((keys / SIDECAR).read_text())
    for key in stored["key_frames"]:
        del key["sha256"]
    (keys / SIDECAR).write_text(json.dumps(stored))
    picture = keys / stored["key_frames"][0]["file"]
    written = (keys / SIDECAR).stat().st_mtime
    os.utime(picture, (written + 1, written + 1))
    done = invoke("keyframes", clip, "-o", keys, "--at", "2", "--force", "-q")
    assert done.exit_code == 2
    assert "1 picture in it seems to have been edited" in done.stderr

    os.utime(picture, (written - 1, written - 1))
    write_keys(clip, keys, "--at", "2", "--force")
    assert list_names(keys) == ["key_000060_2.002s.png", SIDECAR]


def test_an_input_is_never_replaced(clip: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    write_keys(clip, keys, "--at", "0,1")
    for output in (keys, tmp_path):
        done = invoke("keyframes", keys, "-o", output, "--count", 1, "--force")
        assert done.exit_code == 2
        assert "which is never replaced" in done.stderr or "would be replaced" in done.stderr
    assert len(list_names(keys)) == 3

"""Whole runs that borrow from two key frames: gains, faults, resuming and what is reported."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossnetpp.metrics import measure_quality
from pipeline.api import enhanced_frames
from pipeline.media.pictures.stills import save_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.pairing.upsample import upsample
from pipeline.paths import sha256
from pipeline.schema.plan_file import read_plan
from pipeline.tools.demo import SAMPLE
from tests.support import DATA
from tests.support.commands import invoke
from tests.support.killed_command import run_until
from tests.support.recordings import texture, write_keys, write_video

PAIR_FRAMES = 30
SCALE = 4
SIZE = (160, 224)  # rows and columns of the part of each clip that is used

Picture = NDArray[np.uint8]


def read_part(path: Path, frames: int, left: int) -> list[Picture]:
    """Return a part of the first frames of a clip."""
    found: list[Picture] = []
    for frame in read_frames(probe(str(path))):
        part = frame.rgb[100 : 100 + SIZE[0], left : left + SIZE[1]]
        found.append(np.ascontiguousarray(part, np.uint8))
        if len(found) == frames:
            break
    return found


@pytest.fixture(scope="module")
def monster() -> list[Picture]:
    return read_part(SAMPLE, 12, 200)


@pytest.fixture(scope="module")
def rabbit() -> list[Picture]:
    return read_part(DATA / "big_buck_bunny_720p.mp4", 12, 500)


def measure(
    folder: Path, truth: list[Picture], keys: dict[int, Picture], **options: object
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the PSNR in dB of plain up-sampling and of the results, without the key frames."""
    lr, ref = folder / "lr.mkv", folder / f"keys{len(list(folder.iterdir()))}"
    small = [cv2.resize(f, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=3) for f in truth]
    write_video(lr, [np.asarray(picture, np.uint8) for picture in small])
    ref.mkdir()
    for number, picture in keys.items():
        save_picture(ref / f"key_{number / 25:.2f}s.png", picture)

    plain, ours = [], []
    results = enhanced_frames(lr, ref, engine="torch", batch=2, **options)  # type: ignore[arg-type]
    inputs = read_frames(probe(str(lr)))
    for number, (result, frame) in enumerate(zip(results, inputs, strict=True)):
        if number not in keys:
            large = upsample(frame.rgb, *SIZE)
            plain.append(measure_quality(large, truth[number]).psnr)
            ours.append(measure_quality(np.asarray(result.rgb, np.uint8), truth[number]).psnr)
    return np.array(plain), np.array(ours)


@pytest.fixture(scope="module")
def one_key(
    monster: list[Picture], tmp_path_factory: pytest.TempPathFactory
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the figures of 12 frames whose first is the only key frame."""
    truth = monster[:12]
    return measure(tmp_path_factory.mktemp("one"), truth, {0: truth[0]}, ref_count=1)


def test_two_key_frames_help_most_far_from_the_first(
    monster: list[Picture], one_key: tuple[NDArray[np.float64], ...], tmp_path: Path
) -> None:
    truth = monster[:12]
    plain, two = measure(tmp_path, truth, {0: truth[0], 11: truth[11]})
    assert two.mean() > plain.mean() + 1.5
    # near the first key frame the second adds little, and takes nothing away
    gain = two - one_key[1][: len(two)]
    assert gain.min() > -0.05
    assert gain[-4:].mean() > gain[:4].mean() + 0.3


@pytest.mark.parametrize("count", [None, 3])
def test_a_second_reference_of_another_scene_does_no_harm(
    monster: list[Picture],
    rabbit: list[Picture],
    one_key: tuple[NDArray[np.float64], ...],
    tmp_path: Path,
    count: int | None,
) -> None:
    truth = monster[:12]
    plain, ours = measure(tmp_path, truth, {0: truth[0], 11: rabbit[11]}, ref_count=count)
    assert (ours - plain).mean() >= -0.05
    assert (ours - plain).min() >= -0.3
    # beyond the middle, the related reference is the second one, and still helps
    alone = one_key[1][: len(ours)]
    assert (ours - alone)[:6].min() > -0.1
    assert (ours - plain)[6:].mean() > 0.3


def test_nothing_is_borrowed_across_a_cut_between_two_keys(
    monster: list[Picture], rabbit: list[Picture], tmp_path: Path
) -> None:
    truth = monster[:6] + rabbit[:6]
    keys = {0: truth[0], 11: truth[11]}
    plain, ours = measure(tmp_path, truth, keys)
    _, alone = measure(tmp_path, truth, keys, ref_count=1)
    assert np.array_equal(ours, alone)
    assert (ours - plain).mean() >= -0.05
    assert (ours - plain).min() >= -0.3


def test_three_references_and_frames_outside_all_keys(
    monster: list[Picture], tmp_path: Path
) -> None:
    truth = monster[:12]
    keys = {number: truth[number] for number in (2, 6, 10)}
    plain, ours = measure(tmp_path, truth, keys, ref_count=3)
    assert (ours - plain).min() >= -0.3
    assert (ours - plain).mean() > 2


@pytest.fixture(scope="module")
def keys(pair: tuple[Path, Path]) -> Path:
    """Return frames 0, 12 and 24 of the 30 frames of the pair."""
    return write_keys(pair[0].parent, frames=PAIR_FRAMES, every=12)


def test_a_run_killed_twice_ends_with_the_same_bits(
    pair: tuple[Path, Path], keys: Path, tmp_path: Path
) -> None:
    options = ("--engine", "torch", "--runner", "inline", "--preset", "ultrafast")
    options += ("--segment", "0.4", "--batch", "4")

    def command(name: str) -> tuple[object, ...]:
        return ("run", pair[0], "--ref-stream", keys, "-o", tmp_path / name, *options)

    assert invoke(*command("whole.mkv")).exit_code == 0
    run_until("os.rename", "00001.json", *command("out.mkv"))
    run_until("os.rename", "00002.json", *command("out.mkv"))
    done = invoke(*command("out.mkv"), "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["resumed_segments"] == 2
    # 22 of 30 frames have two
    assert answer["references_per_frame"] == round(52 / 30, 3)
    assert sha256(tmp_path / "out.mkv") == sha256(tmp_path / "whole.mkv")


def test_the_plan_and_its_file_show_both(
    pair: tuple[Path, Path], keys: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "plan.json"
    command = ("plan", pair[0], "--ref-stream", keys, "-o", tmp_path / "out.mkv", "--save", saved)
    done = invoke(*command)
    assert done.exit_code == 0, done.output
    assert "22 frames with several references, 1.73 per frame" in done.stdout
    lines = [line for line in saved.read_text().splitlines() if '"ref_pts"' in line]
    assert [json.loads(line.rstrip(","))["also"] for line in lines if '"also"' in line] == (
        [[480]] * 6 + [[0]] * 5 + [[960]] * 6 + [[480]] * 5
    )
    one = invoke(*command, "--ref-count", "1")
    assert "several" not in one.stdout
    assert '"also"' not in saved.read_text()


@pytest.mark.parametrize(
    ("change", "also", "why"),
    [
        # nothing shows that there was a second one
        ({"also": []}, (), "nearest"),
        ({"also": [480, 960]}, (480, 960), "edited"),
        ({"also": [960], "also_seconds": [0.1]}, (960,), "edited"),
        ({"ref_pts": 480}, (), "edited"),
        ({"ref_pts": None}, (), "edited"),
        ({}, (480,), "nearest"),
    ],
    ids=["removed", "added", "replaced", "the first is now the second", "none", "as it was"],
)
def test_an_edited_second_reference_is_used(
    pair: tuple[Path, Path],
    keys: Path,
    tmp_path: Path,
    change: dict[str, object],
    also: tuple[int, ...],
    why: str,
) -> None:
    given = ("--ref-stream", keys, "-o", tmp_path / "out.mkv")
    saved = tmp_path / "plan.json"
    assert invoke("plan", pair[0], *given, "--save", saved).exit_code == 0
    plan = json.loads(saved.read_text())
    plan["reference_map"][4].update(change)
    saved.write_text(json.dumps(plan))

    options = ("--engine", "bicubic", "--runner", "inline", "--plan", saved)
    done = invoke("run", pair[0], *given, *options)
    assert done.exit_code == 0, done.output
    choice = read_plan(tmp_path / "out.plan.json").reference_map[4]
    assert (choice.also, choice.why) == (also, why)
    away = [0.48 - 0.16, 0.96 - 0.16]
    expected = {480: away[0], 960: away[1]}
    assert choice.also_seconds == pytest.approx([expected[pts] for pts in also])


def test_an_unknown_second_reference_is_refused(
    pair: tuple[Path, Path], keys: Path, tmp_path: Path
) -> None:
    given = ("--ref-stream", keys, "-o", tmp_path / "out.mkv")
    saved = tmp_path / "plan.json"
    assert invoke("plan", pair[0], *given, "--save", saved).exit_code == 0
    plan = json.loads(saved.read_text())
    plan["reference_map"][4]["also"] = [481]
    saved.write_text(json.dumps(plan))
    refused = invoke("run", pair[0], *given, "--plan", saved)
    assert refused.exit_code == 2
    assert "the reference 481 for pts 160 is not the pts of a" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_the_report_shows_both(pair: tuple[Path, Path], keys: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    options = ("--engine", "bicubic", "--runner", "inline", "--report", page)
    done = invoke("run", pair[0], "--ref-stream", keys, "-o", tmp_path / "out.mkv", *options)
    assert done.exit_code == 0, done.output
    text = page.read_text(encoding="utf-8")
    assert text.count('<div class="spans') == 2
    assert "second reference at 0.480 s, at most 0.440 s away" in text
    assert 'data-kind="second"' in text
    assert ", and 0." in text

    alone = tmp_path / "alone.html"
    options = ("--engine", "bicubic", "--runner", "inline", "--ref-count", "1", "--report", alone)
    done = invoke("run", pair[0], "--ref-stream", keys, "-o", tmp_path / "one.mkv", *options)
    assert done.exit_code == 0, done.output
    text = alone.read_text(encoding="utf-8")
    assert text.count('<div class="spans') == 1
    assert "second reference" not in text


def test_the_texture_has_the_key_frames(keys: Path) -> None:
    frames = list(read_frames(probe(str(keys))))
    assert [frame.pts for frame in frames] == [0, 480, 960]
    error = np.abs(frames[1].rgb.astype(float) - texture(12, 96, 128)).mean()
    assert error < np.abs(frames[1].rgb.astype(float) - texture(11, 96, 128)).mean()

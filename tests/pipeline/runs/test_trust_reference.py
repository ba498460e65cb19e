"""Whole runs with --trust-reference: edits reach all frames, and plans record it."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossnetpp.metrics import measure_quality
from jobs.quality.edited_keys import measure_agreement, read_clip, reduce_clip
from jobs.quality.edits import Material
from jobs.quality.generated_keys import measure_flicker
from pipeline.api import enhanced_frames
from pipeline.media.pictures.stills import load_picture, save_picture
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.media.write.video import VideoWriter
from pipeline.paths import sha256
from pipeline.schema.plan_file import read_plan
from pipeline.tools.demo import SAMPLE
from tests.support import DATA
from tests.support.commands import invoke
from tests.support.killed_command import run_until
from tests.support.recordings import write_video

Picture = NDArray[np.uint8]
FRAMES, SCALE, RATE = 12, 4, 25
INLINE = ("--engine", "bicubic", "--runner", "inline")
QUICK = (*INLINE, "--preset", "ultrafast")


def grade(picture: Picture) -> Picture:
    """Return a picture with less red, more blue, and more contrast on the left."""
    columns = np.linspace(1.4, 0.9, picture.shape[1])[:, None]
    graded = 128 + (picture.astype(np.float64) - 128) * columns + [-20, 0, 25]
    return np.rint(graded).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def original() -> list[Picture]:
    frames = [frame.rgb for frame in islice(read_frames(probe(str(SAMPLE))), FRAMES)]
    return [np.ascontiguousarray(frame[130:322, 220:476], np.uint8) for frame in frames]


@pytest.fixture(scope="module")
def lr(original: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = [
        np.asarray(cv2.resize(f, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=3), np.uint8)
        for f in original
    ]
    return write_video(tmp_path_factory.mktemp("lr") / "lr.mkv", small)


def write_keys(folder: Path, keys: dict[int, Picture], name: str = "key_{:.3f}s.png") -> Path:
    folder.mkdir()
    for number, key in keys.items():
        save_picture(folder / name.format(number / RATE), key)
    return folder


@pytest.fixture(scope="module")
def graded_keys(original: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graded") / "keys"
    return write_keys(folder, {number: grade(original[number]) for number in (0, 11)})


def enhance(lr: Path, keys: Path, **options: Any) -> list[Picture]:
    given = {"engine": "bicubic", "trust_reference": True} | options
    return [np.asarray(each.rgb, np.uint8) for each in enhanced_frames(lr, keys, **given)]


def measure(made: list[Picture], truth: list[Picture]) -> NDArray[np.float64]:
    """Return the PSNR in dB of the frames between the key frames."""
    pairs = zip(made[1:-1], truth[1:-1], strict=True)
    return np.array([measure_quality(a, b).psnr for a, b in pairs])


def test_a_grade_reaches_every_frame_and_key_frames_pass_through(
    original: list[Picture], lr: Path, graded_keys: Path
) -> None:
    truth = [grade(frame) for frame in original]
    plain = enhance(lr, graded_keys)
    assert np.array_equal(plain[0], truth[0])
    assert np.array_equal(plain[11], truth[11])
    assert measure(plain, truth).min() > 33

    without = enhance(lr, graded_keys, engine="torch", trust_reference=False)
    made = enhance(lr, graded_keys, engine="torch")
    assert measure(without, truth).max() < 24
    assert (measure(made, truth) - measure(plain, truth)).min() > 0
    # the error hardly changes from frame to frame
    errors = [a.astype(np.float64) - b for a, b in zip(made, truth, strict=True)]
    flicker = [np.abs(b - a).mean() for a, b in pairwise(errors)]
    assert max(flicker) < 3


def test_unedited_key_frames_change_hardly_anything(
    original: list[Picture], lr: Path, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys", {0: original[0], 11: original[11]})
    with_option = measure(enhance(lr, keys, engine="torch"), original)
    without = measure(enhance(lr, keys, engine="torch", trust_reference=False), original)
    # the errors of the codec look like weak edits
    assert np.abs(with_option - without).mean() < 0.3
    assert (without - with_option).mean() < 0.15
    assert (without - with_option).max() < 0.6


def test_sixteen_bits(original: list[Picture], lr: Path, graded_keys: Path, tmp_path: Path) -> None:
    frames = [frame.rgb.astype(np.uint16) * 257 for frame in read_frames(probe(str(lr)))]
    deep = tmp_path / "deep.mkv"
    with closing(VideoWriter(deep, lossless=True)) as writer:
        for frame in frames:
            writer.write(frame)
    options: Any = {"engine": "bicubic", "trust_reference": True}
    sixteen = [each.rgb for each in enhanced_frames(deep, graded_keys, **options)]
    assert sixteen[5].dtype == np.uint16
    apart = np.abs(sixteen[5] / 257 - enhance(lr, graded_keys)[5])
    assert apart.mean() < 0.6  # 8 bits are rounded twice
    assert apart.max() < 3
    assert np.array_equal(sixteen[0], grade(original[0]).astype(np.uint16) * 257)


def test_one_key_frame_without_a_time_is_found_by_its_content(
    original: list[Picture], lr: Path, tmp_path: Path
) -> None:
    keys = write_keys(tmp_path / "keys", {7: grade(original[7])}, "best.png")
    saved = tmp_path / "plan.json"
    done = invoke("plan", lr, "--ref-stream", keys, "--trust-reference", "--save", saved)
    assert done.exit_code == 0, done.output
    trusted = read_plan(saved).reference.trusted
    assert trusted is not None
    assert (trusted.pts, trusted.ref_pts) == ((280,), (0,))
    assert "the edits of 1 key frame are applied to the frames around" in done.stdout


def test_a_run_killed_and_resumed_ends_with_the_same_bits(
    lr: Path, graded_keys: Path, tmp_path: Path
) -> None:
    def command(name: str, *more: object) -> tuple[object, ...]:
        given = ("--ref-stream", graded_keys, "-o", tmp_path / name, "--segment", "0.16")
        return ("run", lr, *given, *QUICK, "--trust-reference", *more)

    assert invoke(*command("whole.mkv")).exit_code == 0
    run_until("os.rename", "00001.json", *command("out.mkv"))
    done = invoke(*command("out.mkv"), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["resumed_segments"] == 1
    assert sha256(tmp_path / "out.mkv") == sha256(tmp_path / "whole.mkv")

    # the plan keeps the option, and needs no other
    plan = tmp_path / "out.plan.json"
    again = ("run", lr, "--ref-stream", graded_keys, "-o", tmp_path / "again.mkv", *QUICK)
    assert invoke(*again, "--plan", plan).exit_code == 0
    assert sha256(tmp_path / "again.mkv") == sha256(tmp_path / "whole.mkv")


def test_a_plan_without_it_is_not_changed_by_the_option(
    lr: Path, graded_keys: Path, tmp_path: Path
) -> None:
    saved = tmp_path / "plan.json"
    given = ("--ref-stream", graded_keys, "-o", tmp_path / "out.mkv")
    assert invoke("plan", lr, *given, "--save", saved).exit_code == 0
    assert "trusted" not in saved.read_text()
    refused = invoke("run", lr, *given, "--plan", saved, "--trust-reference", *INLINE)
    assert refused.exit_code == 2
    assert "was made without --trust-reference" in refused.stderr

    plan = json.loads(saved.read_text())
    for trusted, line in (
        ({"pts": [0, 440], "ref_pts": [0]}, "the same number"),
        ({"pts": [440, 0], "ref_pts": [1, 0]}, "not in strictly ascending order"),
        ({"pts": [440, 440], "ref_pts": [0, 1]}, "not in strictly ascending order"),
        ({"pts": [3], "ref_pts": [0]}, "the trusted key frames in"),
        ({"pts": [0], "ref_pts": [9]}, "the trusted key frames in"),
    ):
        plan["reference"]["trusted"] = trusted
        saved.write_text(json.dumps(plan))
        refused = invoke("run", lr, *given, "--plan", saved, *INLINE)
        assert refused.exit_code == 2, line
        assert line in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_pictures_of_something_else_are_refused(lr: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (160, 192, 3)).astype(np.uint8)
    keys = write_keys(tmp_path / "keys", {0: noise}, "other.png")
    refused = invoke("plan", lr, "--ref-stream", keys, "--trust-reference", "-q")
    assert refused.exit_code == 2
    assert "found no key frame that shows the instant of a frame" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_tiny_clip_enlarged_by_two(original: list[Picture], tmp_path: Path) -> None:
    tiny = [frame[:64, :96] for frame in original]
    small = [cv2.resize(f, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for f in tiny]
    lr = write_video(tmp_path / "lr.mkv", [np.asarray(each, np.uint8) for each in small])
    truth = [grade(frame) for frame in tiny]
    keys = write_keys(tmp_path / "keys", {0: truth[0], 11: truth[11]})
    assert measure(enhance(lr, keys), truth).min() > 33
    plain = write_keys(tmp_path / "plain", {0: tiny[0], 11: tiny[11]})
    without = measure(enhance(lr, plain, trust_reference=False), tiny)
    # the errors of the codec look like edits, and are repaired
    assert (measure(enhance(lr, plain), tiny) - without).min() > -0.1


def test_what_a_generative_network_invented_is_carried_without_flicker(tmp_path: Path) -> None:
    scene = read_clip(SAMPLE, 7)
    small = reduce_clip(Material(scene, scene), SCALE, None)
    lr = write_video(tmp_path / "lr.mkv", small)
    # the first frame, enlarged by Real-ESRGAN; see docs/key-frames.md
    key = np.asarray(load_picture(str(DATA / "generated_key.png")), np.uint8)
    keys = write_keys(tmp_path / "keys", {0: key})

    generated = [key, *scene[1:]]
    agreement, flicker = [], []
    for trust in (True, False):
        made = enhance(lr, keys, engine="torch", trust_reference=trust, adapt="off")
        agreement.append(measure_agreement(made, generated, len(scene), scene=scene))
        flicker.append(measure_flicker(made[1:], scene[1:]))
    assert agreement[0] > agreement[1] + 4
    assert agreement[0] > 34
    assert flicker[0] < 2

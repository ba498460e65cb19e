"""What is estimated from pictures: cuts, offset and drift, field of view; on a real clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.alignment import estimate_field_of_view, estimate_offset, likeness, look, thumbnail
from pipeline.errors import PairingError
from pipeline.media.probe import probe
from pipeline.media.reader import Frame, read

ROOT = Path(__file__).parents[2]
MONSTER = ROOT / "pipeline" / "samples" / "monster.mp4"
BUNNY = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"


def frames_of(path: Path, count: int) -> list[np.ndarray]:
    """Return the first frames of a clip at 180 x 120."""
    found = []
    for frame in read(probe(str(path))):
        found.append(cv2.resize(frame.rgb, (180, 120), interpolation=cv2.INTER_AREA))
        if len(found) == count:
            break
    return found


@pytest.fixture(scope="module")
def monster() -> list[np.ndarray]:
    return frames_of(MONSTER, 60)


@pytest.fixture(scope="module")
def bunny() -> list[np.ndarray]:
    return frames_of(BUNNY, 60)


def played(pictures: list[np.ndarray]) -> Iterator[Frame]:
    return (Frame(pts=100 + 3 * number, rgb=rgb) for number, rgb in enumerate(pictures))


def test_a_cut_is_found_at_its_first_frame(
    monster: list[np.ndarray], bunny: list[np.ndarray]
) -> None:
    seen = look(played([*monster[:25], *bunny[:25]]), cuts=True)
    assert seen.cuts == (100 + 3 * 25,)
    assert seen.thumbnails.shape == (50, 32 * 18)


def test_a_hand_held_clip_has_no_cut(monster: list[np.ndarray]) -> None:
    assert look(played(monster), cuts=True).cuts == ()


def test_likeness_is_a_correlation(monster: list[np.ndarray]) -> None:
    a, b = thumbnail(monster[0])[None], thumbnail(monster[40])[None]
    gray = [
        cv2.cvtColor(cv2.resize(p, (32, 18), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for p in (monster[0], monster[40])
    ]
    expected = np.corrcoef(gray[0].ravel(), gray[1].ravel())[0, 1]
    assert likeness(a, b)[0, 0] == pytest.approx(expected, abs=5e-3)


def test_sixteen_bit_pictures_look_the_same(monster: list[np.ndarray]) -> None:
    wide = monster[0].astype(np.uint16) * 257
    assert np.array_equal(thumbnail(wide), thumbnail(monster[0]))


@pytest.mark.parametrize("late", [0.0, 0.4, 1.0])
def test_the_offset_of_a_second_recording_is_found(monster: list[np.ndarray], late: float) -> None:
    thumbs = np.stack([thumbnail(p) for p in monster])
    seconds = [i / 30 for i in range(60)]
    first = round(late * 30)
    # the second camera was started `late` seconds after the first and counts from zero
    offset, drift = estimate_offset(thumbs, seconds, thumbs[first:], seconds[: 60 - first])
    assert offset == pytest.approx(late, abs=0.02)
    assert drift == 1.0


def test_unrelated_recordings_have_no_offset(
    monster: list[np.ndarray], bunny: list[np.ndarray]
) -> None:
    a, b = (np.stack([thumbnail(p) for p in clip]) for clip in (monster, bunny))
    seconds = [i / 30 for i in range(60)]
    with pytest.raises(PairingError, match="no overlap"):
        estimate_offset(a, seconds, b, seconds)


def test_drift_of_a_long_recording_is_found() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(1500, 576)).astype(np.float32).cumsum(0)
    steps -= steps.mean(1, keepdims=True)
    thumbs = (steps / np.linalg.norm(steps, axis=1, keepdims=True)).astype(np.float16)
    lr_seconds = [i / 25 for i in range(1500)]
    # the reference's clock runs 1 % fast and started 2 s earlier
    picks = list(range(0, 1500, 12))
    ref_seconds = [(lr_seconds[i] + 2.0) * 1.01 for i in picks]
    offset, drift = estimate_offset(thumbs, lr_seconds, thumbs[picks], ref_seconds)
    errors = [
        abs(drift * t + offset - lr_seconds[i]) for t, i in zip(ref_seconds, picks, strict=True)
    ]
    assert drift == pytest.approx(1 / 1.01, abs=2e-3)
    assert max(errors) < 0.2


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    return next(iter(read(probe(str(MONSTER))))).rgb


def test_the_same_field_of_view_needs_no_map(sharp: np.ndarray) -> None:
    lr = cv2.resize(sharp, (180, 120), interpolation=cv2.INTER_AREA)
    assert estimate_field_of_view([(lr, sharp)], 480, 720) is None


def test_a_tele_camera_s_field_of_view_is_found(sharp: np.ndarray) -> None:
    lr = cv2.resize(sharp, (360, 240), interpolation=cv2.INTER_AREA)
    tele = cv2.resize(sharp[100:340, 150:510], (720, 480), interpolation=cv2.INTER_CUBIC)
    affine = estimate_field_of_view([(lr, tele)], 480, 720)
    assert affine is not None
    # output (x, y) lies at 2 (x - 150 + 0.5) - 0.5, 2 (y - 100 + 0.5) - 0.5 of the tele picture
    expected = (2.0, 0.0, -299.5, 0.0, 2.0, -199.5)
    corners = np.array([[150, 100, 1], [509, 100, 1], [150, 339, 1], [509, 339, 1]]).T
    got, want = (np.reshape(m, (2, 3)) @ corners for m in (affine, expected))
    assert np.abs(got - want).max() < 4


def test_unrelated_pictures_get_no_map(sharp: np.ndarray, bunny: list[np.ndarray]) -> None:
    assert estimate_field_of_view([(bunny[0], sharp)], 480, 720) is None

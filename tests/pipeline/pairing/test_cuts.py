"""Cuts, likeness and field of view, estimated from the pictures of real clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.media.read.frames import Frame, read_frames
from pipeline.media.read.probe import probe
from pipeline.pairing.cuts import survey_frames
from pipeline.pairing.field_of_view import estimate_field_of_view
from pipeline.pairing.thumbnails import correlate_thumbnails, make_thumbnail
from tests.support import ROOT

MONSTER = ROOT / "pipeline" / "samples" / "monster.mp4"
STEREO = ROOT / "tests" / "data" / "stereo"
BUNNY = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"


def read_first_frames(path: Path, count: int) -> list[np.ndarray]:
    """Return the first frames of a clip at 180 x 120."""
    found = []
    for frame in read_frames(probe(str(path))):
        found.append(cv2.resize(frame.rgb, (180, 120), interpolation=cv2.INTER_AREA))
        if len(found) == count:
            break
    return found


@pytest.fixture(scope="module")
def monster() -> list[np.ndarray]:
    return read_first_frames(MONSTER, 60)


@pytest.fixture(scope="module")
def bunny() -> list[np.ndarray]:
    return read_first_frames(BUNNY, 60)


def played(pictures: list[np.ndarray]) -> Iterator[Frame]:
    return (Frame(pts=100 + 3 * number, rgb=rgb) for number, rgb in enumerate(pictures))


def test_a_cut_is_found_at_its_first_frame(
    monster: list[np.ndarray], bunny: list[np.ndarray]
) -> None:
    seen = survey_frames(played([*monster[:25], *bunny[:25]]), cuts=True)
    assert seen.cuts == (100 + 3 * 25,)
    assert seen.thumbnails[:].shape == (50, 32 * 18)


def test_a_hand_held_clip_has_no_cut(monster: list[np.ndarray]) -> None:
    assert survey_frames(played(monster), cuts=True).cuts == ()


def test_shaking_flashes_and_frozen_pictures_are_not_cuts(monster: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    shaken = [np.roll(p, tuple(rng.integers(-12, 13, 2)), (0, 1)) for p in monster]
    flash = [*monster[:30], np.full_like(monster[0], 250), *monster[31:]]
    frozen = [*monster[:20], *[monster[19]] * 8, *monster[28:]]
    for pictures in (shaken, flash, frozen, monster[::4]):
        assert survey_frames(played(pictures), cuts=True).cuts == ()


def test_a_cut_between_shaky_shots_of_like_colours_is_found(monster: list[np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    other = [np.ascontiguousarray(p[::-1, ::-1]) for p in monster]
    shots = [
        np.roll(p, tuple(rng.integers(-3, 4, 2)), (0, 1)) for p in [*monster[:30], *other[30:]]
    ]
    assert survey_frames(played(shots), cuts=True).cuts == (100 + 3 * 30,)


def test_thumbnails_are_stored_only_on_request(monster: list[np.ndarray]) -> None:
    seen = survey_frames(played(monster), cuts=True, thumbnails=False)
    assert len(seen.pts) == len(monster)
    assert len(seen.thumbnails) == 0


def test_thumbnails_show_the_turned_picture(monster: list[np.ndarray]) -> None:
    lying = [np.rot90(p, 3) for p in monster[:2]]
    seen = survey_frames(played(lying), cuts=False, turns=1)
    assert correlate_thumbnails(seen.thumbnails[:1], make_thumbnail(monster[0])[None])[0, 0] > 0.99


def test_likeness_is_a_correlation(monster: list[np.ndarray]) -> None:
    a, b = make_thumbnail(monster[0])[None], make_thumbnail(monster[40])[None]
    gray = [
        cv2.cvtColor(cv2.resize(p, (32, 18), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        for p in (monster[0], monster[40])
    ]
    expected = np.corrcoef(gray[0].ravel(), gray[1].ravel())[0, 1]
    assert correlate_thumbnails(a, b)[0, 0] == pytest.approx(expected, abs=5e-3)


def test_sixteen_bit_pictures_look_the_same(monster: list[np.ndarray]) -> None:
    wide = monster[0].astype(np.uint16) * 257
    assert np.array_equal(make_thumbnail(wide), make_thumbnail(monster[0]))


@pytest.fixture(scope="module")
def sharp() -> np.ndarray:
    return next(iter(read_frames(probe(str(MONSTER))))).rgb


def test_the_same_field_of_view_needs_no_map(sharp: np.ndarray) -> None:
    lr = cv2.resize(sharp, (180, 120), interpolation=cv2.INTER_AREA)
    assert estimate_field_of_view([(lr, sharp)], 480, 720) is None


def test_a_tele_camera_s_field_of_view_is_found(sharp: np.ndarray) -> None:
    lr = cv2.resize(sharp, (360, 240), interpolation=cv2.INTER_AREA)
    tele = cv2.resize(sharp[100:340, 150:510], (720, 480), interpolation=cv2.INTER_CUBIC)
    affine = estimate_field_of_view([(lr, tele)], 480, 720)
    assert affine is not None
    # output (x, y) is (2 (x - 150 + 0.5) - 0.5, 2 (y - 100 + 0.5) - 0.5) in the tele picture
    expected = (2.0, 0.0, -299.5, 0.0, 2.0, -199.5)
    corners = np.array([[150, 100, 1], [509, 100, 1], [150, 339, 1], [509, 339, 1]]).T
    got, want = (np.reshape(m, (2, 3)) @ corners for m in (affine, expected))
    assert np.abs(got - want).max() < 4


def test_unrelated_pictures_get_no_map(sharp: np.ndarray, bunny: list[np.ndarray]) -> None:
    assert estimate_field_of_view([(bunny[0], sharp)], 480, 720) is None


def test_an_unrelated_picture_whose_one_point_resembles_many_gets_no_map(
    sharp: np.ndarray,
) -> None:
    with Image.open(STEREO / "motorcycle_left.png") as picture:
        unrelated = np.asarray(picture.convert("RGB").resize((720, 480)))
    lr = np.asarray(Image.fromarray(sharp).resize((480, 320), Image.Resampling.BICUBIC))
    assert estimate_field_of_view([(lr, unrelated)], 640, 960) is None


def test_a_moving_camera_is_not_another_field_of_view(sharp: np.ndarray) -> None:
    views = [sharp[100:340, x : x + 360] for x in (60, 150, 240)]
    tele = cv2.resize(views[1], (720, 480), interpolation=cv2.INTER_CUBIC)
    pairs = [(cv2.resize(sharp[:, x : x + 480], (240, 240)), tele) for x in (0, 90, 180)]
    assert estimate_field_of_view(pairs, 480, 480) is None

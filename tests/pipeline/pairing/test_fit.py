"""References fitted to the output grid: size, field of view, depth and colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.pairing.fit import prepare_reference
from tests.support import ROOT
from tests.support.recordings import texture


@pytest.fixture
def scene() -> np.ndarray:
    """Return a uint8 192 x 256 x 3 picture, smooth enough to be resampled with little loss."""
    return cv2.GaussianBlur(texture(3, 192, 256), (0, 0), 2)


def small(image: np.ndarray, scale: int = 4) -> np.ndarray:
    size = (image.shape[1] // scale, image.shape[0] // scale)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def test_a_reference_that_fits_is_returned_as_it_is(scene: np.ndarray) -> None:
    assert prepare_reference(scene, small(scene), 192, 256) is scene


def test_motion_does_not_count_as_another_colour(scene: np.ndarray) -> None:
    moved = np.roll(scene, 12, axis=1)
    assert prepare_reference(moved, small(scene), 192, 256) is moved


def test_a_larger_reference_is_reduced(scene: np.ndarray) -> None:
    large = cv2.resize(scene, (512, 384), interpolation=cv2.INTER_CUBIC)
    got = prepare_reference(large, small(scene), 192, 256)
    assert np.abs(got.astype(int) - scene).mean() < 1.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_another_exposure_is_matched(scene: np.ndarray, dtype: type) -> None:
    factor = 257 if dtype is np.uint16 else 1
    truth = scene.astype(dtype) * factor
    dark = (truth * 0.6).astype(dtype)
    got = prepare_reference(dark, small(truth), 192, 256)
    assert got.dtype == dtype
    assert np.abs(got / factor - scene.astype(float)).mean() < 2.5
    assert prepare_reference(dark, small(truth), 192, 256, match_colour=False) is dark


def test_an_unrelated_reference_keeps_its_colours(scene: np.ndarray) -> None:
    other = np.ascontiguousarray(255 - scene[::-1, ::-1])
    assert prepare_reference(other, small(scene), 192, 256) is other


def test_depth_follows_the_input(scene: np.ndarray) -> None:
    wide = small(scene).astype(np.uint16) * 257
    assert np.array_equal(prepare_reference(scene, wide, 192, 256), scene.astype(np.uint16) * 257)
    narrow = prepare_reference(scene.astype(np.uint16) * 257, small(scene), 192, 256)
    assert np.array_equal(narrow, scene)


def test_a_narrower_field_of_view_is_moved_and_the_rest_is_the_input(scene: np.ndarray) -> None:
    # a tele camera sees rows 48..144 and columns 64..192 at twice the output's resolution
    tele = cv2.resize(scene[48:144, 64:192], (256, 192), interpolation=cv2.INTER_CUBIC)
    # output x is 2 (x - 64 + 0.5) - 0.5 in the reference
    affine = (2.0, 0.0, 2 * -63.5 - 0.5, 0.0, 2.0, 2 * -47.5 - 0.5)
    got = prepare_reference(tele, small(scene), 192, 256, affine=affine, match_colour=False)
    plain = cv2.resize(small(scene), (256, 192), interpolation=cv2.INTER_CUBIC)
    inside = np.s_[56:136, 72:184]
    assert np.abs(got[inside].astype(int) - scene[inside]).mean() < 1.5
    assert np.array_equal(got[:40], plain[:40])
    assert np.array_equal(got[:, :56], plain[:, :56])


def test_a_narrower_and_darker_reference_leaves_the_input_around_it(scene: np.ndarray) -> None:
    dark = (scene[48:144, 64:192] * 0.6).astype(np.uint8)
    tele = cv2.resize(dark, (256, 192), interpolation=cv2.INTER_CUBIC)
    affine = (2.0, 0.0, 2 * -63.5 - 0.5, 0.0, 2.0, 2 * -47.5 - 0.5)
    got = prepare_reference(tele, small(scene), 192, 256, affine=affine)
    plain = cv2.resize(small(scene), (256, 192), interpolation=cv2.INTER_CUBIC)
    inside = np.s_[56:136, 72:184]
    assert np.abs(got[inside].astype(int) - scene[inside]).mean() < 4
    assert np.array_equal(got[:40], plain[:40])


def test_a_second_of_real_motion_does_not_change_colours() -> None:
    sample = ROOT / "pipeline" / "samples" / "monster.mp4"
    shown = [f.rgb for f in read_frames(probe(str(sample)))]
    pairs = [(shown[i], shown[i + 30]) for i in range(0, len(shown) - 30, 5)]
    corrected = [ref for ref, at in pairs if prepare_reference(ref, small(at), 480, 720) is not ref]
    assert len(corrected) <= len(pairs) // 20

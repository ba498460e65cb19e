"""A known grade is recovered from a pair of pictures, and painted parts are not taken for one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossnetpp.capture.grade import estimate_grade
from tests.support import DATA

Picture = NDArray[np.uint8]
PAINTED = slice(40, 80), slice(60, 110)


@pytest.fixture(scope="module")
def original() -> Picture:
    picture = cv2.imread(str(DATA / "kodak_21.jpg"))
    small = cv2.resize(picture, (192, 128), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[..., ::-1], np.uint8)


def grade(picture: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return a picture of 8 bits with a bent tone curve, saturation, a vignette and a tint."""
    colours = (picture.astype(np.float64) / 255) ** 0.75
    grey = colours.mean(axis=2, keepdims=True)
    colours = grey + 1.4 * (colours - grey)
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    fall = 1 - 0.4 * (rows**2 + columns**2) / 2
    return np.asarray((colours * fall[..., None] + [0.05, 0, -0.02]).clip(0, 1), np.float64)


def measure(graded: NDArray[np.floating], truth: NDArray[np.float64]) -> float:
    """Return the PSNR in dB of two pictures in 0..1."""
    return -10 * float(np.log10(np.square(graded.clip(0, 1) - truth).mean()))


def test_a_known_grade_is_recovered_and_holds_for_other_pictures(original: Picture) -> None:
    truth = grade(original)
    edited = np.rint(truth * 255).astype(np.uint8)
    assert measure(original / 255, truth) < 24
    found = estimate_grade(original, edited)
    assert found is not None
    assert measure(found.apply(original), truth) > 35

    # the same grade of a picture that moved on
    other = np.roll(original, (5, 9), (0, 1))
    assert measure(found.apply(other), grade(other)) > 33


def test_sixteen_bits_give_the_same_grade(original: Picture) -> None:
    edited = np.rint(grade(original) * 255).astype(np.uint8)
    low = estimate_grade(original, edited)
    deep, deep_edited = (each.astype(np.uint16) * 257 for each in (original, edited))
    high = estimate_grade(deep, deep_edited)
    assert low is not None
    assert high is not None
    assert np.abs(low.apply(original) - high.apply(deep)).max() < 1e-3


def test_pictures_that_agree_have_no_grade(original: Picture) -> None:
    noise = np.random.default_rng(1).normal(0, 3, original.shape)
    noisy = np.rint(original + noise).clip(0, 255).astype(np.uint8)
    assert estimate_grade(original, original.copy()) is None
    assert estimate_grade(original, noisy) is None


def test_a_painted_part_is_not_taken_for_a_grade(original: Picture) -> None:
    truth = grade(original)
    edited = np.rint(truth * 255).astype(np.uint8)
    edited[PAINTED] = 30, 200, 40
    found = estimate_grade(original, edited)
    assert found is not None
    assert measure(found.apply(original), truth) > 34
    # the painted part has the grade of what is around it, and not its own colours
    assert measure(found.apply(original)[PAINTED], truth[PAINTED]) > 32

    alone = original.copy()
    alone[PAINTED] = 30, 200, 40
    assert estimate_grade(original, alone) is None


def test_what_an_edited_picture_does_not_show_does_not_count(original: Picture) -> None:
    truth = grade(original)
    edited = np.rint(truth * 255).astype(np.uint8)
    seen = np.zeros(original.shape[:2], np.bool_)
    seen[20:, 30:170] = True
    edited[~seen] = 0
    found = estimate_grade(original, edited, seen)
    assert found is not None
    assert measure(found.apply(original)[seen], truth[seen]) > 33
    assert estimate_grade(original, edited, np.zeros_like(seen)) is None


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_picture_of_one_level_is_no_error(original: Picture, level: int) -> None:
    flat = np.full_like(original, level)
    for before, after in ((original, flat), (flat, original)):
        found = estimate_grade(before, after)
        assert found is None or np.isfinite(found.apply(before)).all()

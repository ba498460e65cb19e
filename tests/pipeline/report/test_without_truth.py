"""Quality without ground truth, on pictures where the answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.report.without_truth import (
    estimate_input_motion,
    measure_agreement,
    measure_borrowing,
    measure_consistency,
    measure_temporal_error,
    warp_reference,
)
from tests.support import DATA

Picture = NDArray[np.uint8]
PHOTO = DATA / "kodak_21.jpg"


@pytest.fixture(scope="module")
def photo() -> Picture:
    return np.ascontiguousarray(cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)[:256, :320])


def soft(picture: Picture) -> Picture:
    small = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def test_consistency_is_the_psnr_of_the_result_reduced_by_pillow(photo: Picture) -> None:
    from PIL import Image

    lr = np.asarray(Image.fromarray(photo).resize((80, 64), Image.Resampling.BICUBIC))
    worse = np.asarray(np.clip(lr.astype(int) + 5, 0, 250), np.uint8)
    error = np.mean((lr / 255 - worse / 255) ** 2)
    assert measure_consistency(photo, lr, 4) > 48
    assert measure_consistency(photo, worse, 4) == pytest.approx(-10 * np.log10(error), abs=0.3)


def test_consistency_takes_the_kernel_of_the_input(photo: Picture) -> None:
    # the means of 4 x 4 pixels half an LR pixel to the right
    means = photo.astype(np.float64).reshape(64, 4, 320, 3).mean(1)
    moved = np.concatenate((means[:, 2:], means[:, -1:], means[:, -1:]), axis=1)
    lr = np.asarray(moved.reshape(64, 80, 4, 3).mean(2).round(), np.uint8)
    kernel = np.zeros((16, 16))
    kernel[6:10, 8:12] = 1 / 16
    assert measure_consistency(photo, lr, 4, kernel) > 50
    assert measure_consistency(photo, lr, 4) < 40


def test_borrowed_is_the_mean_distance_of_the_channels() -> None:
    result = np.full((2, 2, 3), (10, 20, 30), np.uint8)
    plain = np.full((2, 2, 3), (13, 20, 24), np.uint8)
    assert measure_borrowing(result, plain) == pytest.approx(np.full((2, 2), 3.0))


def test_agreement_finds_the_same_detail_at_another_place(photo: Picture) -> None:
    reference = np.roll(photo, 3, axis=1)
    plain = soft(photo)
    moved = warp_reference(reference, plain)
    same = measure_agreement(photo, moved)
    noise = np.random.default_rng(2).normal(0, 12, photo.shape)
    other = np.asarray(np.clip(plain + noise, 0, 255), np.uint8)
    invented, blurred = measure_agreement(other, moved), measure_agreement(plain, moved)
    assert same is not None
    assert invented is not None
    assert blurred is not None
    assert same > 0.6
    assert invented < blurred < same - 0.2


def test_agreement_of_flat_pictures_is_unknown() -> None:
    flat = np.full((64, 64, 3), 90, np.uint8)
    assert measure_agreement(flat, warp_reference(flat, flat)) is None


def test_flicker_is_counted_and_motion_is_not(photo: Picture) -> None:
    before, now = photo[:, 2:-2], photo[:, :-4]
    moved = estimate_input_motion(before, now)
    calm = measure_temporal_error(before, now, moved)
    flicker = measure_temporal_error(
        before, np.asarray(np.clip(now.astype(int) + 20, 0, 255), np.uint8), moved
    )
    assert calm < 2
    assert flicker > calm + 15

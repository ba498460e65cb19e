"""A network's result, mixed with detail borrowed by optical flow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossnetpp.classical.borrow import borrow_detail, upsample, weigh_result
from crossnetpp.classical.mix import mix_with_flow
from crossnetpp.classical.optical_flow import estimate_flow
from crossnetpp.data.sample import read_rgb
from crossnetpp.networks.taps import Taps, make_box_taps
from tests.support import ROOT

Image = NDArray[np.float32]
SCALE = 4
ONE = np.ones(1, np.float32)


def crop(name: str, row: int, column: int, size: int = 128) -> Image:
    picture = read_rgb(ROOT / "tests" / "data" / name)[row : row + size, column : column + size]
    return np.asarray(picture / 255, np.float32)


def average(image: Image) -> Image:
    """Return the means over SCALE x SCALE pixels."""
    return cv2.resize(image, None, fx=1 / SCALE, fy=1 / SCALE, interpolation=cv2.INTER_AREA)


def psnr(image: Image, truth: Image) -> float:
    return float(-10 * np.log10(np.square(image - truth).mean()))


@pytest.fixture(scope="module")
def truth() -> Image:
    return crop("kodak_21.jpg", 200, 100)


@pytest.fixture(scope="module")
def moved() -> Image:
    """The same scene, 3 pixels to the right."""
    return crop("kodak_21.jpg", 200, 103)


TAPS: Taps = make_box_taps(SCALE)


def test_weights_are_inverse_local_errors_of_the_reduced_result(truth: Image) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, truth.shape)
    result = np.asarray(truth + noise, np.float32)
    lr = average(truth)

    # independently, in float64: means of blocks, and sums of 9 x 9 windows away from the border
    blocks = result.astype(np.float64).reshape(32, SCALE, 32, SCALE, 3).mean(axis=(1, 3))
    error = np.square(blocks - lr).mean(axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(error, (9, 9)).mean(axis=(2, 3))
    expected = 1 / (windows + 0.002**2)

    found = weigh_result(lr, result, TAPS)
    assert found.shape == (32, 32)
    assert np.allclose(found[4:-4, 4:-4], expected, rtol=1e-3)


def test_a_result_that_is_wrong_in_a_part_is_corrected_there(truth: Image, moved: Image) -> None:
    wrong = truth.copy()
    wrong[32:64, 32:64] = cv2.GaussianBlur(wrong[32:64, 32:64], (0, 0), 4)
    lr = average(truth)
    flow = borrow_detail(lr, moved, TAPS).sr

    mixed = mix_with_flow(wrong, lr, [moved], ONE, TAPS)
    inside = np.s_[36:60, 36:60]
    assert psnr(mixed[inside], truth[inside]) > psnr(wrong[inside], truth[inside]) + 3
    assert psnr(mixed, truth) > max(psnr(wrong, truth), psnr(flow, truth))


def test_a_second_estimate_of_the_flow_finds_what_the_first_missed(truth: Image) -> None:
    lr = average(truth)
    columns = np.arange(truth.shape[1])
    ripple = np.asarray(3 * np.sin(columns / 20), np.float32)
    grid = np.meshgrid(columns.astype(np.float32), np.arange(truth.shape[0], dtype=np.float32))
    moved = cv2.remap(truth, grid[0], grid[1] + ripple, cv2.INTER_CUBIC, borderMode=1)
    reference = np.asarray(moved, np.float32)

    result = np.asarray(0.6 * truth + 0.4 * upsample(lr, SCALE), np.float32)
    once = mix_with_flow(result, lr, [reference], ONE, TAPS)
    twice = mix_with_flow(result, lr, [reference], ONE, TAPS, again=True)
    assert psnr(twice, truth) > psnr(once, truth) + 0.2

    # independently: the flow between two sharp pictures, with which the reference is warped
    flow = estimate_flow(once, reference, finest=0)
    by_hand = borrow_detail(lr, reference, TAPS, flow).sr
    first = borrow_detail(lr, reference, TAPS).sr
    assert psnr(by_hand, truth) > psnr(first, truth) + 0.5


def test_luma_alone_is_mixed_if_chroma_is_subsampled(truth: Image, moved: Image) -> None:
    lr = average(truth)
    blurred = np.asarray(cv2.GaussianBlur(truth, (0, 0), 2), np.float32)
    both = mix_with_flow(blurred, lr, [moved], ONE, TAPS)
    luma = mix_with_flow(blurred, lr, [moved], ONE, TAPS, luma_only=True)

    ycc = [cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb) for image in (blurred, both, luma)]
    assert np.abs(ycc[2][..., 0] - ycc[1][..., 0]).max() < 1e-3
    assert np.abs(ycc[2][..., 1:] - ycc[0][..., 1:]).max() < 1e-3
    assert np.abs(ycc[1][..., 1:] - ycc[0][..., 1:]).max() > 0.01


def test_independent_errors_average_out(truth: Image, moved: Image) -> None:
    lr = average(truth)
    flow = borrow_detail(lr, moved, TAPS).sr
    # a network's result that is as far from the truth as that of optical flow
    noise = np.random.default_rng(1).normal(0, np.sqrt(np.square(flow - truth).mean()), truth.shape)
    result = np.asarray(truth + noise, np.float32)
    mixed = mix_with_flow(result, lr, [moved], ONE, TAPS)
    assert psnr(mixed, truth) > max(psnr(result, truth), psnr(flow, truth)) + 1


def test_an_unrelated_reference_changes_nearly_nothing(truth: Image) -> None:
    lr = average(truth)
    result = np.asarray(0.7 * truth + 0.3 * upsample(lr, SCALE), np.float32)
    other = np.ascontiguousarray(crop("kodak_21.jpg", 20, 400)[::-1])
    mixed = mix_with_flow(result, lr, [other], ONE, TAPS)
    assert psnr(mixed, truth) > psnr(result, truth) - 0.1


def test_the_nearer_reference_counts_for_more(truth: Image, moved: Image) -> None:
    lr = average(truth)
    blurred = np.asarray(cv2.GaussianBlur(truth, (0, 0), 2), np.float32)
    faded = np.asarray(moved * 0.9 + 0.05, np.float32)
    near_first, far_first = (
        mix_with_flow(blurred, lr, [moved, faded], np.array(weights, np.float32), TAPS)
        for weights in ((1, 0.01), (0.01, 1))
    )
    alone = mix_with_flow(blurred, lr, [moved], ONE, TAPS)
    assert psnr(near_first, alone) > psnr(far_first, alone) + 3

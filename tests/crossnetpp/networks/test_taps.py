"""Downscaling kernels: their layout, and the reduction by them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.networks.resample import LEAST_INSIDE, blur_like_lr, reduce_antialiased
from crossnetpp.networks.taps import (
    join_taps,
    make_bicubic_taps,
    make_box_taps,
    make_separable_taps,
    separate_kernel,
)

SCALES = (2, 4, 8)


def _make_image(height: int, width: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.random((1, 3, height, width), np.float32))


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_taps_reduce_as_the_default(scale: int) -> None:
    image = _make_image(8 * scale, 12 * scale)
    taps = torch.from_numpy(make_bicubic_taps(scale))
    expected = reduce_antialiased(image, scale)
    assert torch.allclose(reduce_antialiased(image, scale, taps), expected, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_box_taps_average_the_pixels_of_a_block(scale: int) -> None:
    image = _make_image(6 * scale, 9 * scale)
    taps = torch.from_numpy(make_box_taps(scale))
    expected = torch.nn.functional.avg_pool2d(image, scale)
    assert torch.allclose(reduce_antialiased(image, scale, taps), expected, atol=1e-5)


def test_a_kernel_of_two_terms_is_the_correlation_that_opencv_computes() -> None:
    scale = 4
    rng = np.random.default_rng(1)
    rows = rng.random((2, 4 * scale))
    columns = rng.random((2, 4 * scale))
    kernel = np.einsum("tr,tc->rc", rows, columns)
    kernel /= kernel.sum()
    taps = separate_kernel(kernel)
    assert np.allclose(join_taps(taps), kernel, atol=1e-6)

    image = _make_image(48, 64)
    got = reduce_antialiased(image, scale, torch.from_numpy(taps))[0, 0].numpy()
    # tap i of LR pixel x lies on HR pixel 4 x + i - 6, and the anchor is the tap on pixel 4 x
    full = cv2.filter2D(image[0, 0].numpy(), -1, kernel.astype(np.float32), anchor=(6, 6))
    assert np.allclose(got[3:-3, 3:-3], full[::scale, ::scale][3:-3, 3:-3], atol=1e-5)


def test_a_flat_picture_stays_flat_up_to_its_border_whatever_the_kernel() -> None:
    rows = np.linspace(1, 3, 16)
    taps = torch.from_numpy(make_separable_taps(rows, rows[::-1]))
    flat = torch.full((1, 3, 32, 40), 0.6)
    assert torch.allclose(reduce_antialiased(flat, 4, taps), torch.full((1, 3, 8, 10), 0.6))
    assert torch.allclose(blur_like_lr(flat, 4, taps), flat)


@pytest.mark.parametrize("weight", [1e-7, 0.0, -1e-3])
def test_a_border_pixel_with_hardly_any_weight_inside_stays_within_range(weight: float) -> None:
    # the LR pixel at the left border covers only the taps from the seventh on
    columns = np.zeros(16)
    columns[:6] = 1 / 6
    columns[6:8] = 0.3, -0.3 + weight
    rows = make_box_taps(4)[0, 0]
    taps = torch.from_numpy(make_separable_taps(rows, columns))
    image = _make_image(32, 40)
    reduced = reduce_antialiased(image, 4, taps)
    assert reduced[..., 0].abs().max() <= 0.6 / LEAST_INSIDE

    # elsewhere, the mean is kept
    flat = reduce_antialiased(torch.full((1, 3, 32, 40), 0.6), 4, taps)
    assert torch.allclose(flat[..., 2:-3], torch.full((1, 3, 8, 5), 0.6), atol=1e-5)


def test_a_kernel_that_is_not_separable_is_approximated_best_by_two_terms() -> None:
    position = np.arange(16) - 7.5
    x, y = np.meshgrid(position, position)
    kernel = np.exp(-((x - y) ** 2) / 8 - (x + y) ** 2 / 40)
    kernel /= kernel.sum()
    taps = separate_kernel(kernel)
    assert taps.shape == (2, 2, 16)
    assert taps.dtype == np.float32
    assert join_taps(taps).sum() == pytest.approx(1, abs=1e-6)

    strengths = np.linalg.svd(kernel, compute_uv=False)
    left = np.sqrt((strengths[2:] ** 2).sum())
    assert np.linalg.norm(join_taps(taps) - kernel) == pytest.approx(left, rel=0.5)


def test_a_kernel_without_a_positive_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="found a kernel with a sum of -1, expected a sum above 0"):
        separate_kernel(-np.full((8, 8), 1 / 64))

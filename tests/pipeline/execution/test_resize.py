"""The resize from the network's grid to the output, against independent computations."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.execution.resize import fit_result, resize_picture, resize_plane
from pipeline.pairing.upsample import upsample
from tests.support.recordings import texture

LR = texture(0, 40, 56)
SIZES = [(60, 84), (100, 140), (51, 77), (80, 112), (40, 56), (81, 113)]


def make_weights(size: int, wanted: int) -> NDArray[np.float64]:
    """Return the wanted x size matrix of an antialiased Lanczos filter with 3 lobes."""
    step = size / wanted
    wide = max(step, 1.0)
    centres = (np.arange(wanted)[:, None] + 0.5) * step
    away = (np.arange(size)[None] + 0.5 - centres) / wide
    weights = np.where(np.abs(away) < 3, np.sinc(away) * np.sinc(away / 3), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def resize_exactly(picture: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Return a picture (h x w x channels) resized in double precision."""
    rows = make_weights(picture.shape[0], height)
    columns = make_weights(picture.shape[1], width)
    return np.einsum("yi,xj,ijc->yxc", rows, columns, picture)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_plane_is_resized_as_computed_in_double_precision(height: int, width: int) -> None:
    plane = texture(3, 80, 112)[..., 0].astype(np.float32)
    made = resize_plane(plane, height, width)
    exact = resize_exactly(plane[..., None].astype(np.float64), height, width)[..., 0]
    assert made.shape == (height, width)
    assert np.abs(made - exact).max() < 0.01


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_picture_is_rounded_once_at_any_depth(dtype: type, channels: int) -> None:
    top = np.iinfo(dtype).max
    random = np.random.default_rng(1)
    picture = random.integers(0, top, (80, 112, channels), dtype, endpoint=True)
    made = resize_picture(picture, 60, 84)
    exact = np.clip(resize_exactly(picture.astype(np.float64), 60, 84), 0, top)
    assert made.dtype == dtype
    assert np.abs(made - exact).max() <= 0.5 + top / 2**20


def test_it_does_not_alias_and_keeps_what_the_output_can_show() -> None:
    x = np.arange(240)
    too_fine = 128 + 100 * np.cos(2 * np.pi * 0.45 * x)  # the output's limit is 0.333 per pixel
    fine = 128 + 100 * np.cos(2 * np.pi * 0.2 * x)
    gone, kept = (
        resize_plane(np.tile(wave.astype(np.float32), (12, 1)), 8, 160)[4, 20:-20]
        for wave in (too_fine, fine)
    )
    assert gone.std() < 3
    assert kept.std() > 0.97 * 100 / np.sqrt(2)


def test_it_agrees_with_another_antialiased_filter_on_smooth_pictures() -> None:
    smooth = cv2.GaussianBlur(texture(3, 80, 112), (0, 0), 3).astype(np.float32)
    planes = torch.from_numpy(smooth).permute(2, 0, 1)[None]
    theirs = torch.nn.functional.interpolate(planes, (60, 84), mode="bicubic", antialias=True)
    for channel in range(3):
        ours = resize_plane(smooth[..., channel], 60, 84)
        assert np.abs(ours - theirs[0, channel].numpy()).max() < 1


def test_a_picture_that_fits_is_returned_as_it_is() -> None:
    assert resize_picture(LR, 40, 56) is LR
    large = upsample(LR, 80, 112)
    assert fit_result(large, LR, 80, 112) is large


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("depth", [8, 16])
def test_a_result_without_detail_is_the_plain_up_sampling(
    height: int, width: int, depth: int
) -> None:
    lr = LR if depth == 8 else LR.astype(np.uint16) * 257
    made = fit_result(upsample(lr, 160, 224), lr, height, width)
    assert np.array_equal(made, upsample(lr, height, width))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_detail_of_a_result_is_resized_and_added(height: int, width: int) -> None:
    random = np.random.default_rng(2)
    grid = upsample(LR, 160, 224)
    noise = random.normal(0, 12, grid.shape)
    sr = np.clip(np.rint(grid + noise), 0, 255).astype(np.uint8)
    made = fit_result(sr, LR, height, width)

    detail = resize_exactly(sr.astype(np.float64) - grid, height, width)
    exact = np.clip(upsample(LR, height, width) + detail, 0, 255)
    assert np.abs(made - exact).max() <= 0.51


def test_true_detail_arrives() -> None:
    truth = cv2.GaussianBlur(texture(3, 240, 336), (0, 0), 1)
    lr = cv2.resize(truth, (112, 80), interpolation=cv2.INTER_AREA)
    sr = cv2.resize(truth, (448, 320), interpolation=cv2.INTER_CUBIC)  # what a network found
    made, plain = fit_result(sr, lr, 240, 336), upsample(lr, 240, 336)
    before, after = (np.square(each.astype(float) - truth).mean() for each in (plain, made))
    assert after < before / 20

"""Warping, correlation, Lucas-Kanade, resampling and metrics compared with other computations."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from crossnetpp.data.degradation import degrade, subsample_chroma
from crossnetpp.losses import charbonnier, flow_loss
from crossnetpp.metrics import PSNR_OF_IDENTICAL, measure_quality, ssim
from crossnetpp.networks.correlation import (
    COSINE_GAIN,
    correlate_features,
    correlate_for_export,
    normalise_features,
)
from crossnetpp.networks.lucas_kanade import DAMPING, solve_lucas_kanade
from crossnetpp.networks.resample import reduce_antialiased, upsample_bicubic
from crossnetpp.networks.warp import make_grid, make_traced_grid, upscale_flow, warp


def make_smooth_picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    noise = rng.random((height, width), dtype=np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 1, cv2.NORM_MINMAX)


def test_warp_agrees_with_opencv_inside_and_clamps_outside() -> None:
    rng = np.random.default_rng(1)
    image = rng.random((40, 50), dtype=np.float32)
    flow = rng.normal(0, 6, (40, 50, 2)).astype(np.float32)
    y, x = np.mgrid[:40, :50].astype(np.float32)
    at_x, at_y = np.clip(x + flow[..., 0], 0, 49), np.clip(y + flow[..., 1], 0, 39)
    x0, y0 = np.minimum(at_x.astype(int), 48), np.minimum(at_y.astype(int), 38)
    fx, fy = at_x - x0, at_y - y0
    expected = (image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx) * (1 - fy) + (
        image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    ) * fy
    got = warp(torch.from_numpy(image)[None, None], torch.from_numpy(flow).permute(2, 0, 1)[None])
    np.testing.assert_allclose(got[0, 0].numpy(), expected, atol=2e-5)


def test_channel_0_of_the_flow_is_x() -> None:
    image = torch.arange(20.0).expand(1, 1, 8, 20)
    flow = torch.zeros(1, 2, 8, 20)
    flow[:, 0] = 3
    assert torch.allclose(warp(image, flow)[0, 0, :, :17], image[0, 0, :, 3:], atol=1e-4)


def test_upscale_flow_keeps_the_motion_in_pixels_of_the_finer_grid() -> None:
    flow = torch.full((1, 2, 4, 5), 1.5)
    assert torch.allclose(upscale_flow(flow, 4), torch.full((1, 2, 16, 20), 6.0))


def test_the_traced_grid_is_the_grid() -> None:
    flow = torch.from_numpy(np.random.default_rng(8).normal(0, 6, (2, 2, 7, 11))).float()
    grid = make_grid(flow)
    assert grid.shape == (2, 7, 11, 2)
    torch.testing.assert_close(make_traced_grid(flow), grid, rtol=0, atol=1e-6)
    # without motion, from border to border
    corners = make_traced_grid(torch.zeros(1, 2, 7, 11))[0, [0, 0, -1, -1], [0, -1, 0, -1]]
    torch.testing.assert_close(corners, torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]]))


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("correlate", [correlate_features, correlate_for_export])
def test_correlation_agrees_with_a_plain_loop(
    correlate: Callable[[Tensor, Tensor, int], Tensor], with_gradients: bool
) -> None:
    rng = np.random.default_rng(2)
    left, right = (
        normalise_features(torch.from_numpy(rng.normal(size=(2, 5, 6, 7)).astype(np.float32)))
        for _ in range(2)
    )
    with torch.set_grad_enabled(with_gradients):
        got = correlate(left, right, 2).numpy()
    a, b = left.numpy(), right.numpy()
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            channel = (dy + 2) * 5 + dx + 2
            for y in range(6):
                for x in range(7):
                    inside = 0 <= y + dy < 6 and 0 <= x + dx < 7
                    expected = (
                        COSINE_GAIN * (a[:, :, y, x] * b[:, :, y + dy, x + dx]).sum(1)
                        if inside
                        else 0.0
                    )
                    np.testing.assert_allclose(got[:, channel, y, x], expected, atol=1e-5)


@pytest.mark.parametrize("radius", [1, 3, 4, 5])
@pytest.mark.parametrize("width", [3, 8, 17])
def test_correlation_is_the_same_for_every_radius_and_width(radius: int, width: int) -> None:
    random = torch.Generator().manual_seed(radius * width)
    left, right = (torch.randn(3, 4, 5, width, generator=random) for _ in range(2))
    with torch.inference_mode():
        fast = correlate_features(left, right, radius)
    exact = correlate_features(left, right, radius)
    torch.testing.assert_close(fast, exact, rtol=0, atol=1e-4)
    if radius <= 4 and width > 3:  # What exported graphs need
        expected = correlate_for_export(left, right, radius)
        torch.testing.assert_close(fast, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shift", [(0.4, 0.0), (0.0, -0.3), (0.25, 0.35)])
def test_one_lucas_kanade_step_finds_most_of_a_sub_pixel_shift(shift: tuple[float, float]) -> None:
    source = torch.from_numpy(make_smooth_picture(np.random.default_rng(3), 80, 90))[None, None]
    truth = torch.tensor(shift).view(1, 2, 1, 1).expand(1, 2, 80, 90)
    # source(x + flow) = target(x): the target samples the source at an offset of `shift`
    target = warp(source, truth, mode="bicubic")
    steps, evidence = solve_lucas_kanade(target, source, windows=(15, 9))
    assert evidence.shape == (1, 2, 80, 90)
    inside = np.s_[:, :, 12:-12, 12:-12]
    for step in torch.split(steps, 2, dim=1):
        left = (step - truth)[inside].abs().mean() / truth[inside].abs().mean()
        assert left < 0.25


def test_lucas_kanade_finds_no_motion_without_structure() -> None:
    flat = torch.full((1, 1, 30, 30), 0.5)
    textured = torch.rand(1, 1, 30, 30)
    steps, evidence = solve_lucas_kanade(flat, flat, windows=(9,))
    assert not steps.any()
    assert (evidence < solve_lucas_kanade(textured, textured, windows=(9,)).evidence).all()


@pytest.mark.parametrize("window", [3, 7])
def test_lucas_kanade_solves_the_normal_equations_of_its_window(window: int) -> None:
    rng = np.random.default_rng(5)
    target, warped = (make_smooth_picture(rng, 24, 26).astype(np.float64) for _ in range(2))
    # Close enough that no step is clamped
    warped = target + 0.02 * (warped - 0.5)
    steps, _ = solve_lucas_kanade(
        *(torch.from_numpy(image)[None, None] for image in (target, warped)), (window,)
    )
    mean, half = 0.5 * (target + warped), window // 2
    gx, gy = np.gradient(mean, axis=1), np.gradient(mean, axis=0)
    for y, x in ((10, 12), (13, 9), (11, 16)):
        around = np.s_[y - half : y + half + 1, x - half : x + half + 1]
        gradients = np.stack((gx[around].ravel(), gy[around].ravel()), axis=1)
        difference = (warped - target)[around].ravel()
        normal = gradients.T @ gradients / window**2 + DAMPING * np.eye(2)
        expected = np.linalg.solve(normal, -gradients.T @ difference / window**2)
        np.testing.assert_allclose(steps[0, :, y, x].numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_bicubic_upsampling_agrees_with_torch(scale: int) -> None:
    image = torch.rand(2, 3, 9, 13)
    expected = F.interpolate(image, scale_factor=scale, mode="bicubic")
    assert torch.allclose(upsample_bicubic(image, scale), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_reduction_inside_the_network_agrees_with_the_degradation(scale: int) -> None:
    image = torch.rand(1, 3, 64, 96)
    expected = F.interpolate(image, scale_factor=1 / scale, mode="bicubic", antialias=True)
    got = reduce_antialiased(image, scale)
    assert got.shape == expected.shape
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_degrade_agrees_with_pillow(scale: int) -> None:
    rng = np.random.default_rng(4)
    hr = (make_smooth_picture(rng, 64, 96)[..., None] * [255, 200, 90]).astype(np.uint8)
    expected = np.asarray(
        Image.fromarray(hr).resize((96 // scale, 64 // scale), Image.Resampling.BICUBIC)
    )
    got = degrade(hr, scale)
    assert np.abs(got.astype(int) - expected).max() <= 1


def test_area_degradation_averages_each_block() -> None:
    hr = np.random.default_rng(5).integers(0, 65536, (10, 13, 3)).astype(np.uint16)
    expected = hr[:8, :12].astype(float).reshape(2, 4, 3, 4, 3).mean((1, 3))
    assert np.abs(degrade(hr, 4, "area") - expected).max() <= 0.51


def test_chroma_subsampling_preserves_luma() -> None:
    lr = torch.rand(1, 3, 16, 20)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    coarse = subsample_chroma(lr)
    assert torch.allclose((coarse * weights).sum(1), (lr * weights).sum(1), atol=1e-6)
    assert (coarse - lr).abs().max() > 0.05


def test_bicubic_upsampling_agrees_with_opencv() -> None:
    lr = np.random.default_rng(6).random((12, 14), dtype=np.float32)
    got = upsample_bicubic(torch.from_numpy(lr)[None, None], 4)[0, 0].numpy()
    expected = cv2.resize(lr, (56, 48), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_charbonnier_and_flow_loss_agree_with_their_formulas() -> None:
    difference = torch.tensor([0.0, 0.3, -0.4])
    expected = np.sqrt(np.array([0, 0.09, 0.16]) + 1e-6).mean()
    assert float(charbonnier(difference)) == pytest.approx(expected)
    flow = torch.zeros(1, 2, 1, 2)
    truth = torch.tensor([3.0, float("nan"), 4.0, 1.0]).view(1, 2, 1, 2)
    assert float(flow_loss(flow, truth)) == pytest.approx(5 / (1 + 5 / 32), abs=1e-3)


def test_psnr_and_ssim_agree_with_their_formulas() -> None:
    rng = np.random.default_rng(7)
    truth = (make_smooth_picture(rng, 60, 70)[..., None] * [250, 180, 120]).astype(np.uint8)
    noisy = np.clip(truth + rng.normal(0, 8, truth.shape), 0, 255).astype(np.uint8)
    measured = measure_quality(noisy, truth)
    error = ((noisy / 255 - truth / 255) ** 2).mean()
    assert measured.psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert measured.ssim == pytest.approx(compute_ssim(noisy / 255, truth / 255), abs=1e-5)
    assert measure_quality(truth, truth) == (PSNR_OF_IDENTICAL, 1.0, PSNR_OF_IDENTICAL, 1.0)


def test_ssim_agrees_with_torchmetrics_inside() -> None:
    rng = np.random.default_rng(8)
    a, b = (rng.random((40, 50, 3), dtype=np.float32) for _ in range(2))
    planes = [torch.from_numpy(x).permute(2, 0, 1)[None] for x in (a, b)]
    _, windows = structural_similarity_index_measure(
        *planes, data_range=1.0, return_full_image=True
    )
    assert ssim(a, b) == pytest.approx(float(windows[..., 5:-5, 5:-5].mean()), abs=1e-5)


def compute_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Return SSIM of H x W x C in 0..1 as in Wang et al. 2004, valid windows only."""
    offsets = np.arange(11) - 5
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = np.outer(window, window) / window.sum() ** 2

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.filter2D(x, -1, kernel)[5:-5, 5:-5]

    values = []
    for c in range(a.shape[2]):
        x, y = a[..., c], b[..., c]
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        numerator = (2 * mx * my + 1e-4) * (2 * cov + 9e-4)
        values.append(numerator / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(values))

"""Kernels and every step of simulated recordings, compared with independent computations."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from crossnetpp.data.degradation import (
    CameraSettings,
    Kernel,
    add_noise,
    compress_jpeg,
    degrade,
    degrade_tensor,
    make_gaussian_kernel,
    simulate_recording,
)
from crossnetpp.data.sample import read_rgb
from tests.support import DATA

PICTURE = read_rgb(DATA / "kodak_21.jpg")[200:304, 400:536]
CLEAN = CameraSettings((0.3, 0.2), 0.5, "area", read_noise=0.01, shot_noise=0.02, quality=80)


def cubic_kernel(distance: np.ndarray) -> np.ndarray:
    """Return the cubic convolution kernel with a = -0.5 (Keys 1981)."""
    d = np.abs(distance)
    a = -0.5
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d < 1, near, np.where(d < 2, far, 0))


def make_reduction_matrix(length: int, scale: int, kernel: Kernel) -> np.ndarray:
    """Return (length / scale) x length weights of the widened kernel, truncated at the border."""
    centres = (np.arange(length // scale) + 0.5) * scale - 0.5
    distance = (np.arange(length)[None] - centres[:, None]) / scale
    weights = (
        cubic_kernel(distance) if kernel == "bicubic" else (np.abs(distance) < 0.5).astype(float)
    )
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("kernel", ["bicubic", "area"])
def test_kernels_agree_with_their_matrices(scale: int, kernel: Kernel) -> None:
    rows = make_reduction_matrix(PICTURE.shape[0], scale, kernel)
    cols = make_reduction_matrix(PICTURE.shape[1], scale, kernel)
    expected = np.einsum("yh,hwc,xw->yxc", rows, PICTURE.astype(float), cols)
    planes = torch.from_numpy(PICTURE.copy()).permute(2, 0, 1)[None].float()
    got = degrade_tensor(planes, scale, kernel)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, expected, atol=2e-3)
    lr = degrade(PICTURE, scale, kernel)
    assert lr.dtype == np.uint8
    assert np.abs(lr - expected.clip(0, 255)).max() < 0.51


def test_pictures_are_cropped_to_a_multiple_of_the_scale() -> None:
    assert np.array_equal(degrade(PICTURE[:101, :133], 4), degrade(PICTURE[:100, :132], 4))
    rng = np.random.default_rng(0)
    assert simulate_recording(rng, PICTURE[:101, :133], 4).shape == (25, 33, 3)


def test_a_gaussian_has_its_deviations_along_its_axes() -> None:
    angle = 0.6
    kernel = make_gaussian_kernel(4.0, 1.5, angle).astype(float)
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    radius = kernel.shape[0] // 2
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    covariance = np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = turn @ np.diag([4.0**2, 1.5**2]) @ turn.T
    np.testing.assert_allclose(covariance, expected, rtol=0.05)
    round_one = make_gaussian_kernel(2.0, 2.0, angle)
    line = cv2.getGaussianKernel(round_one.shape[0], 2.0)
    np.testing.assert_allclose(round_one, line @ line.T, atol=1e-6)


@pytest.mark.parametrize("light", [0.0, 0.25, 1.0])
def test_noise_has_the_stated_variance(light: float) -> None:
    image = np.full((200, 200, 3), light, np.float32)
    noise = add_noise(np.random.default_rng(0), image, 0.01, 0.03) - image
    assert noise.mean() == pytest.approx(0, abs=5e-4)
    assert noise.std() == pytest.approx(np.sqrt(0.01**2 + 0.03**2 * light), rel=0.02)


@pytest.mark.parametrize("quality", [60, 90])
def test_compression_agrees_with_pillow(quality: int) -> None:
    got = compress_jpeg(PICTURE, quality)
    file = io.BytesIO()
    Image.fromarray(PICTURE).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    expected = np.asarray(Image.open(file).convert("RGB"))
    assert np.abs(got.astype(int) - expected).mean() < 0.5
    assert 0.5 < np.abs(got.astype(int) - PICTURE).mean() < 12


def test_a_recording_applies_blur_reduction_noise_and_jpeg_in_this_order() -> None:
    got = simulate_recording(np.random.default_rng(7), PICTURE, 4, CLEAN)
    height, width = PICTURE.shape[:2]
    kernel = make_gaussian_kernel(1.2, 0.8, 0.5).astype(float)
    radius = kernel.shape[0] // 2
    padded = np.pad(PICTURE / 255, ((radius,) * 2, (radius,) * 2, (0, 0)), "reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape, (0, 1))
    blurred = np.einsum("hwcij,ij->hwc", windows, kernel)
    small = blurred.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3))
    normal = np.random.default_rng(7).standard_normal(small.shape, dtype=np.float32)
    noisy = small + normal * np.sqrt(0.01**2 + 0.02**2 * small)
    expected = compress_jpeg((noisy * 255).round().clip(0, 255).astype(np.uint8), 80)
    # One pixel that rounds differently changes its whole JPEG block slightly
    assert np.abs(got.astype(int) - expected).mean() < 0.1


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_seed_decides_every_bit(scale: int) -> None:
    first, again, other = (
        simulate_recording(np.random.default_rng(seed), PICTURE, scale) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_drawn_recordings_differ_and_stay_near_the_stated_kernel() -> None:
    rng = np.random.default_rng(0)
    drawn = [CameraSettings.draw(rng) for _ in range(40)]
    assert len({recording.quality for recording in drawn}) > 10
    assert {recording.kernel for recording in drawn} == {"bicubic", "area"}
    plain = degrade(PICTURE, 4).astype(int)
    away = [
        np.abs(simulate_recording(rng, PICTURE, 4, one).astype(int) - plain).mean() for one in drawn
    ]
    assert min(away) > 0.5
    assert max(away) < 16
    sharp = simulate_recording(rng, PICTURE, 4, replace(CLEAN, blur=(0.1, 0.1)))
    soft = simulate_recording(rng, PICTURE, 4, replace(CLEAN, blur=(0.8, 0.8)))
    assert np.diff(soft.astype(int), axis=1).std() < 0.8 * np.diff(sharp.astype(int), axis=1).std()

"""Noise of a reference is measured where it is, and not found in photographs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.execution.guard import remove_noise
from pipeline.media.pictures.stills import load_picture
from pipeline.pairing.noise import Noise, find_excess_noise, find_step, measure_noise
from pipeline.pixels import Pixels, as_pixels
from tests.support import DATA
from tests.support.clips import picture

PHOTOGRAPHS = ["kodak_21.jpg", "stereo/motorcycle_left.png"]


def reduce(image: Pixels, scale: int = 4) -> Pixels:
    size = (image.shape[1] // scale, image.shape[0] // scale)
    return as_pixels(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def add_noise(image: Pixels, level: float, blur: float = 0.0) -> NDArray[np.uint8]:
    """Add independent noise to each channel, or grain, blurred and equal in all channels."""
    random = np.random.default_rng(5)
    noise = random.normal(0, 1, image.shape)
    if blur:
        noise = cv2.GaussianBlur(noise[..., 0], (0, 0), blur)[..., None]
        noise /= noise.std()
    return np.clip(np.rint(image + level * noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("level", [5, 10, 20])
def test_white_noise_is_measured(level: int) -> None:
    gray = np.full((512, 512, 3), 120, np.uint8)
    found = measure_noise(add_noise(gray, level), 1)
    # weights of luma reduce independent noise of three channels to 0.668 of it
    assert found.fine == pytest.approx(0.668 * level, rel=0.1)
    assert found.coarse == pytest.approx(0.668 * level, rel=0.15)


def test_grain_is_coarse_and_depth_does_not_matter() -> None:
    gray = np.full((512, 512, 3), 120, np.uint8)
    grainy = add_noise(gray, 10, blur=1.0)
    found = measure_noise(grainy, 1)
    assert found.coarse > 4 * found.fine
    deep = measure_noise(as_pixels(grainy.astype(np.uint16) * 257), 1)
    assert deep.fine == pytest.approx(found.fine, rel=0.01)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_photograph_has_no_excess_noise(name: str, scale: int) -> None:
    photograph = load_picture(str(DATA / name))
    found = measure_noise(photograph, 1)
    assert find_excess_noise(found, reduce(photograph, scale), scale) is None


@pytest.mark.parametrize("level", [5, 10, 20, 40])
def test_noise_in_a_photograph_is_excess(level: int) -> None:
    photograph = load_picture(str(DATA / "kodak_21.jpg"))
    found = measure_noise(add_noise(photograph, level), 1)
    excess = find_excess_noise(found, reduce(photograph), 4)
    assert excess is not None
    assert excess.fine == pytest.approx(0.668 * level, rel=0.3)


def test_noise_that_the_input_shows_too_is_no_excess() -> None:
    gray = np.full((512, 512, 3), 120, np.uint8)
    found = measure_noise(add_noise(gray, 10), 1)
    noisy_input = add_noise(np.full((128, 128, 3), 120, np.uint8), 12)
    assert find_excess_noise(found, noisy_input, 4) is None


def test_reducing_a_reference_reduces_its_noise() -> None:
    gray = np.full((512, 512, 3), 120, np.uint8)
    noisy = add_noise(gray, 20)
    assert measure_noise(noisy, 2).fine == pytest.approx(measure_noise(noisy, 1).fine / 2, rel=0.2)
    assert find_step(None, 720, 360) == 2
    assert find_step((0.0, 3.0, 0.0, -4.0, 0.0, 0.0), 720, 360) == 4


@pytest.mark.parametrize("size", [(1, 1), (8, 200), (40, 40)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_small_and_uniform_pictures_have_no_noise(size: tuple[int, int], value: int) -> None:
    assert measure_noise(np.full((*size, 3), value, np.uint8), 1) == Noise(0.0, 0.0)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_detail_stays_and_noise_goes(depth: type) -> None:
    factor = 1 if depth is np.uint8 else 257
    plain = np.full((256, 256, 3), 100 * factor, depth)
    sharp = plain.copy()
    sharp[:, 128:] = 180 * factor  # an edge that the plain frame lacks
    random = np.random.default_rng(2)
    noisy = (sharp + factor * random.normal(0, 10, sharp.shape)).astype(depth)
    cleaned = remove_noise(noisy, plain, Noise(10, 10)).astype(float) / factor
    near = cleaned[:, 124:132].mean(axis=(0, 2))
    assert near[3] < 125 < 155 < near[4]
    assert cleaned[:, :100].std() < 3


def test_without_noise_nothing_changes() -> None:
    sr, plain = picture(3), picture(5)
    np.testing.assert_array_equal(remove_noise(sr, plain, Noise(0, 0)), sr)

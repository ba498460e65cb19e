"""Ghosts of an unrelated reference on a uniform LR frame, and detail that must stay."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deploy.load import load_engine
from pipeline.execution.guard import remove_ghosts
from pipeline.media.pictures.stills import load_picture
from pipeline.pairing.upsample import upsample
from tests.support import DATA

SCALE = 4


def photograph(side: int = 256) -> np.ndarray:
    return np.ascontiguousarray(load_picture(str(DATA / "kodak_21.jpg"))[100 : 100 + side, :side])


def reduce(picture: np.ndarray, scale: int) -> np.ndarray:
    size = picture.shape[1] // scale, picture.shape[0] // scale
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("factor", [1, 257])
def test_a_ghost_on_a_uniform_part_is_removed_and_the_rest_stays(factor: int) -> None:
    kind = np.uint8 if factor == 1 else np.uint16
    lr = reduce(photograph(), SCALE)
    lr[:, :32] = (90, 100, 110)
    lr = lr.astype(kind) * kind(factor)
    plain = upsample(lr, 256, 256)
    ghost = (photograph().astype(int) - 128) // 4 * factor
    sr = np.clip(plain + ghost, 0, np.iinfo(kind).max).astype(kind)
    made = remove_ghosts(sr, lr)
    assert made.dtype == kind

    # 15 x 15 LR pixels around a pixel decide, and the factor is interpolated
    left = abs(made[:, : 4 * 22].astype(int) - plain[:, : 4 * 22])
    assert left.max() <= factor
    np.testing.assert_array_equal(made[:, 4 * 34 :], sr[:, 4 * 34 :])
    assert abs(sr.astype(int) - plain).max() >= 20 * factor


def test_a_fine_texture_that_a_uniform_frame_hides_stays() -> None:
    lr = np.full((64, 64, 3), 128, np.uint8)
    rows, columns = np.mgrid[:256, :256]
    texture = 128 + 50 * ((rows + columns) % 2 * 2 - 1)
    sr = np.repeat(texture[..., None], 3, axis=2).astype(np.uint8)
    np.testing.assert_array_equal(remove_ghosts(sr, lr), sr)


def test_frames_without_a_uniform_part_stay() -> None:
    lr = reduce(photograph(), SCALE)
    np.testing.assert_array_equal(remove_ghosts(photograph(), lr), photograph())


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_network_draws_nothing_of_a_photograph_on_a_uniform_frame(scale: int) -> None:
    engine = load_engine("torch", model="fast", threads=1, notify=lambda _: None, pixels=1)
    lr = np.full((256 // scale, 256 // scale, 3), 128, np.uint8)
    sr = engine.enhance(lr[None], photograph()[None])[0]
    assert abs(sr.astype(int) - 128).max() > 4  # else this test shows nothing
    assert abs(remove_ghosts(sr, lr).astype(int) - 128).max() <= 4

"""The transposition check, on real captures and on a plane of known disparity."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.parallax import Parallax, measure_parallax
from pipeline.schema.settings import GridSettings
from tests.support import scenes


def test_disparity_of_a_plane_and_its_transposition(tmp_path: Path) -> None:
    for row in range(3):
        for col in range(4):
            scenes.save_picture(tmp_path / f"{row}_{col}.png", scenes.plane(row, col, 1.5))
    for order, verdict in (("row,col", "right"), ("col,row", "transposed")):
        clip = open_light_field(tmp_path, GridSettings(order=order))
        assert clip is not None
        parallax = measure_parallax(clip)
        assert parallax.verdict == verdict
        assert parallax.disparity == (pytest.approx(1.5, abs=0.15), pytest.approx(1.5, abs=0.15))
    assert "--order row,col" in parallax.advice


@pytest.mark.parametrize(
    ("scene", "stored"), [(scenes.FLOWERS, "col,row"), (scenes.STEGOSAURUS, "row,col")]
)
def test_real_captures_with_rows_and_columns_exchanged_are_detected(
    scene: Path, stored: str
) -> None:
    for order in ("row,col", "col,row"):
        clip = open_light_field(
            scene, GridSettings(layout="mosaic", grid=scenes.REAL[scene], order=order)
        )
        assert clip is not None
        parallax = measure_parallax(clip)
        assert parallax.verdict == ("right" if order == stored else "transposed")
        assert (f"--order {stored}" in parallax.advice) == (order != stored)


def test_rows_from_the_bottom_are_detected(tmp_path: Path) -> None:
    for row in range(8):
        for col in range(8):
            scenes.save_picture(tmp_path / f"{7 - row}_{col}.png", scenes.flowers(row, col))
    clip = open_light_field(tmp_path)
    assert clip is not None
    assert measure_parallax(clip).verdict == "upside down"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 8), (3, 40), (40, 15), (2000, 20)])
def test_views_without_room_have_no_disparity(tmp_path: Path, width: int, height: int) -> None:
    random = np.random.default_rng(3)
    ground = random.integers(0, 255, (height + 4, width + 4, 3)).astype(np.uint8)
    for row in range(2):
        for column in range(2):
            view = ground[row : row + height, column : column + width]
            cv2.imwrite(str(tmp_path / f"view_{row:02}_{column:02}.png"), view)
    clip = open_light_field(tmp_path)
    assert clip is not None
    assert measure_parallax(clip) == Parallax("unclear", None)

"""The transposition check, on real captures and on a plane of known disparity."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.parallax import measure_parallax
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

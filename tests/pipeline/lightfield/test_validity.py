"""Detection of vignetted, black and masked views, and their handling in a run."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from crossnetpp.data.degradation import degrade
from pipeline.cli.main import main
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.validity import Validity, find_dark_views
from pipeline.pairing.given import list_given_frames, list_view_steps
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import GridSettings
from tests.support import scenes
from tests.support.scenes import read_views

CORNER = (2, 2)

# Position of a view -> its brightness: one vignetted view, one black view.
BRIGHTNESS = {(0, 0): 0.3, CORNER: 0.01}


def vignetted_view(row: int, col: int) -> np.ndarray:
    return (scenes.flowers(row, col) * BRIGHTNESS.get((row, col), 1.0)).astype(np.uint8)


def masked_view(row: int, col: int) -> np.ndarray:
    """Return a BGRA view that is fully transparent at `CORNER`."""
    alpha = np.full((48, 64, 1), 0 if (row, col) == CORNER else 255, np.uint8)
    return np.concatenate([scenes.flowers(row, col)[..., ::-1], alpha], axis=2)


def measure_validity(path: Path, **settings: object) -> Validity:
    clip = open_light_field(path, GridSettings(**settings))
    assert clip is not None
    return find_dark_views(clip)


def test_dark_views_are_distinguished_from_black_ones(tmp_path: Path) -> None:
    for row in range(3):
        for col in range(3):
            scenes.save_picture(tmp_path / f"view_{row}_{col}.png", vignetted_view(row, col))
    assert measure_validity(tmp_path) == Validity(dark=((0, 0), CORNER), empty=(CORNER,))


@pytest.mark.parametrize("layout", ["folder", "lenslet", "mat"])
def test_alpha_and_weights_mask_views(tmp_path: Path, layout: str) -> None:
    views = np.stack([[masked_view(row, col) for col in range(3)] for row in range(3)])
    path = tmp_path / "lf"
    settings: dict[str, object] = {}
    if layout == "folder":
        path.mkdir()
        for row, col in np.ndindex(3, 3):
            assert cv2.imwrite(str(path / f"view_{row}_{col}.png"), views[row, col])
    elif layout == "lenslet":
        path = tmp_path / "a.png"
        settings = {"layout": "lenslet", "grid": "3x3"}
        assert cv2.imwrite(str(path), views.transpose(2, 0, 3, 1, 4).reshape(144, 192, 4))
    else:
        path = tmp_path / "a.mat"
        with h5py.File(path, "w") as file:
            file["LF"] = views.transpose(4, 3, 2, 1, 0)
    pictures = layout in ("folder", "lenslet")
    assert measure_validity(path, **settings) == Validity(
        (CORNER,), (CORNER,), transparent=pictures
    )


def test_the_mask_of_a_turned_sheet_is_turned_with_its_views(tmp_path: Path) -> None:
    rows = [np.concatenate([masked_view(row, col) for col in range(3)], axis=1) for row in (1, 2)]
    stored = Image.fromarray(np.concatenate(rows)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it clockwise
    stored.save(tmp_path / "turned.png", exif=exif)
    found = measure_validity(tmp_path / "turned.png", layout="mosaic", grid="2x3")
    assert found == Validity(((1, 2),), ((1, 2),), transparent=True)


def test_nothing_is_borrowed_from_dark_views_nor_for_black_ones(tmp_path: Path) -> None:
    for row in range(3):
        for col in range(3):
            name = f"view_{row:02}_{col:02}.png"
            scenes.save_picture(tmp_path / "lf" / name, degrade(vignetted_view(row, col), 2))
            if (row, col) in ((0, 0), (1, 1)):
                scenes.save_picture(tmp_path / "hr" / name, vignetted_view(row, col))
    arguments = ["run", str(tmp_path / "lf"), "--ref-stream", str(tmp_path / "hr"), "--engine"]
    result = CliRunner().invoke(main, [*arguments, "bicubic", "-q", "--json"])
    assert result.exit_code == 0, result.output
    notes = " ".join(json.loads(result.stdout)["notes"])
    assert "dark views: 2 ((0, 0), (2, 2))" in notes
    assert "views that show nothing: 1 ((2, 2))" in notes
    plan = json.loads((tmp_path / "lf_x2.plan.json").read_text())
    chosen = {(c["views"]["row"], c["views"]["col"]): c for c in plan["reference_map"]}
    assert chosen[0, 0]["why"] == "given"
    assert (chosen[CORNER]["why"], chosen[CORNER]["ref_pts"]) == ("dark", None)
    # (0, 0) is equally near, but dark
    assert chosen[0, 1]["views"]["ref_row"] == chosen[1, 0]["views"]["ref_row"] == 1
    np.testing.assert_array_equal(read_views(tmp_path / "lf_x2")[0, 0, 0], vignetted_view(0, 0))
    # a view without a reference does not count as given
    written = read_plan(tmp_path / "lf_x2.plan.json")
    assert list_given_frames(written) == {0, 4}
    places = list_view_steps(written)
    assert {place for place, steps in places.items() if steps is None} == {(0, 0), (1, 1)}
    assert CORNER not in places


def test_a_dark_reference_is_used_when_it_is_the_only_one(tmp_path: Path) -> None:
    for col in range(3):
        lr = degrade(vignetted_view(0, col), 2)
        scenes.save_picture(tmp_path / "lf" / f"view_00_{col:02}.png", lr)
    scenes.save_picture(tmp_path / "hr" / "view_00_00.png", vignetted_view(0, 0))
    arguments = ["plan", str(tmp_path / "lf"), "--ref-stream", str(tmp_path / "hr"), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert {c["ref_pts"] for c in json.loads(result.stdout)["reference_map"]} == {0}

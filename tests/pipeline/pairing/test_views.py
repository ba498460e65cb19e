"""HR views that a plan finds in the reference, and those that pass through unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from crossnetpp.data.degradation import degrade
from pipeline.cli.main import main
from pipeline.lightfield.opening import open_light_field
from pipeline.media.read.probe import probe
from pipeline.pairing.field_of_view import choose_map
from pipeline.pairing.given import compare_pictures
from tests.support import scenes
from tests.support.scenes import read_views


def make_plan(*arguments: object) -> dict[str, Any]:
    """Return the plan, with the notes of the run."""
    command = ["plan", *map(str, arguments), "--json", "--engine", "bicubic"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def list_given_views(plan: dict[str, Any]) -> list[tuple[int, int]]:
    chosen = [choice for choice in plan["reference_map"] if choice["why"] == "given"]
    return [(choice["views"]["row"], choice["views"]["col"]) for choice in chosen]


def write_lr_views(path: Path, name: str = "view_{row:02}_{col:02}.png") -> Path:
    for row in range(3):
        for col in range(3):
            file = path / name.format(row=row, col=col)
            scenes.save_picture(file, degrade(scenes.flowers(row, col), 2))
    return path


@pytest.mark.parametrize(
    ("options", "place"),
    [(["--crop-grid", "2x2"], (1, 1)), (["--order", "col,row"], (1, 0)), (["--grid", "3x3"], None)],
)
def test_a_named_picture_is_found_under_any_layout_of_the_input(
    tmp_path: Path, options: list[str], place: tuple[int, int] | None
) -> None:
    lr = write_lr_views(tmp_path / "lf")
    name = "view_01_01.png" if place == (1, 1) else "view_00_01.png"
    picture = scenes.save_picture(tmp_path / "hr" / name, scenes.flowers(*(place or (0, 1))))
    assert list_given_views(make_plan(lr, "--ref-stream", picture, *options)) == [place or (0, 1)]


@pytest.mark.parametrize(("ref_view", "place"), [("2,0", (2, 0)), ("center", (1, 1))])
@pytest.mark.parametrize("to", ["folder", "lenslet", "h5"])
def test_the_named_view_of_a_light_field_is_the_only_reference(
    tmp_path: Path, ref_view: str, place: tuple[int, int], to: str
) -> None:
    lr = write_lr_views(tmp_path / "lf")
    hr = scenes.write_folder(tmp_path / "hr", 4, 4)
    out = tmp_path / {"folder": "all", "lenslet": "all.png", "h5": "all.h5"}[to]
    assert CliRunner().invoke(main, ["convert", str(hr), "--to", to, "-o", str(out)]).exit_code == 0
    plan = make_plan(lr, "--ref-stream", out, "--ref-view", ref_view)
    assert list_given_views(plan) == [place]
    places = {(c["views"]["ref_row"], c["views"]["ref_col"]) for c in plan["reference_map"]}
    assert places == {place}
    command = [
        "run",
        str(lr),
        "--ref-stream",
        str(out),
        "--ref-view",
        ref_view,
        "--engine",
        "bicubic",
    ]
    assert CliRunner().invoke(main, [*command, "-q", "-o", str(tmp_path / "out")]).exit_code == 0
    np.testing.assert_array_equal(read_views(tmp_path / "out")[*place, 0], scenes.flowers(*place))


def test_a_view_that_the_reference_does_not_have_is_refused(tmp_path: Path) -> None:
    lr = write_lr_views(tmp_path / "lf")
    hr = scenes.write_folder(tmp_path / "hr", 2, 2)
    arguments = ["plan", str(lr), "--ref-stream", str(hr), "--ref-view", "2,2"]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "there is no view 2,2" in refused.stderr
    assert "rows 0 to 1" in refused.stderr


def test_a_picture_of_another_place_does_not_pass_through(tmp_path: Path) -> None:
    lr = write_lr_views(tmp_path / "lf")
    hr = scenes.flowers(1, 1)
    shifted = np.roll(hr, (3, 5), axis=(0, 1))
    red = np.clip(hr * np.float32([1.5, 1.0, 1.0]), 0, 255).astype(np.uint8)
    options = ("--ref-view", "1,1")
    for picture, passes, reason in (
        (hr, True, ""),
        (shifted, False, "does not match"),
        (red, True, "colour"),
    ):
        file = scenes.save_picture(tmp_path / "photo.png", picture)
        plan = make_plan(lr, "--ref-stream", file, *options)
        assert list_given_views(plan) == ([(1, 1)] if passes else [])
        notes = [note for note in plan["notes"] if "the picture given for" in note]
        assert len(notes) == bool(reason)
        assert reason in " ".join(notes)


def test_a_photograph_of_another_field_of_view_is_aligned_and_not_passed_through(
    tmp_path: Path,
) -> None:
    def view(row: int, col: int) -> np.ndarray:
        return scenes.plane(row, col, 2.0, 480, 640)

    for row in range(2):
        for col in range(2):
            scenes.save_picture(
                tmp_path / "lf" / f"view_{row}_{col}.png", degrade(view(row, col), 2)
            )
    near = cv2.resize(view(0, 0)[48:432, 64:576], (640, 480), interpolation=cv2.INTER_CUBIC)
    photo = scenes.save_picture(tmp_path / "photo.png", near)
    plan = make_plan(tmp_path / "lf", "--ref-stream", photo, "--ref-view", "0,0")
    assert plan["reference"]["affine"] is not None
    assert list_given_views(plan) == []


def test_a_corrupt_view_does_not_prevent_the_comparison_of_the_others(tmp_path: Path) -> None:
    lr = open_light_field(write_lr_views(tmp_path / "lf"))
    assert lr is not None
    photo = probe(str(scenes.save_picture(tmp_path / "photo.png", scenes.flowers(0, 0))))
    size = (2 * lr.height, 2 * lr.width)
    whole = choose_map(lr, photo, [(0, 0), (1, 0), (2, 0)], size)
    Path(lr.files[1]).write_bytes(b"no picture")
    assert choose_map(lr, photo, [(0, 0), (1, 0), (2, 0)], size) == whole


def test_likeness_falls_with_a_shift_but_not_with_brightness() -> None:
    hr = scenes.flowers(0, 0)
    lr = degrade(hr, 2)
    assert compare_pictures(lr, hr)[0] > 0.99
    assert compare_pictures(lr, np.roll(hr, 4, axis=1))[0] < 0.95
    brighter = np.clip(hr.astype(int) + 26, 0, 255).astype(np.uint8)
    likeness, colour_difference = compare_pictures(lr, brighter)
    assert likeness > 0.99
    assert colour_difference == pytest.approx(26 / 255, abs=0.01)
    assert compare_pictures(lr, np.full_like(hr, 9))[0] == 1.0

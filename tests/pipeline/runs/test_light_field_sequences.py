"""Light fields with several moments through `pipeline run`: folders, sheets, videos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from crossnetpp.data.degradation import degrade
from pipeline.cli.main import main
from tests.support import scenes
from tests.support.scenes import read_views

MOMENTS = 3


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["run", *map(str, arguments), "--engine", "bicubic", "-q"])


def at(row: int, col: int, moment: int) -> np.ndarray:
    """Return an HR view of a scene that changes from moment to moment."""
    return scenes.flowers(row + moment, col)


def write_moments(path: Path) -> Path:
    for moment in range(MOMENTS):
        for row in range(2):
            for col in range(2):
                name = f"frame_{moment:03}/view_{row:02}_{col:02}.png"
                scenes.save_picture(path / name, degrade(at(row, col, moment), 2))
    return path


def assert_enlarged(out: Path, given: set[tuple[int, int, int]]) -> None:
    found = read_views(out)
    assert len(found) == 4 * MOMENTS
    for place, view in found.items():
        hr = at(*place)
        plain = cv2.resize(degrade(hr, 2), (64, 48), interpolation=cv2.INTER_CUBIC)
        np.testing.assert_array_equal(view, hr if place in given else plain)


def test_a_folder_for_each_moment_comes_back_as_such(tmp_path: Path) -> None:
    lr = write_moments(tmp_path / "lf")
    scenes.save_picture(tmp_path / "hr" / "frame_001" / "view_00_01.png", at(0, 1, 1))
    done = run(lr, "--ref-stream", tmp_path / "hr")
    assert done.exit_code == 0, done.output
    out = tmp_path / "lf_x2"
    names = {str(file.relative_to(out)) for file in out.rglob("*.png")}
    assert names == {str(file.relative_to(lr)) for file in lr.rglob("*.png")}
    # the view is given only at its own moment, which is in the folder's name
    assert_enlarged(out, {(0, 1, 1)})


@pytest.mark.parametrize(
    ("name", "options", "given"),
    [
        ("frame_002/view_00_01.png", (), {(0, 1, 2)}),
        ("photo.png", ("--ref-view", "0,1"), set()),
    ],
)
def test_a_picture_passes_through_only_at_the_moment_it_shows(
    tmp_path: Path, name: str, options: tuple[str, ...], given: set[tuple[int, int, int]]
) -> None:
    lr = write_moments(tmp_path / "lf")
    picture = scenes.save_picture(tmp_path / "hr" / name, at(0, 1, 2))
    done = run(lr, "--ref-stream", picture, *options)
    assert done.exit_code == 0, done.output
    assert_enlarged(tmp_path / "lf_x2", given)
    assert ("it is unknown which of the input's 3 moments the reference shows" in done.output) == (
        not given
    )
    chosen = json.loads((tmp_path / "lf_x2.plan.json").read_text())["reference_map"]
    assert {choice["ref_pts"] for choice in chosen} == {0}


def test_sheets_for_each_moment_are_found_by_name(tmp_path: Path) -> None:
    for moment in range(MOMENTS):
        rows = [np.hstack([degrade(at(r, c, moment), 2) for c in range(2)]) for r in range(2)]
        scenes.save_picture(tmp_path / "lf" / f"shot{moment}.png", np.vstack(rows))
    picture = scenes.save_picture(tmp_path / "hr" / "shot1.png", at(1, 0, 1))
    options = ("--layout", "mosaic", "--grid", "2x2", "--ref-view", "1,0")
    done = run(tmp_path / "lf", "--ref-stream", picture, *options)
    assert done.exit_code == 0, done.output
    assert_enlarged(tmp_path / "lf_x2", {(1, 0, 1)})


def test_evaluation_leaves_out_only_the_moment_that_was_given(tmp_path: Path) -> None:
    lr = write_moments(tmp_path / "lf")
    scenes.save_picture(tmp_path / "hr" / "frame_001" / "view_00_01.png", at(0, 1, 1))
    assert run(lr, "--ref-stream", tmp_path / "hr").exit_code == 0
    for moment in range(MOMENTS):
        for row, col in np.ndindex(2, 2):
            name = f"frame_{moment:03}/view_{row:02}_{col:02}.png"
            scenes.save_picture(tmp_path / "truth" / name, at(row, col, moment))
    command = ["evaluate", str(tmp_path / "lf_x2"), "--ground-truth", str(tmp_path / "truth")]
    done = CliRunner().invoke(
        main, [*command, "--plan", str(tmp_path / "lf_x2.plan.json"), "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["frames"], found["given"]) == (4 * MOMENTS - 1, [])
    expected = []
    for moment in (0, 2):
        plain = cv2.resize(degrade(at(0, 1, moment), 2), (64, 48), interpolation=cv2.INTER_CUBIC)
        error = ((plain.astype(float) - at(0, 1, moment)) ** 2).mean()
        expected.append(10 * np.log10(255**2 / error))
    view = next(v for v in found["views"] if (v["row"], v["col"]) == (0, 1))
    assert view["psnr"] == pytest.approx(np.mean(expected), abs=1e-3)
    sidecar = json.loads((tmp_path / "lf_x2" / "lightfield.json").read_text())
    assert {listed["role"] for listed in sidecar["views"]} == {"side"}

"""Pictures for the eye, on a plane whose disparity is known."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.lightfield import view_pictures
from pipeline.lightfield.opening import open_light_field
from pipeline.media.pictures import stills
from pipeline.media.read.probe import probe, scan
from pipeline.schema.clip import Clip
from tests.support import scenes

DISPARITY = 1.25


@pytest.fixture
def plane(tmp_path: Path) -> Clip:
    for row in range(3):
        for col in range(3):
            view = scenes.plane(row, col, DISPARITY)
            scenes.save_picture(tmp_path / "lf" / f"{row}_{col}.png", view)
    clip = open_light_field(tmp_path / "lf")
    assert clip is not None
    return clip


def test_the_disparity_map_finds_the_plane(plane: Clip) -> None:
    found = view_pictures.estimate_disparity(plane, 0.0, 2.0)
    inside = found[12:-12, 12:-12]
    assert np.abs(np.median(inside) - DISPARITY) < 0.05
    assert (np.abs(inside - DISPARITY) < 0.2).mean() > 0.95


def test_refocused_on_the_plane_it_is_sharp_and_beside_it_blurred(plane: Clip) -> None:
    sharp, blurred = view_pictures.refocus(plane, (DISPARITY, -DISPARITY))
    truth = scenes.plane(1, 1, DISPARITY).astype(int)
    window = np.s_[8:-8, 8:-8]
    assert np.abs(sharp[window] - truth[window]).mean() < 2
    assert np.abs(blurred[window] - truth[window]).mean() > 5


def test_epipolar_lines_have_the_slope_of_the_disparity(plane: Clip) -> None:
    epi = view_pictures.draw_epipolar_picture(plane, 40).astype(int)
    assert epi.shape == (3 * view_pictures.EPI_ROW, 128, 3)
    first, last = epi[0], epi[-1]
    away = [np.abs(first[20 + s : 108 + s] - last[20:108]).mean() for s in range(6)]
    assert int(np.argmin(away)) in (2, 3)  # 2.5 pixels over two views


def test_the_command_writes_the_requested_pictures(plane: Clip, tmp_path: Path) -> None:
    options = ["--epi", "--refocus", "0,1.25", "--disparity", "--sweep"]
    done = CliRunner().invoke(main, ["look", plane.path, *options, "gif"])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "lf_look"
    assert {path.name for path in folder.iterdir()} == {
        "contact_sheet.png",
        "epi.png",
        "refocus_+0.00.png",
        "refocus_+1.25.png",
        "disparity.png",
        "sweep.gif",
    }
    assert len(imageio.imread(folder / "sweep.gif")) == 8
    assert stills.load_picture(str(folder / "contact_sheet.png")).shape == (3 * 96, 3 * 128, 3)
    again = CliRunner().invoke(main, ["look", plane.path, *options, "mp4"])
    assert again.exit_code == 2
    assert "already exists" in again.stderr
    forced = CliRunner().invoke(main, ["look", plane.path, "--sweep", "mp4", "--force"])
    assert forced.exit_code == 0, forced.output
    assert len(scan(probe(str(folder / "sweep.mp4"))).pts) == 16


def test_probe_makes_a_contact_sheet_on_request(plane: Clip, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    command = ["probe", plane.path, "--contact-sheet", str(sheet)]
    assert CliRunner().invoke(main, command).exit_code == 0
    np.testing.assert_array_equal(
        stills.load_picture(str(sheet)), view_pictures.draw_contact_sheet(plane)
    )
    again = CliRunner().invoke(main, command)
    assert again.exit_code == 2
    assert "already exists" in again.stderr
    picture = str(Path(plane.path) / "0_0.png")
    refused = CliRunner().invoke(
        main, ["probe", picture, "--contact-sheet", str(tmp_path / "b.png")]
    )
    assert refused.exit_code == 2
    assert "needs a light field" in refused.stderr


def test_look_reads_all_views_for_refocusing_only_if_it_is_wanted(
    plane: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing to refocus")

    monkeypatch.setattr(view_pictures, "refocus", refuse)
    done = CliRunner().invoke(main, ["look", plane.path, "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["contact_sheet.png"]

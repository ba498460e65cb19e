"""Round trips through every layout, at the command line."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.errors import InputError
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.sinks import save_rows
from pipeline.lightfield.targets import name_target
from pipeline.media.pictures import stills
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.video import VideoWriter
from pipeline.schema.settings import GridSettings
from pipeline.tools.convert import convert_light_field
from tests.support import scenes
from tests.support.scenes import read_views


def assert_same(first: Path, second: Path) -> None:
    a, b = read_views(first), read_views(second)
    assert a.keys() == b.keys()
    for place in a:
        np.testing.assert_array_equal(a[place], b[place])


@pytest.mark.parametrize("bits", [8, 16])
def test_a_way_through_every_layout_loses_nothing(tmp_path: Path, bits: int) -> None:
    start = scenes.write_folder(tmp_path / "start", 3, 4, bits=bits, without=((1, 2),), first=3)
    names = {
        "lenslet": "a.png",
        "mosaic": "b.png",
        "quilt": "c_qs4x3a1.png",
        "h5": "d.h5",
        "video": "e",
        "folder": "f",
    }
    source = start
    for to, name in names.items():
        convert_light_field(str(source), tmp_path / name, to)
        assert_same(start, tmp_path / name)
        source = tmp_path / name
    written = {p.name for p in source.iterdir()} - {"lightfield.json"}
    assert written == {p.name for p in start.iterdir()}


@pytest.mark.parametrize("scene", scenes.REAL)
def test_real_scenes_go_through_every_layout_in_either_direction(
    tmp_path: Path, scene: Path
) -> None:
    size = scenes.REAL[scene]
    settings = GridSettings(layout="mosaic", grid=size)
    convert_light_field(str(scene), tmp_path / "start", "folder", grid_settings=settings)
    # the views by plain slicing
    whole, count = stills.load_picture(str(scene)), int(size[0])
    height, width = whole.shape[0] // count, whole.shape[1] // count
    for (row, col, _), view in read_views(tmp_path / "start").items():
        tile = whole[row * height : (row + 1) * height, col * width : (col + 1) * width]
        np.testing.assert_array_equal(view, tile)
    ways = ["lenslet", "mosaic", "quilt", "h5"]
    source = tmp_path / "start"
    for step, to in enumerate([*ways, "folder", *reversed(ways), "folder"]):
        ending = {"h5": ".h5", "folder": ""}.get(to, ".png")
        out = tmp_path / f"{step}{ending}"
        convert_light_field(str(source), out, to)
        assert_same(tmp_path / "start", out)
        source = out


def test_a_sequence_goes_through_sheets_and_videos(tmp_path: Path) -> None:
    for moment in range(3):
        scenes.write_folder(tmp_path / "lf" / f"frame_{moment:04}", 2, 2 + 0 * moment)
        scenes.save_picture(
            tmp_path / "lf" / f"frame_{moment:04}" / "view_01_00.png", scenes.flowers(moment, 7)
        )
    source = tmp_path / "lf"
    for to in ("mosaic", "video", "h5", "folder"):
        out = tmp_path / (f"{to}.h5" if to == "h5" else to)
        convert_light_field(str(source), out, to)
        assert_same(tmp_path / "lf", out)
        source = out


def test_names_of_numbered_cameras_come_through_other_layouts(tmp_path: Path) -> None:
    rig = tmp_path / "rig"
    rig.mkdir()
    # a line of cameras, some of which are missing: their numbers alone make no grid
    for number in (1, 2, 5, 8):
        film = VideoWriter(rig / f"cam{number:02}.mp4", lossless=True)
        film.write(scenes.flowers(0, number - 1))
        film.close()
    source = rig
    for to in ("folder", "lenslet", "video"):
        out = tmp_path / (f"{to}.png" if to == "lenslet" else to)
        convert_light_field(str(source), out, to)
        assert_same(rig, out)
        source = out
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {
        "cam01.png",
        "cam02.png",
        "cam05.png",
        "cam08.png",
        "lightfield.json",
    }


def test_the_rate_of_videos_comes_through_other_layouts(tmp_path: Path) -> None:
    rate, rig = Fraction(30000, 1001), tmp_path / "rig"
    rig.mkdir()
    for col in range(4):
        film = VideoWriter(rig / f"view_00_{col:02}.mp4", rate=rate, lossless=True)
        for moment in range(3):
            film.write(scenes.flowers(moment, col))
        film.close()
    source = rig
    for to in ("folder", "mosaic", "h5", "video"):
        out = tmp_path / ("all.h5" if to == "h5" else to)
        convert_light_field(str(source), out, to)
        source = out
    first, last = (probe(str(path / "view_00_03.mp4")) for path in (rig, source))
    assert last.frame_rate == rate
    times = [[at * clip.time_base for at in scan(clip).pts] for clip in (first, last)]
    assert times[0] == times[1]


@pytest.mark.parametrize(("moments", "name"), [(1, "sheet_mosaic.png"), (3, "sheet_mosaic")])
def test_the_sheets_of_a_video_become_pictures(tmp_path: Path, moments: int, name: str) -> None:
    source = tmp_path / "sheet.mkv"
    film = VideoWriter(source, lossless=True)
    for moment in range(moments):
        film.write(np.hstack([scenes.flowers(moment, col) for col in range(2)]))
    film.close()

    settings = GridSettings(layout="mosaic", grid=(1, 2))
    made = convert_light_field(str(source), None, "mosaic", grid_settings=settings)
    assert Path(made.output) == tmp_path / name
    clip = open_light_field(tmp_path / name)
    assert clip is not None
    assert not clip.grid.has_video_sheets
    assert (clip.grid.moments, len(clip.grid.views)) == (moments, 2)
    film_path = tmp_path / "film.mkv"
    with pytest.raises(InputError, match=r"film\.mkv.*; try film"):
        convert_light_field(str(source), film_path, "mosaic", grid_settings=settings)


def test_other_names_are_written_on_request(tmp_path: Path) -> None:
    source = scenes.write_folder(tmp_path / "lf", 2, 3)
    convert_light_field(str(source), tmp_path / "out", "folder", template="v{col}-{row:03}.png")
    assert (tmp_path / "out" / "v2-001.png").is_file()
    assert_same(source, tmp_path / "out")


def test_the_sidecar_identifies_a_quilt_whose_name_does_not(tmp_path: Path) -> None:
    rows = [np.hstack([scenes.flowers(row, col) for col in range(4)]) for row in range(2)]
    scenes.save_picture(tmp_path / "q_qs4x2a1.png", np.vstack(rows))
    convert_light_field(str(tmp_path / "q_qs4x2a1.png"), tmp_path / "plain.png", "quilt")
    assert_same(tmp_path / "q_qs4x2a1.png", tmp_path / "plain.png")


def test_the_command_says_what_it_wrote_and_never_overwrites(tmp_path: Path) -> None:
    source = scenes.write_folder(tmp_path / "lf", 2, 3)
    arguments = ["convert", str(source), "--to", "quilt", "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert Path(found["output"]).name == "lf_quilt_qs3x2a1.333.png"
    assert Path(found["sidecar"]).is_file()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "already exists" in again.stderr
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 0


def test_an_output_around_or_on_the_input_is_refused(tmp_path: Path) -> None:
    source = scenes.write_folder(tmp_path / "a" / "lf", 2, 2)
    for out in (source, tmp_path / "a"):
        with pytest.raises(InputError, match=r"is also the input|inside the output"):
            convert_light_field(str(source), out, "folder", force=True)
    assert len(list(source.iterdir())) == 4


@pytest.mark.parametrize("to", ["folder", "mosaic"])
def test_force_replaces_only_what_was_written_here(tmp_path: Path, to: str) -> None:
    source = scenes.write_folder(tmp_path / "lf", 2, 2)
    out = tmp_path / ("out" if to == "folder" else "out.png")
    out.mkdir()
    precious = scenes.save_picture(out / "holiday.jpg", scenes.flowers(0, 0))
    with pytest.raises(InputError, match=r"has no lightfield\.json and so is not a light field"):
        convert_light_field(str(source), out, to, force=True)
    assert precious.is_file()

    precious.unlink()
    convert_light_field(str(source), out, to, force=True)
    convert_light_field(str(source), out, to, force=True)
    if to == "folder":
        (out / "deep").mkdir()
        (out / "deep" / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match=r"would replace .*including deep/notes\.txt"):
            convert_light_field(str(source), out, to, force=True)


@pytest.mark.parametrize("wrong", [{"rows": "many"}, {"fps": "1/0"}, {"fps": "fast"}])
def test_a_sidecar_of_nonsense_is_refused_in_one_line(
    tmp_path: Path, wrong: dict[str, str]
) -> None:
    source = scenes.write_folder(tmp_path / "lf", 2, 2)
    convert_light_field(str(source), tmp_path / "a.png", "mosaic")
    sidecar = json.loads((tmp_path / "a.lightfield.json").read_text())
    (source / "lightfield.json").write_text(json.dumps(sidecar | wrong))
    with pytest.raises(InputError, match=r"lightfield\.json is not a readable sidecar"):
        open_light_field(source)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_written_by_rows_is_the_same_picture(tmp_path: Path, dtype: type) -> None:
    picture = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (130, 33, 3), dtype)
    save_rows(tmp_path / "rows.png", picture)
    np.testing.assert_array_equal(stills.load_picture(str(tmp_path / "rows.png")), picture)


@pytest.mark.parametrize("suffix", [".pgm", ".exr", ".avif", ".jpg"])
def test_sheets_in_formats_that_lose_something_become_png(tmp_path: Path, suffix: str) -> None:
    sheet = tmp_path / f"sheet{suffix}"
    pixels = np.full((64, 96, 3), 90, np.uint8)
    if suffix == ".exr":
        stills.save_picture(sheet, pixels.astype(np.uint16))
    else:
        assert cv2.imwrite(str(sheet), pixels[..., 0] if suffix == ".pgm" else pixels)
    settings = GridSettings(layout="mosaic", grid=(2, 2))
    clip = open_light_field(sheet, settings)
    assert clip is not None
    assert name_target(clip, None, "_x2").name == "sheet_x2.png"
    made = convert_light_field(str(sheet), None, "mosaic", grid_settings=settings)
    assert Path(made.output).name == "sheet_mosaic.png"


@pytest.mark.parametrize(
    ("name", "crop", "expected"),
    [
        ("IMG_eslf.png", None, "IMG_x2_eslf.png"),
        # others take _eslf for 14 x 14 views
        ("IMG_eslf.png", "8x8", "IMG_x2.png"),
        ("q_qs4x3a1.5.png", None, "q_x2_qs4x3a1.5.png"),
        ("q_qs4x3a1.5.png", "1x5", "q_x2_qs5x1a1.5.png"),
    ],
)
def test_names_that_contain_a_grid_contain_the_right_one(
    tmp_path: Path, name: str, crop: str | None, expected: str
) -> None:
    size = (14 * 6, 14 * 9, 3) if "eslf" in name else (3 * 6, 4 * 9, 3)
    sheet = scenes.save_picture(tmp_path / name, np.zeros(size, np.uint8))
    clip = open_light_field(sheet, GridSettings(crop_grid=crop))
    assert clip is not None
    assert name_target(clip, None, "_x2").name == expected

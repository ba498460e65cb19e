"""Light fields in the layouts that other programs write, read view by view."""

from __future__ import annotations

from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewReader
from pipeline.schema.clip import Clip
from pipeline.schema.settings import GridSettings
from tests.support import scenes


def open_clip(path: Path, **settings: object) -> Clip:
    clip = open_light_field(path, GridSettings(**settings))
    assert clip is not None
    return clip


def view(clip: Clip, row: int, col: int, moment: int = 0) -> np.ndarray:
    position = clip.grid.at(row, col)
    assert position is not None, f"no view ({row}, {col})"
    reader = ViewReader(clip)
    rgb = reader.get(clip.grid.number(position, moment))
    reader.close()
    return rgb


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("view_{row:02}_{col:02}.png", 0),
        ("View_{row}_{col}.png", 1),
        ("{row:03}_{col:03}.ppm", 0),
        ("{row}_{col}.bmp", 0),
        ("im_t{row:03}_s{col:03}_GT.png", 99),
        ("Scene7_{row}_{col}.png", 3),
        ("rig2-r{row}-c{col}-left.png", 0),
    ],
)
def test_folders_with_every_naming_scheme_are_read(tmp_path: Path, name: str, first: int) -> None:
    clip = open_clip(scenes.write_folder(tmp_path / "lf", 3, 4, name=name, first=first))
    assert (clip.grid.rows, clip.grid.cols) == ((first, 3), (first, 4))
    np.testing.assert_array_equal(view(clip, first + 2, first + 1), scenes.flowers(2, 1))


def test_stanford_names_give_rows_first_and_camera_positions(tmp_path: Path) -> None:
    for row in range(3):
        for col in range(4):
            y, x = -381.9 + 26.1 * row, 1103.4 - 8.6 * col
            scenes.save_picture(
                tmp_path / f"out_{row:02}_{col:02}_{y:.1f}_{x:.1f}_.png", scenes.flowers(row, col)
            )
    clip = open_clip(tmp_path)
    np.testing.assert_array_equal(view(clip, 1, 3), scenes.flowers(1, 3))
    placed = clip.grid.views[clip.grid.at(1, 3) or 0]
    assert placed.x == pytest.approx(3, abs=0.02)
    assert placed.y == pytest.approx(1, abs=0.02)


def test_hci_counts_through_rows_of_the_length_in_parameters_cfg(tmp_path: Path) -> None:
    scenes.write_folder(tmp_path, 2, 3, name="input_Cam{index:03}.png")
    (tmp_path / "parameters.cfg").write_text("[extrinsics]\nnum_cams_x = 3\nnum_cams_y = 2\n")
    np.testing.assert_array_equal(view(open_clip(tmp_path), 1, 0), scenes.flowers(1, 0))


def test_order_exchanges_the_numbers_in_names(tmp_path: Path) -> None:
    scenes.write_folder(tmp_path, 2, 3)
    clip = open_clip(tmp_path, order="col,row")
    assert (clip.grid.rows[1], clip.grid.cols[1]) == (3, 2)
    np.testing.assert_array_equal(view(clip, 2, 1), scenes.flowers(1, 2))


def test_a_template_option_overrides_the_known_names(tmp_path: Path) -> None:
    scenes.write_folder(tmp_path, 2, 3, name="{col}x{row}.png")
    clip = open_clip(tmp_path, template="{col}x{row}.png")
    np.testing.assert_array_equal(view(clip, 1, 2), scenes.flowers(1, 2))


def test_pictures_numbered_by_time_are_not_a_light_field(tmp_path: Path) -> None:
    for second in (1, 7, 30, 59):
        scenes.save_picture(tmp_path / f"key_{second}_{second * 11}.png", scenes.flowers(0, 0))
    assert open_light_field(tmp_path) is None


def test_lenslet_pixels_interleave(tmp_path: Path) -> None:
    sheet = np.zeros((48 * 2, 64 * 3, 3), np.uint8)
    for row in range(2):
        for col in range(3):
            sheet[row::2, col::3] = scenes.flowers(row, col)
    clip = open_clip(scenes.save_picture(tmp_path / "s.png", sheet), layout="lenslet", grid="2x3")
    np.testing.assert_array_equal(view(clip, 1, 2), scenes.flowers(1, 2))


def test_eslf_is_recognised_by_its_name_and_cropped_to_the_central_views(tmp_path: Path) -> None:
    sheet = np.random.default_rng(0).integers(0, 255, (14 * 8, 14 * 9, 3), np.uint8)
    clip = open_clip(scenes.save_picture(tmp_path / "IMG_1_eslf.png", sheet), crop_grid="8x8")
    assert (clip.grid.rows, clip.grid.cols) == ((3, 8), (3, 8))
    np.testing.assert_array_equal(view(clip, 3, 10), sheet[3::14, 10::14])


def test_mosaic_tiles_run_from_the_top_left() -> None:
    mosaic = cv2.cvtColor(cv2.imread(str(scenes.FLOWERS)), cv2.COLOR_BGR2RGB)
    clip = open_clip(scenes.FLOWERS, layout="mosaic", grid="8x8")
    np.testing.assert_array_equal(view(clip, 7, 2), mosaic[336:384, 128:192])


def test_quilt_views_run_from_the_bottom_left(tmp_path: Path) -> None:
    sheet = np.random.default_rng(0).integers(0, 255, (3 * 20, 4 * 30, 3), np.uint8)
    clip = open_clip(scenes.save_picture(tmp_path / "q_qs4x3a1.5.png", sheet))
    assert (clip.grid.rows[1], clip.grid.cols[1]) == (1, 12)
    np.testing.assert_array_equal(view(clip, 0, 0), sheet[40:, :30])
    np.testing.assert_array_equal(view(clip, 0, 11), sheet[:20, 90:])


def test_hdf5_of_crossnet_hci_matlab_and_basiclfsr(tmp_path: Path) -> None:
    views = np.stack([[scenes.flowers(r, c) for c in range(3)] for r in range(2)])
    with h5py.File(tmp_path / "crossnet.h5", "w") as file:
        file["img_HR"] = views.transpose(0, 1, 4, 2, 3)[None]
    with h5py.File(tmp_path / "lf.h5", "w") as file:
        file["LF"] = views
    with h5py.File(tmp_path / "scene.mat", "w") as file:
        weighted = np.concatenate([views, views[..., :1]], axis=-1)
        file["LF"] = weighted.transpose(4, 3, 2, 1, 0)
    for name in ("crossnet.h5", "lf.h5", "scene.mat"):
        np.testing.assert_array_equal(view(open_clip(tmp_path / name), 1, 2), scenes.flowers(1, 2))
    luma = np.linspace(0, 1, 10 * 25 * 20, dtype=np.float32).reshape(100, 50)
    with h5py.File(tmp_path / "000001.h5", "w") as file:
        file["Hr_SAI_y"] = luma.T
    grey = view(open_clip(tmp_path / "000001.h5"), 4, 1)
    assert grey.shape == (20, 10, 3)
    np.testing.assert_array_equal(grey[..., 2], np.round(luma[80:, 10:20] * 65535.0))


def test_sequences_have_a_folder_for_each_moment(tmp_path: Path) -> None:
    scenes.write_folder(tmp_path / "frame_2", 2, 2)
    scenes.write_folder(tmp_path / "frame_10", 2, 2)
    scenes.save_picture(tmp_path / "frame_10" / "view_01_00.png", scenes.flowers(5, 5))
    clip = open_clip(tmp_path)
    np.testing.assert_array_equal(view(clip, 1, 0, moment=1), scenes.flowers(5, 5))
    (tmp_path / "frame_10" / "view_01_00.png").unlink()
    with pytest.raises(InputError, match=r"the views in frame_10 \(3\) are not the same"):
        open_light_field(tmp_path)


def test_missing_views_stay_missing(tmp_path: Path) -> None:
    clip = open_clip(scenes.write_folder(tmp_path, 3, 3, without=((1, 1), (2, 0))))
    assert len(clip.grid.views) == 7
    assert clip.grid.at(1, 1) is None
    assert [clip.grid.place(n)[0] for n in range(7)] == list(range(7))


def test_lytro_containers_are_refused_with_the_tools_that_decode_them(tmp_path: Path) -> None:
    (tmp_path / "IMG_0001.LFR").write_bytes(b"\x89LFP\r\n\x1a\n\0\0\0\1")
    for path in (tmp_path, tmp_path / "IMG_0001.LFR"):
        with pytest.raises(InputError, match=r"plenopticam.*Light Field Toolbox"):
            open_light_field(path)


def test_fisheye_arrays_are_refused_until_undistorted(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('[{"name": "c1", "projection_type": "fisheye"}]')
    with pytest.raises(InputError, match=r"1 fisheye camera in .*undistort"):
        open_light_field(tmp_path)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"layout": "mosaic"}, "pass --grid"),
        ({"layout": "mosaic", "grid": "5x8"}, "a mosaic of 512x384 cannot be divided"),
        ({"grid": "8x8"}, "pass --layout"),
        (
            {"layout": "mosaic", "grid": "8x8", "crop_grid": "9x9"},
            "--crop-grid 9x9 does not fit 8x8 views; expected 1x1 to 8x8",
        ),
    ],
)
def test_sheets_that_do_not_fit_are_refused(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        open_light_field(scenes.FLOWERS, GridSettings(**settings))


def test_views_of_two_sizes_are_refused(tmp_path: Path) -> None:
    scenes.write_folder(tmp_path, 2, 2)
    scenes.save_picture(tmp_path / "view_01_01.png", scenes.flowers(1, 1)[:-1])
    with pytest.raises(InputError, match="64x47 with 8 bits"):
        open_light_field(tmp_path)


def test_a_view_in_two_formats_is_refused(tmp_path: Path) -> None:
    folder = scenes.write_folder(tmp_path / "lf", 2, 2)
    scenes.save_picture(folder / "view_01_00.jpg", scenes.flowers(1, 0))
    with pytest.raises(InputError, match=r"view_01_00\.jpg and view_01_00\.png"):
        open_light_field(folder)
    # pictures whose numbers fill no grid are not views
    for second in (1, 7, 30, 59):
        for suffix in (".jpg", ".png"):
            name = f"key_{second}_{second * 11}{suffix}"
            scenes.save_picture(tmp_path / "keys" / name, scenes.flowers(0, 0))
    assert open_light_field(tmp_path / "keys") is None


def test_two_pictures_of_one_view_are_refused(tmp_path: Path) -> None:
    scenes.write_folder(tmp_path, 2, 2)
    scenes.save_picture(tmp_path / "view_1_1.png", scenes.flowers(1, 1))
    with pytest.raises(InputError, match=r"two files for view \(1, 1\)"):
        open_light_field(tmp_path)


@pytest.mark.parametrize("settings", [{"layout": "folder", "grid": "2x3"}, {"layout": "folder"}])
def test_counted_views_are_refused_with_their_template(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    for number in range(6):
        scenes.save_picture(tmp_path / "f" / f"shot2_{number:04}.png", scenes.flowers(0, number))
    with pytest.raises(InputError, match=r"try --template 'shot2_\{index:04\}'"):
        open_light_field(tmp_path / "f", GridSettings.model_validate(settings))
    template = {"template": "shot2_{index:04}", "grid": "2x3"}
    found = open_light_field(tmp_path / "f", GridSettings.model_validate(template))
    assert found is not None
    assert (found.grid.rows, found.grid.cols) == ((0, 2), (0, 3))


@pytest.mark.parametrize("settings", [{"grid": "2x2"}, {"grid": "2x3", "order": "col,row"}])
def test_more_numbered_views_than_the_grid_has_are_refused(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    for number in range(9):
        scenes.save_picture(tmp_path / f"cam{number + 1}.png", scenes.flowers(0, number % 8))
    template = {"template": "cam{index}"}
    with pytest.raises(InputError, match=f"--grid {settings['grid']} has . views, .* 9 views in"):
        open_light_field(tmp_path, GridSettings.model_validate(template | settings))
    found = open_clip(tmp_path, **template, **(settings | {"grid": "3x3"}))
    assert (found.grid.rows, found.grid.cols) == ((0, 3), (0, 3))

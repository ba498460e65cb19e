"""Light fields: every layout returns its original views, and every view is drawn."""

from __future__ import annotations

import builtins
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from crossnetpp.data.light_fields import FolderScene, LightFields
from crossnetpp.data.sample import DataError
from tests.support import DATA

MOSAIC = DATA / "flowers_8x8.png"
HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def views() -> np.ndarray:
    """Real views, 8 x 8 x 48 x 64 x 3 BGR, the channel order of OpenCV."""
    tiles = cv2.imread(str(MOSAIC)).reshape(8, HEIGHT, 8, WIDTH, 3)
    return tiles.transpose(0, 2, 1, 3, 4)


def to_rgb(view: np.ndarray) -> np.ndarray:
    return view[..., ::-1]


def write_folder(views: np.ndarray, to: Path, name: str) -> Path:
    to.mkdir()
    for row in range(8):
        for col in range(8):
            file = to / name.format(row=row, col=col, number=8 * row + col)
            cv2.imwrite(str(file), views[row, col])
    return to


def write_lenslet(views: np.ndarray, to: Path) -> Path:
    """Write 14 x 14 interleaved views; the rim is black, like the corners of real ones."""
    image = np.zeros((HEIGHT * 14, WIDTH * 14, 3), np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            image[14 * y + 3 : 14 * y + 11, 14 * x + 3 : 14 * x + 11] = views[:, :, y, x]
    cv2.imwrite(str(to), image)
    return to


def write_hdf5(views: np.ndarray, to: Path, scenes: int = 1) -> Path:
    planes = to_rgb(views).transpose(0, 1, 4, 2, 3)
    with h5py.File(to, "w") as file:
        data = np.stack([np.roll(planes, number, axis=-1) for number in range(scenes)])
        file.create_dataset("img_HR", data=data)
        file.create_dataset("img_LR_4", data=data[..., ::4, ::4])
        file.create_dataset("index", data=np.zeros((3, 4)))
    return to


def open_folder(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.from_folders(
        [write_folder(views, to / "scene", "view_{row:02}_{col:02}.png")]
    )


def open_lenslet(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.from_lenslets([write_lenslet(views, to / "IMG_0001_eslf.png")])


def open_mosaic(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.from_mosaics([MOSAIC])


def open_hdf5(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.from_hdf5(write_hdf5(views, to / "train_x4_x8.h5"))


LAYOUTS = (open_folder, open_lenslet, open_mosaic, open_hdf5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_returns_its_original_views(
    layout: Callable[[np.ndarray, Path], LightFields], views: np.ndarray, tmp_path: Path
) -> None:
    fields = layout(views, tmp_path)
    assert list(fields.scenes[0].positions) == [(row, col) for row in range(8) for col in range(8)]
    for row, col in fields.scenes[0].positions:
        view = fields.read_view(0, row, col)
        assert view.dtype == np.uint8
        assert np.array_equal(view, to_rgb(views[row, col]))
    with pytest.raises(DataError, match=r"no view \(8, 0\).*from \(0, 0\) to \(7, 7\)"):
        fields.read_view(0, 8, 0)


@pytest.mark.parametrize(
    "name",
    [
        "{row}_{col}.png",
        "View_{row}_{col}.png",
        "out_{row:02}_{col:02}_-381.909_1103.4_.png",
        "im_t{row:03}_s{col:03}_GT.png",
        "{row:03}_{col:03}.ppm",
        "input_Cam{number:03}.png",
    ],
)
def test_naming_schemes_of_views(name: str, views: np.ndarray, tmp_path: Path) -> None:
    folder = write_folder(views, tmp_path / "scene", name)
    (folder / "parameters.cfg").write_text("[meta]\n")
    cv2.imwrite(str(folder / "depth.png"), views[0, 0])
    fields = LightFields.from_folders([folder])
    assert len(fields.scenes[0].positions) == 64
    assert np.array_equal(fields.read_view(0, 2, 7), to_rgb(views[2, 7]))


def test_a_folder_may_lack_views(views: np.ndarray, tmp_path: Path) -> None:
    folder = write_folder(views, tmp_path / "scene", "view_{row:02}_{col:02}.png")
    (folder / "view_03_04.png").unlink()
    fields = LightFields.from_folders([folder])
    assert len(fields.scenes[0].positions) == 63
    with pytest.raises(DataError, match="no view"):
        fields.read_view(0, 3, 4)
    rng = np.random.default_rng(0)
    assert all((3, 4) not in fields.choose_views(rng, 1.0)[1:] for _ in range(500))


@pytest.mark.parametrize("motion", [0.05, 1.0])
def test_every_view_and_scene_is_drawn_including_the_last(motion: float) -> None:
    fields = LightFields.from_mosaics([MOSAIC] * 3)
    rng = np.random.default_rng(0)
    drawn = [fields.choose_views(rng, motion) for _ in range(2000)]
    everywhere = set(fields.scenes[0].positions)
    assert {scene for scene, _, _ in drawn} == {0, 1, 2}
    assert {target for _, target, _ in drawn} == everywhere
    assert {reference for _, _, reference in drawn} == everywhere
    steps = [max(abs(a - b) for a, b in zip(*pair, strict=True)) for _, *pair in drawn]
    assert min(steps) == 1
    assert max(steps) == (7 if motion == 1.0 else 1)


def test_a_drawn_pair_shows_one_window_of_two_views(views: np.ndarray) -> None:
    fields = LightFields.from_mosaics([MOSAIC])
    _, first, second = fields.choose_views(np.random.default_rng(3), 1.0)
    pair = fields.draw(np.random.default_rng(3), 48, 1.0)
    assert pair.flow is None
    # 48 is the full height, so the search for the turned and mirrored window is along x only
    for picture, place in ((pair.target, first), (pair.reference, second)):
        found = {
            (col, turns, mirrored)
            for col in range(WIDTH - 48 + 1)
            for turns in range(4)
            for mirrored in (False, True)
            if np.array_equal(
                np.rot90(to_rgb(views[place])[:, col : col + 48], turns)[
                    :, :: -1 if mirrored else 1
                ],
                picture,
            )
        }
        assert len(found) == 1
        if picture is pair.target:
            expected = found
    assert found == expected


def test_hdf5_has_several_scenes_and_keys(views: np.ndarray, tmp_path: Path) -> None:
    path = write_hdf5(views, tmp_path / "test.h5", scenes=3)
    fields = LightFields.from_hdf5(path)
    assert np.array_equal(fields.read_view(2, 7, 7), np.roll(to_rgb(views[7, 7]), 2, axis=1))
    small = LightFields.from_hdf5(path, key="img_LR_4")
    assert np.array_equal(small.read_view(0, 1, 2), to_rgb(views[1, 2])[::4, ::4])


class TargetDataset(Dataset[tuple[torch.Tensor, bool]]):
    """Targets, each with a flag that is True if the reading process opened the file itself."""

    def __init__(self, fields: LightFields) -> None:
        self.fields = fields

    def __getitem__(self, number: int) -> tuple[torch.Tensor, bool]:
        target = self.fields.draw(np.random.default_rng(number), 32, 1.0).target
        opened = self.fields.scenes[0]._file._opened
        return torch.from_numpy(target), opened[0] == os.getpid()

    def __len__(self) -> int:
        return 6


def test_workers_read_the_same_views_as_this_process(views: np.ndarray, tmp_path: Path) -> None:
    fields = open_hdf5(views, tmp_path)
    fields.read_view(0, 0, 0)  # opens the file before workers start
    targets = TargetDataset(fields)
    here, there = (list(DataLoader(targets, num_workers=workers)) for workers in (0, 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(here, there, strict=True))
    assert all(own.all() for _, own in (*here, *there))
    again = pickle.loads(pickle.dumps(fields))
    assert np.array_equal(again.read_view(0, 4, 5), fields.read_view(0, 4, 5))


def test_the_cache_is_limited(views: np.ndarray, tmp_path: Path) -> None:
    paths = [write_lenslet(views, tmp_path / f"{number}.png") for number in range(3)]
    fields = LightFields.from_lenslets(paths)
    small = LightFields(fields.scenes, max_bytes=2 * views.nbytes)
    for number in (0, 1, 2, 0):
        assert np.array_equal(small.read_view(number, 6, 1), to_rgb(views[6, 1]))
    assert sum(entry.nbytes for entry in small._cache._entries.values()) == 2 * views.nbytes


def test_unreadable_files_are_reported_in_one_line(
    views: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_refused(message: str, make: Callable[[], object]) -> None:
        with pytest.raises(DataError, match=message) as error:
            make()
        assert "\n" not in str(error.value)

    path = write_hdf5(views, tmp_path / "train.h5")
    check_refused(
        "found no views in .*or more files such as view_00_00.png", lambda: FolderScene(tmp_path)
    )
    check_refused("found no views in", lambda: FolderScene(tmp_path / "nowhere"))
    check_refused("multiples of 14", lambda: LightFields.from_lenslets([MOSAIC]).read_view(0, 0, 0))
    check_refused(
        "7 rows and 8", lambda: LightFields.from_mosaics([MOSAIC], rows=7).read_view(0, 0, 0)
    )
    check_refused("no light field", lambda: LightFields.from_folders([]))
    check_refused("no HDF5", lambda: LightFields.from_hdf5(MOSAIC))
    check_refused(
        "no 'img_SR'.*img_HR, img_LR_4", lambda: LightFields.from_hdf5(path, key="img_SR")
    )
    check_refused(
        r"\(3, 4\) and type float64.*expected scenes x rows",
        lambda: LightFields.from_hdf5(path, key="index"),
    )
    check_refused(
        "expected at least 96x96", lambda: open_mosaic(views, tmp_path).draw(make_rng(), 96, 1.0)
    )

    original_import = builtins.__import__

    def without_h5py(name: str, *rest: Any, **named: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return original_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    check_refused(
        r"h5py is not installed.*try pip install h5py", lambda: LightFields.from_hdf5(path)
    )


def make_rng() -> np.random.Generator:
    return np.random.default_rng(0)

"""Light fields: each layout gives back the views it was made from, and every view is drawn."""

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
    """Real views, 8 x 8 x 48 x 64 x 3 BGR, as OpenCV reads and writes them."""
    tiles = cv2.imread(str(MOSAIC)).reshape(8, HEIGHT, 8, WIDTH, 3)
    return tiles.transpose(0, 2, 1, 3, 4)


def rgb(view: np.ndarray) -> np.ndarray:
    return view[..., ::-1]


def write_folder(views: np.ndarray, to: Path, name: str) -> Path:
    to.mkdir()
    for row in range(8):
        for col in range(8):
            file = to / name.format(row=row, col=col, number=8 * row + col)
            cv2.imwrite(str(file), views[row, col])
    return to


def write_lenslet(views: np.ndarray, to: Path) -> Path:
    """Write 14 x 14 views pixel by pixel, the rim black as corners of real ones are."""
    image = np.zeros((HEIGHT * 14, WIDTH * 14, 3), np.uint8)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            image[14 * y + 3 : 14 * y + 11, 14 * x + 3 : 14 * x + 11] = views[:, :, y, x]
    cv2.imwrite(str(to), image)
    return to


def write_hdf5(views: np.ndarray, to: Path, scenes: int = 1) -> Path:
    planes = rgb(views).transpose(0, 1, 4, 2, 3)
    with h5py.File(to, "w") as file:
        data = np.stack([np.roll(planes, number, axis=-1) for number in range(scenes)])
        file.create_dataset("img_HR", data=data)
        file.create_dataset("img_LR_4", data=data[..., ::4, ::4])
        file.create_dataset("index", data=np.zeros((3, 4)))
    return to


def in_folder(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.folders([write_folder(views, to / "scene", "view_{row:02}_{col:02}.png")])


def in_lenslet(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.lenslets([write_lenslet(views, to / "IMG_0001_eslf.png")])


def in_mosaic(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.mosaics([MOSAIC])


def in_hdf5(views: np.ndarray, to: Path) -> LightFields:
    return LightFields.hdf5(write_hdf5(views, to / "train_x4_x8.h5"))


LAYOUTS = (in_folder, in_lenslet, in_mosaic, in_hdf5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_views_it_was_made_from(
    layout: Callable[[np.ndarray, Path], LightFields], views: np.ndarray, tmp_path: Path
) -> None:
    fields = layout(views, tmp_path)
    assert list(fields.scenes[0].places) == [(row, col) for row in range(8) for col in range(8)]
    for row, col in fields.scenes[0].places:
        view = fields.view(0, row, col)
        assert view.dtype == np.uint8
        assert np.array_equal(view, rgb(views[row, col]))
    with pytest.raises(DataError, match=r"no view \(8, 0\).*from \(0, 0\) to \(7, 7\)"):
        fields.view(0, 8, 0)


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
def test_ways_of_naming_views(name: str, views: np.ndarray, tmp_path: Path) -> None:
    folder = write_folder(views, tmp_path / "scene", name)
    (folder / "parameters.cfg").write_text("[meta]\n")
    cv2.imwrite(str(folder / "depth.png"), views[0, 0])
    fields = LightFields.folders([folder])
    assert len(fields.scenes[0].places) == 64
    assert np.array_equal(fields.view(0, 2, 7), rgb(views[2, 7]))


def test_a_folder_may_have_holes(views: np.ndarray, tmp_path: Path) -> None:
    folder = write_folder(views, tmp_path / "scene", "view_{row:02}_{col:02}.png")
    (folder / "view_03_04.png").unlink()
    fields = LightFields.folders([folder])
    assert len(fields.scenes[0].places) == 63
    with pytest.raises(DataError, match="no view"):
        fields.view(0, 3, 4)
    rng = np.random.default_rng(0)
    assert all((3, 4) not in fields.choose(rng, 1.0)[1:] for _ in range(500))


@pytest.mark.parametrize("motion", [0.05, 1.0])
def test_every_view_and_scene_is_drawn_the_last_too(motion: float) -> None:
    fields = LightFields.mosaics([MOSAIC] * 3)
    rng = np.random.default_rng(0)
    drawn = [fields.choose(rng, motion) for _ in range(2000)]
    everywhere = set(fields.scenes[0].places)
    assert {scene for scene, _, _ in drawn} == {0, 1, 2}
    assert {target for _, target, _ in drawn} == everywhere
    assert {reference for _, _, reference in drawn} == everywhere
    steps = [max(abs(a - b) for a, b in zip(*pair, strict=True)) for _, *pair in drawn]
    assert min(steps) == 1
    assert max(steps) == (7 if motion == 1.0 else 1)


def test_a_drawn_pair_is_one_window_of_two_views(views: np.ndarray) -> None:
    fields = LightFields.mosaics([MOSAIC])
    _, first, second = fields.choose(np.random.default_rng(3), 1.0)
    pair = fields.draw(np.random.default_rng(3), 48, 1.0)
    assert pair.flow is None
    # 48 is the full height: the turned and mirrored window can be looked for along x alone
    for picture, place in ((pair.target, first), (pair.reference, second)):
        found = {
            (col, turns, mirrored)
            for col in range(WIDTH - 48 + 1)
            for turns in range(4)
            for mirrored in (False, True)
            if np.array_equal(
                np.rot90(rgb(views[place])[:, col : col + 48], turns)[:, :: -1 if mirrored else 1],
                picture,
            )
        }
        assert len(found) == 1
        if picture is pair.target:
            expected = found
    assert found == expected


def test_hdf5_has_several_scenes_and_keys(views: np.ndarray, tmp_path: Path) -> None:
    path = write_hdf5(views, tmp_path / "test.h5", scenes=3)
    fields = LightFields.hdf5(path)
    assert np.array_equal(fields.view(2, 7, 7), np.roll(rgb(views[7, 7]), 2, axis=1))
    small = LightFields.hdf5(path, key="img_LR_4")
    assert np.array_equal(small.view(0, 1, 2), rgb(views[1, 2])[::4, ::4])


class Drawing(Dataset[tuple[torch.Tensor, bool]]):
    """Targets, and whether the file they came from was opened by the process that read it."""

    def __init__(self, fields: LightFields) -> None:
        self.fields = fields

    def __getitem__(self, number: int) -> tuple[torch.Tensor, bool]:
        target = self.fields.draw(np.random.default_rng(number), 32, 1.0).target
        opened = self.fields.scenes[0]._file._opened
        return torch.from_numpy(target), opened[0] == os.getpid()

    def __len__(self) -> int:
        return 6


def test_workers_read_what_this_process_reads(views: np.ndarray, tmp_path: Path) -> None:
    fields = in_hdf5(views, tmp_path)
    fields.view(0, 0, 0)  # the file is open here before workers are made
    drawing = Drawing(fields)
    here, there = (list(DataLoader(drawing, num_workers=workers)) for workers in (0, 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(here, there, strict=True))
    assert all(own.all() for _, own in (*here, *there))
    again = pickle.loads(pickle.dumps(fields))
    assert np.array_equal(again.view(0, 4, 5), fields.view(0, 4, 5))


def test_memory_is_bounded(views: np.ndarray, tmp_path: Path) -> None:
    paths = [write_lenslet(views, tmp_path / f"{number}.png") for number in range(3)]
    fields = LightFields.lenslets(paths)
    small = LightFields(fields.scenes, most_bytes=2 * views.nbytes)
    for number in (0, 1, 2, 0):
        assert np.array_equal(small.view(number, 6, 1), rgb(views[6, 1]))
    assert sum(kept.nbytes for kept in small._recent._kept.values()) == 2 * views.nbytes


def test_what_cannot_be_read_is_named_in_one_line(
    views: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(said: str, make: Callable[[], object]) -> None:
        with pytest.raises(DataError, match=said) as error:
            make()
        assert "\n" not in str(error.value)

    path = write_hdf5(views, tmp_path / "train.h5")
    refused("0 views in .*expected files such as view_00_00.png", lambda: FolderScene(tmp_path))
    refused("0 views in", lambda: FolderScene(tmp_path / "nowhere"))
    refused("multiples of 14", lambda: LightFields.lenslets([MOSAIC]).view(0, 0, 0))
    refused("7 rows and 8", lambda: LightFields.mosaics([MOSAIC], rows=7).view(0, 0, 0))
    refused("no light field", lambda: LightFields.folders([]))
    refused("no HDF5", lambda: LightFields.hdf5(MOSAIC))
    refused("no 'img_SR'.*img_HR, img_LR_4", lambda: LightFields.hdf5(path, key="img_SR"))
    refused(r"\(3, 4\) float64.*expected N x rows", lambda: LightFields.hdf5(path, key="index"))
    refused("expected at least 96x96", lambda: in_mosaic(views, tmp_path).draw(rng(), 96, 1.0))

    real = builtins.__import__

    def without_h5py(name: str, *rest: Any, **named: Any) -> Any:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    refused(r"no h5py.*pip install 'crossnetpp-pipeline\[train\]'", lambda: LightFields.hdf5(path))


def rng() -> np.random.Generator:
    return np.random.default_rng(0)

"""Light fields in HDF5 and MATLAB files, written by other programs and by the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner

from crossnetpp.data.degradation import degrade
from crossnetpp.data.hdf5_views import open_hdf5
from crossnetpp.data.sample import DataError
from pipeline.cli.main import main
from pipeline.errors import InputError
from pipeline.lightfield.opening import open_light_field
from pipeline.schema.settings import GridSettings
from pipeline.tools.convert import convert_light_field
from tests.support import scenes
from tests.support.scenes import read_views


def views(rows: int = 2, cols: int = 3, *, small: bool = False) -> np.ndarray:
    """Return real views, rows x columns x H x W x 3."""

    def view(row: int, col: int) -> np.ndarray:
        return degrade(scenes.flowers(row, col), 2) if small else scenes.flowers(row, col)

    return np.stack([[view(row, col) for col in range(cols)] for row in range(rows)])


def assert_views(path: Path, expected: np.ndarray) -> None:
    found = read_views(path)
    assert len(found) == expected.shape[0] * expected.shape[1]
    for (row, col, _), view in found.items():
        np.testing.assert_array_equal(view, expected[row, col])


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_files_before_7_3_are_read(tmp_path: Path, compressed: bool) -> None:
    # LFToolbox's fourth channel is a weight
    weighted = np.concatenate([views(), np.full((2, 3, 48, 64, 1), 255, np.uint8)], axis=-1)
    scipy.io.savemat(
        tmp_path / "a__Decoded.mat", {"x": 1, "LF": weighted}, do_compression=compressed
    )
    assert_views(tmp_path / "a__Decoded.mat", views())


def test_numbers_from_0_to_1_become_16_bits(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "old.mat", {"LF": views() / 255})
    with h5py.File(tmp_path / "new.mat", "w") as file:
        file["LF"] = (views() / 255).transpose(4, 3, 2, 1, 0)
    for name in ("old.mat", "new.mat"):
        assert_views(tmp_path / name, views().astype(np.uint16) * 257)
    scipy.io.savemat(tmp_path / "large.mat", {"LF": views().astype(float)})
    with pytest.raises(InputError, match=r"'LF' in .* has values from 0 to 255"):
        open_light_field(tmp_path / "large.mat")


def test_a_matlab_file_comes_back_as_one(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "lf.mat", {"LF": views(small=True)})
    picture = scenes.save_picture(tmp_path / "hr.png", scenes.flowers(1, 2))
    arguments = ["run", str(tmp_path / "lf.mat"), "--ref-stream", str(picture), "--ref-view", "1,2"]
    result = CliRunner().invoke(main, [*arguments, "--engine", "bicubic", "-q"])
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "lf_x2.mat") as file:
        assert file["LF"].attrs["MATLAB_class"] == b"uint8"
        # MATLAB shows the axes in reverse: rows, columns, height, width, colour
        stored = file["LF"][()].transpose()
    assert stored.shape == (2, 3, 48, 64, 3)
    np.testing.assert_array_equal(stored[1, 2], scenes.flowers(1, 2))
    head = (tmp_path / "lf_x2.mat").read_bytes()[:128]
    assert head.startswith(b"MATLAB 7.3 MAT-file")
    assert head[124:] == b"\x00\x02IM"
    (tmp_path / "lf_x2.lightfield.json").unlink()  # reading needs no sidecar
    assert_views(tmp_path / "lf_x2.mat", stored)


@pytest.mark.parametrize("name", ["a.h5", "a.mat", "a.hdf5"])
def test_moments_go_into_every_kind_of_file_and_back(tmp_path: Path, name: str) -> None:
    for moment in range(2):
        scenes.write_folder(tmp_path / "lf" / f"frame_{moment:04}", 2, 2)
        name_of = f"lf/frame_{moment:04}/view_00_01.png"
        scenes.save_picture(tmp_path / name_of, scenes.flowers(5, moment))
    convert_light_field(str(tmp_path / "lf"), tmp_path / name, "h5")
    first = read_views(tmp_path / "lf")
    if name != "a.hdf5":
        (tmp_path / "a.lightfield.json").unlink()
    second = read_views(tmp_path / name)
    assert first.keys() == second.keys()
    for place in first:
        np.testing.assert_array_equal(first[place], second[place])


def test_one_crossnet_data_set_is_the_reference_of_another_in_the_same_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "test_x2.h5", "w") as file:
        file["img_HR"] = views().transpose(0, 1, 4, 2, 3)[None]
        file["img_LR_2"] = views(small=True).transpose(0, 1, 4, 2, 3)[None]
    source = str(tmp_path / "test_x2.h5")
    arguments = [
        "run",
        source,
        "--dataset",
        "img_LR_2",
        "--ref-stream",
        source,
        "--ref-view",
        "0,0",
    ]
    result = CliRunner().invoke(main, [*arguments, "--engine", "bicubic", "-q"])
    assert result.exit_code == 0, result.output
    with h5py.File(tmp_path / "test_x2_x2.h5") as file:
        stored = file["img_LR_2"][()]
    assert stored.shape == (1, 2, 3, 3, 48, 64)
    np.testing.assert_array_equal(stored[0, 0, 0].transpose(1, 2, 0), scenes.flowers(0, 0))
    assert not np.array_equal(stored[0, 1, 2].transpose(1, 2, 0), scenes.flowers(1, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MATLAB 5.0 MAT-file" + bytes(200), r"MATLAB file .*a\.mat"),
        (b"no such thing", r"found .*a\.mat"),
        (b"", r"found .*a\.mat"),
    ],
)
def test_damaged_files_are_refused_in_one_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_light_field(tmp_path / "a.mat")
    assert "\n" not in str(caught.value)


def test_without_h5py_an_output_that_needs_it_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = scenes.write_folder(tmp_path / "lf", 2, 2)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        InputError, match=r"h5py is not installed, but .*out.h5 needs it; try pip install 'h5py"
    ):
        convert_light_field(str(folder), tmp_path / "out.h5", "h5")
    assert not (tmp_path / "out.h5").exists()


SECRET = bytes(range(1, 250)) * 100
SHAPE = (1, 2, 2, 3, 16, 16)


def add_external_storage(file: h5py.File, secret: Path) -> None:
    storage = [(str(secret), 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("img_HR", SHAPE, np.uint8, external=storage)


def add_external_link(file: h5py.File, secret: Path) -> None:
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["hidden"] = np.ones(SHAPE, np.uint8)
    file["img_HR"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/hidden")


def add_link_through_group(file: h5py.File, secret: Path) -> None:
    add_external_link(file, secret)
    del file["img_HR"]
    file["group"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/")
    file["img_HR"] = h5py.SoftLink("/group/hidden")


def add_virtual_data_set(file: h5py.File, secret: Path) -> None:
    add_external_link(file, secret)
    del file["img_HR"]
    layout = h5py.VirtualLayout(SHAPE, np.uint8)
    layout[...] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "hidden", SHAPE)
    file.create_virtual_dataset("img_HR", layout)


def add_empty_data_set(file: h5py.File, secret: Path) -> None:
    file["img_HR"] = h5py.Empty("u1")


ADDITIONS = (
    add_external_storage,
    add_empty_data_set,
    add_external_link,
    add_link_through_group,
    add_virtual_data_set,
)


@pytest.mark.parametrize("suffix", [".h5", ".mat"])
@pytest.mark.parametrize("add", ADDITIONS)
def test_data_in_other_files_are_refused(
    add: Callable[[h5py.File, Path], None], suffix: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    path = tmp_path / f"a{suffix}"
    with h5py.File(path, "w") as file:
        add(file, secret)

    with pytest.raises(InputError, match="only datasets that are stored in the file itself"):
        open_light_field(path)
    with pytest.raises(DataError, match="only datasets that are stored in the file itself"):
        open_hdf5(path, "img_HR")


def test_a_data_set_behind_a_linked_group_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        add_link_through_group(file, tmp_path / "secret")
    with pytest.raises(InputError, match="a link to other data"):
        open_light_field(path, GridSettings(dataset="group/hidden"))


@pytest.mark.parametrize("shape", [(1, 2, 2, 3, 90000, 90000), (1, 90000, 90000, 3, 8, 8)])
def test_a_header_that_claims_huge_views_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    # no byte of such a data set is in the file
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("img_HR", shape, np.float32)
    with pytest.raises(InputError, match="expected"):
        open_light_field(tmp_path / "a.h5")

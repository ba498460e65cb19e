"""Templates and file names from sidecars and plans write nothing outside the output."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.lightfield import names
from pipeline.lightfield.opening import open_light_field, require_light_field
from pipeline.lightfield.rig import add_positions
from pipeline.lightfield.targets import make_target_grid
from pipeline.schema.clip import View
from pipeline.schema.settings import GridSettings
from pipeline.tools.convert import convert_light_field
from tests.support import scenes


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """Return a mosaic of views with a sidecar."""
    folder = tmp_path / "views"
    scenes.write_folder(folder, rows=2, cols=2)
    convert_light_field(str(folder), tmp_path / "m.png", "mosaic")
    return tmp_path / "m.png"


def change_sidecar(mosaic: Path, **fields: object) -> None:
    file = mosaic.with_name("m.lightfield.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.mark.parametrize(
    "template",
    [
        "../../EVIL_{row:02}_{col:02}.png",
        "/tmp/EVIL_{row:02}_{col:02}.png",
        "{row:0999999999}_{col}.png",
        "{row.__class__.__mro__}_{col}",
        "{row}_{col}_{index",
    ],
)
def test_a_hostile_template_in_a_sidecar_is_refused(
    template: str, mosaic: Path, tmp_path: Path
) -> None:
    change_sidecar(mosaic, template=template)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="is not a readable sidecar"):
        convert_light_field(str(mosaic), tmp_path / "out", "folder")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"packed": [9**9, 9**9]},
        {"rows": 0},
        {"axes": "x" * 99},
        {"fps": "1e999999999"},  # takes hours to convert to a fraction
        {"fps": "1/0"},
        {"fps": "0"},
    ],
)
def test_impossible_sidecars_are_refused(fields: dict[str, object], mosaic: Path) -> None:
    change_sidecar(mosaic, **fields)
    with pytest.raises(InputError, match="is not a readable sidecar"):
        open_light_field(mosaic)


def test_what_is_wrong_with_a_sidecar_is_named_without_its_content(mosaic: Path) -> None:
    change_sidecar(mosaic, rows=0)
    with pytest.raises(InputError, match=r"sidecar \(rows: Input should be greater than"):
        open_light_field(mosaic)
    sidecar = mosaic.with_name(f"{mosaic.stem}.lightfield.json")
    sidecar.write_bytes(sidecar.read_text().encode("utf-16"))
    with pytest.raises(InputError, match=r"sidecar \(Invalid JSON: [^\[\n]*\); expected a file"):
        open_light_field(mosaic)


@pytest.mark.parametrize(
    "template",
    [
        "{row}{col}{index}{x}{y}*!",
        "*" * 60 + "{row}_{col}!",
        "{row}1{col}1{index}1{x}!",
        "a/{row}_{col}",
        "{row}_{col}{",
        "{row:33}_{col}",
        "{row}_{col}" + "a" * 300,
    ],
)
def test_other_templates_than_names_are_refused(template: str) -> None:
    with pytest.raises(InputError, match="expected"):
        names.compile_template(template)
    with pytest.raises(InputError, match="expected"):
        names.format_view_name(template, 1, 2, 3)


def test_the_message_states_which_characters_separate_fields() -> None:
    for template in ("{row}-{col}-{index}", "{row}.{col}1{index}", "{row}{col}*"):
        with pytest.raises(InputError, match=r"at most two fields or \* in a row without .* as _"):
            names.compile_template(template)
    for template in ("{row}{col}", "{row}-{col}_{index}", "{row}.{col}x*"):
        assert names.compile_template(template)
    with pytest.raises(InputError, match="expected a file name of at most 255 characters"):
        names.compile_template("{row}_{col}" + "a" * 300)


@pytest.mark.parametrize("template", ["{row}{col}!", "{y}{row}_*_{col}{x}!", "{row}*_{col}!"])
def test_matching_takes_no_time_for_any_name(template: str) -> None:
    start = time.process_time()
    assert names.match_names(template, ["1" * 250, "1_" * 120, "_1" * 120] * 5) == {}
    assert time.process_time() - start < 2


def test_names_are_formatted_with_bounded_widths() -> None:
    assert names.format_view_name("v{row:03}-{col}.png", 1, 2, 0) == "v001-2.png"
    assert names.format_view_name("c{index:2}.png", 1, 2, 7) == "c 7.png"


@pytest.mark.parametrize(
    "file", ["{folder}/../../EVIL.png", "/etc/EVIL.png", "{folder}/../views/.."]
)
def test_files_of_a_plan_outside_the_light_field_are_refused(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "views"
    scenes.write_folder(folder, rows=2, cols=2)
    clip = require_light_field(folder)
    hostile = clip.grid.views[0].model_copy(update={"files": (file.format(folder=folder),)})
    grid = clip.grid.model_copy(update={"views": (hostile, *clip.grid.views[1:])})
    with pytest.raises(InputError, match="is not inside"):
        make_target_grid(clip.model_copy(update={"grid": grid}), None, tmp_path / "out")


def test_far_apart_numbers_in_names_are_no_grid(tmp_path: Path) -> None:
    folder = tmp_path / "views"
    scenes.write_folder(folder, rows=2, cols=2)
    (folder / "view_01_01.png").rename(folder / "view_99999999_99999999.png")
    with pytest.raises(InputError, match="expected 1 to 100000 views"):
        open_light_field(folder, GridSettings(template="view_{row}_{col}"))


def test_a_quilt_of_no_views_is_refused(mosaic: Path) -> None:
    quilt = mosaic.rename(mosaic.with_name("a_qs0x0.png"))
    with pytest.raises(InputError, match="expected 1 to 100000 views"):
        open_light_field(quilt)


def make_sparse(file: Path) -> None:
    """Make a file of 1 TiB, which takes no room on the disk."""
    with file.open("wb") as stream:
        stream.truncate(1 << 40)


@pytest.mark.parametrize("name", ["lightfield.json", "models.json", "parameters.cfg"])
def test_a_file_beside_views_that_fills_the_memory_is_refused(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "views"
    scenes.write_folder(folder, rows=2, cols=2, name="input_Cam{index:03}.png")
    make_sparse(folder / name)
    with pytest.raises(InputError, match=f"in .*{name}|{name} is not a readable sidecar"):
        open_light_field(folder)


def test_poses_that_fill_the_memory_are_refused(tmp_path: Path) -> None:
    make_sparse(tmp_path / "poses_bounds.npy")
    with pytest.raises(InputError, match=r"no array of numbers in .*poses_bounds.npy"):
        add_positions(tmp_path, [View(row=0, col=0), View(row=0, col=1)])

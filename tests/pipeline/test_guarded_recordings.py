"""Light fields in the sandbox: the same views, and no pixel decoded by the run itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner

from crossnetpp.data.degradation import degrade
from pipeline import recording
from pipeline.cli.main import main
from pipeline.errors import InputError, MediaError, StageError
from pipeline.lightfield import hdf5
from pipeline.lightfield.opening import open_light_field
from pipeline.lightfield.reader import ViewReader
from pipeline.media.pictures import stills
from pipeline.media.read import decoder, probe
from pipeline.recording import find_light_field
from pipeline.tools.convert import convert_light_field
from tests.support import scenes
from tests.support.scenes import read_views

KINDS = ["folder", "sequence", "lenslet.png", "quilt.png", "h5.h5", "old.mat", "video"]


def light_field(tmp_path: Path, kind: str) -> Path:
    source = tmp_path / "source"
    for row in range(2):
        for col in range(2):
            name = f"view_{row:02}_{col:02}.png"
            for moment in range(2 if kind in ("sequence", "video") else 1):
                folder = source / f"frame_{moment}" if kind in ("sequence", "video") else source
                scenes.save_picture(folder / name, degrade(scenes.flowers(row + moment, col), 2))
    if kind in ("folder", "sequence"):
        return source
    if kind == "old.mat":
        views = read_views(source)
        stacked = np.stack([[views[row, col, 0] for col in range(2)] for row in range(2)])
        scipy.io.savemat(tmp_path / kind, {"LF": stacked})
    else:
        convert_light_field(str(source), tmp_path / kind, kind.split(".")[0])
    return tmp_path / kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_the_same_inside_and_outside(tmp_path: Path, kind: str) -> None:
    path = light_field(tmp_path, kind)
    inside = find_light_field(str(path), sandbox=True)
    outside = open_light_field(path)
    assert inside is not None
    assert outside is not None
    assert inside == outside.with_sandbox(True)
    readers = ViewReader(inside), ViewReader(outside)
    for number in (inside.grid.count - 1, 0):
        np.testing.assert_array_equal(*(one.get(number) for one in readers))
    for one in readers:
        one.close()


@pytest.mark.parametrize("kind", ["folder", "lenslet.png", "old.mat", "video"])
def test_a_run_with_the_sandbox_decodes_nothing_itself(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = light_field(tmp_path, kind)
    picture = scenes.save_picture(tmp_path / "hr" / "photo.png", scenes.flowers(0, 1))
    options = ["run", str(path), "--ref-stream", str(picture), "--ref-view", "0,1", "-q"]
    options += ["--engine", "bicubic", "--codec", "ffv1"]
    suffix = {"lenslet.png": ".png", "old.mat": ".mat"}.get(kind, "")
    plain = CliRunner().invoke(main, [*options, "-o", str(tmp_path / f"plain{suffix}")])
    assert plain.exit_code == 0, plain.output

    def of_the_input(given: object) -> bool:
        return str(given).startswith((str(path), str(tmp_path / "hr")))

    def forbid(module: object, name: str) -> None:
        original = getattr(module, name)

        def guarded_function(first: object, *args: object, **kwargs: object) -> object:
            assert not of_the_input(getattr(first, "path", first)), "decoded by the run itself"
            return original(first, *args, **kwargs)

        monkeypatch.setattr(module, name, guarded_function)

    forbid(stills, "load_picture")
    forbid(stills, "read_header")
    forbid(hdf5, "open_file")
    forbid(probe, "open_container")
    forbid(decoder, "open_input")
    guarded_run = [*options, "--sandbox", "on", "-o", str(tmp_path / f"safe{suffix}")]
    done = CliRunner().invoke(main, guarded_run)
    assert done.exit_code == 0, (done.output, done.exception)
    first, second = read_views(tmp_path / f"plain{suffix}"), read_views(tmp_path / f"safe{suffix}")
    assert first.keys() == second.keys()
    for place in first:
        np.testing.assert_array_equal(first[place], second[place])


def test_what_the_child_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(InputError, match=r"MATLAB file .* is damaged"):
        find_light_field(str(tmp_path / "a.mat"), sandbox=True)
    source = scenes.write_folder(tmp_path / "lf", 2, 2)
    clip = find_light_field(str(source), sandbox=True)
    assert clip is not None
    (source / "view_00_00.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    views = ViewReader(clip)
    with pytest.raises(StageError, match="cannot be decoded"):
        views.get(0)
    np.testing.assert_array_equal(views.get(1), scenes.flowers(0, 1))
    views.close()


def test_a_child_does_not_choose_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = scenes.write_folder(tmp_path / "lf", 2, 2)
    clip = open_light_field(source)
    assert clip is not None
    first = clip.grid.views[0].model_copy(update={"files": ("/etc/hostname",)})
    grid = clip.grid.model_copy(update={"views": (first, *clip.grid.views[1:])})
    wrong = clip.model_copy(update={"grid": grid}).model_dump(mode="json")
    monkeypatch.setattr(recording, "call_in_child", lambda *_: wrong)
    with pytest.raises(MediaError, match="refers to /etc/hostname, a file outside it"):
        find_light_field(str(source), sandbox=True)

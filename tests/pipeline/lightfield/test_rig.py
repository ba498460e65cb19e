"""Camera centres from the pose files of video arrays."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.errors import InputError
from pipeline.lightfield.opening import open_light_field
from pipeline.media.write.video import VideoWriter
from pipeline.schema.clip import View
from tests.support import scenes

# Camera number -> centre, in grid steps to the right and down; camera 4 is missing.
CAMERAS = {1: (0, 0), 2: (1, 0), 3: (2, 0), 5: (0.5, 1), 6: (1.5, 1)}

# The rotation of the whole rig, from world to camera, as a rotation vector.
ROTATION = np.array([0.3, -1.1, 0.7])


def write_videos(path: Path, name: str, numbers: tuple[int, ...] = tuple(CAMERAS)) -> Path:
    path.mkdir()
    for number in numbers:
        film = VideoWriter(path / name.format(number), lossless=True)
        film.write(scenes.flowers(0, number))
        film.close()
    return path


def to_world_position(x: float, y: float) -> np.ndarray:
    to_camera = cv2.Rodrigues(ROTATION)[0]
    return to_camera.T @ np.array([0.1 * x, 0.1 * y, 0.0]) + np.array([5.0, -3.0, 2.0])


def write_poses(path: Path) -> None:
    to_world = cv2.Rodrigues(ROTATION)[0].T
    right, down, forward = to_world.T
    rows = []
    for x, y in CAMERAS.values():
        pose = np.stack([down, right, -forward, to_world_position(x, y), [48, 64, 60]], axis=1)
        rows.append(np.concatenate([pose.ravel(), [1, 100]]))
    np.save(path / "poses_bounds.npy", np.stack(rows))


def write_models(path: Path, **changed: object) -> None:
    models = [
        {
            "name": f"camera_{number:04}",
            "position": to_world_position(x, y).tolist(),
            "orientation": ROTATION.tolist(),
            "projection_type": "perspective",
        }
        | changed
        for number, (x, y) in CAMERAS.items()
    ]
    (path / "models.json").write_text(json.dumps(models))


def open_views(path: Path) -> tuple[View, ...]:
    clip = open_light_field(path)
    assert clip is not None
    return clip.grid.views


@pytest.mark.parametrize("kind", ["poses_bounds.npy", "models.json"])
def test_centres_count_to_the_right_and_down_however_the_rig_is_turned(
    tmp_path: Path, kind: str
) -> None:
    name = "cam{:02}.mp4" if kind == "poses_bounds.npy" else "camera_{:04}.mp4"
    rig = write_videos(tmp_path / "rig", name)
    (write_poses if kind == "poses_bounds.npy" else write_models)(rig)
    views = open_views(rig)
    assert [view.col for view in views] == list(CAMERAS)
    # one grid step is the median distance between neighbours
    step = (views[1].x or 0) - (views[0].x or 0)
    for view, (x, y) in zip(views, CAMERAS.values(), strict=True):
        assert (view.x or 0) - (views[0].x or 0) == pytest.approx(x * step, abs=0.01)
        assert (view.y or 0) - (views[0].y or 0) == pytest.approx(y * step, abs=0.01)


def test_the_nearest_centre_is_chosen_and_not_the_nearest_number(tmp_path: Path) -> None:
    rig = write_videos(tmp_path / "rig", "cam{:02}.mp4")
    write_poses(rig)
    hr = write_videos(tmp_path / "hr", "cam{:02}.mp4", (1, 3))
    small = tmp_path / "small"
    small.mkdir()
    for file in rig.iterdir():
        if file.suffix == ".mp4":
            arguments = ["degrade", str(file), "--scale", "2", "-o", str(small / file.name)]
            assert CliRunner().invoke(main, arguments).exit_code == 0
    write_poses(small)
    planned = CliRunner().invoke(main, ["plan", str(small), "--ref-stream", str(hr), "--json"])
    assert planned.exit_code == 0, planned.output
    chosen = json.loads(planned.stdout)["reference_map"]
    served = {c["views"]["col"]: c["ref_pts"] for c in chosen}
    # camera 5 is below camera 1, although its number is nearer to 3
    assert served == {1: 0, 2: 0, 3: 1, 5: 0, 6: 1}


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("short", "17 numbers for each camera"),
        ("pickle", "no array of numbers"),
        ("models", "lacks the position of at least one camera"),
        ("no json", "no list of cameras"),
        ("deep", "no list of cameras"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, broken: str, complaint: str) -> None:
    rig = write_videos(tmp_path / "rig", "camera_{:04}.mp4")
    if broken == "short":
        np.save(rig / "poses_bounds.npy", np.zeros((4, 17)))
    elif broken == "pickle":
        np.save(rig / "poses_bounds.npy", np.array([{"a": 1}]), allow_pickle=True)
    elif broken == "models":
        write_models(rig, position=[1, 2])
    elif broken == "deep":
        (rig / "models.json").write_text("[" * 100_000)
    else:
        (rig / "models.json").write_text("{nothing")
    with pytest.raises(InputError, match=complaint):
        open_light_field(rig)

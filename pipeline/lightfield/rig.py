"""Read camera positions: LLFF's poses_bounds.npy, DeepView's models.json, and Stanford's names."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError, first_line
from pipeline.lightfield.names import LEAST_VIEWS, ViewName
from pipeline.paths import read_limited
from pipeline.schema.clip import View

_MOST_BYTES = 16_000_000  # limit on the size of models.json and of poses_bounds.npy


def _read_models(path: Path) -> list[dict[str, Any]]:
    """Return the cameras in DeepView's models.json; an empty list if `path` has no such file.

    Raises InputError if the file does not contain a list of cameras.
    """
    file = path / "models.json"
    if not file.is_file():
        return []
    try:
        models = json.loads(read_limited(file, _MOST_BYTES))
        return [dict(model) for model in models]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"found no list of cameras in {file} ({first_line(error)}); expected DeepView's "
            "models.json; correct the file, or move it out of the folder"
        ) from error


def refuse_fisheye(path: Path) -> None:
    """Raise InputError if the models.json of a camera array lists fisheye lenses."""
    fisheye = [m for m in _read_models(path) if m.get("projection_type") == "fisheye"]
    if fisheye:
        raise InputError(
            f"found {len(fisheye)} fisheye camera{'' if len(fisheye) == 1 else 's'} in "
            f"{path / 'models.json'}; expected undistorted views; undistort their pictures "
            "(cv2.fisheye.undistortImage with that file's focal_length and radial_distortion), and "
            "set projection_type to perspective"
        )


def add_positions(path: Path, views: Sequence[View]) -> tuple[View, ...]:
    """Return the views with their cameras' centres, in grid steps.

    The views are unchanged if there is no file of camera positions, or if the centres do not
    determine a step. poses_bounds.npy has a row of 17 numbers for each camera, in the order of the
    cameras' names: a 3 x 5 pose, whose fourth column is the centre, and two bounds (LLFF README).
    Raises InputError if the poses do not match the views.
    """
    found = _read_cameras(path, views)
    if found is None:
        return tuple(views)

    # a grid step is the median distance between a camera and its nearest neighbour
    flat = _project_to_plane(*found)
    distances = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    step = float(np.median(distances.min(axis=1)))
    if not np.isfinite(step) or step <= 0:
        return tuple(views)

    steps = (flat - flat[0]) / step
    first = views[0]
    return tuple(
        view.model_copy(
            update={"x": round(first.col + float(x), 3), "y": round(first.row + float(y), 3)}
        )
        for view, (x, y) in zip(views, steps, strict=True)
    )


def add_named_positions(
    views: Sequence[View], named: dict[str, ViewName], files: dict[str, Path]
) -> tuple[View, ...]:
    """Return the views with camera centres in grid steps, from the positions in their names.

    A straight line for each axis, fitted to the views' columns or rows, converts the positions in
    Stanford's names to grid steps. The views are unchanged if there are too few, if one has no
    position, or if all have the same row, column, x or y.
    """
    names_by_file = {str(files[stem]): name for stem, name in named.items()}
    found = [names_by_file[view.files[0]] for view in views]
    if len(views) < LEAST_VIEWS or any(n.x is None or n.y is None for n in found):
        return tuple(views)

    axes = []
    for steps, at in (
        ([v.col for v in views], [n.x for n in found]),
        ([v.row for v in views], [n.y for n in found]),
    ):
        if len(set(steps)) < 2 or len(set(at)) < 2:
            return tuple(views)
        slope, start = np.polyfit(np.asarray(at, float), np.asarray(steps, float), 1)
        axes.append([round(float(slope * value + start), 3) for value in np.asarray(at, float)])

    measured = []
    for view, x, y in zip(views, *axes, strict=True):
        measured.append(view.model_copy(update={"x": x, "y": y}))
    return tuple(measured)


def _read_cameras(
    path: Path, views: Sequence[View]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the centres (N x 3) and the right and down vectors (N x 2 x 3) of the N cameras.

    The result is None if the folder has neither poses_bounds.npy nor models.json. Raises InputError
    if the file that it has does not match the views.
    """
    bounds = path / "poses_bounds.npy"
    if bounds.is_file():
        poses = _read_poses(bounds, len(views))
        # LLFF's columns: down, right, backwards, centre
        return poses[:, :, 3], np.stack([poses[:, :, 1], poses[:, :, 0]], axis=1)

    models = {Path(str(m.get("name", ""))).stem: m for m in _read_models(path)}
    if not models:
        return None

    found = [models.get(Path(view.files[0]).stem) for view in views]
    try:
        centres = np.asarray([m["position"] for m in found if m is not None], np.float64)
        turns = [np.asarray(m.get("orientation", [0, 0, 0]), np.float64) for m in found if m]
        # the first two rows of the rotation from world to camera are the right and down vectors
        rows = [cv2.Rodrigues(turn.reshape(3, 1))[0][:2] for turn in turns]
        axes = np.asarray(rows, np.float64).reshape(len(views), 2, 3)
        return centres.reshape(len(views), 3), axes
    except (KeyError, ValueError, TypeError, cv2.error) as error:
        raise InputError(
            f"{path / 'models.json'} lacks the position of at least one camera; expected the name "
            "of each video, and the position and orientation of its camera (three numbers each); "
            "complete the file, or move it out of the folder"
        ) from error


def _read_poses(bounds: Path, count: int) -> NDArray[np.float64]:
    """Return LLFF's poses (`count` x 3 x 5). Raises InputError if the file has no such array."""
    try:
        poses = np.load(io.BytesIO(read_limited(bounds, _MOST_BYTES)), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(
            f"found no array of numbers in {bounds}; expected LLFF's poses; copy the file again, "
            "or move it out of the folder"
        ) from error

    if poses.ndim != 2 or poses.shape != (count, 17):
        raise InputError(
            f"{bounds} contains an array of shape {poses.shape}; expected {(count, 17)}, that is, "
            "17 numbers for each camera; add the missing videos, or move the file out of the folder"
        )
    return np.asarray(poses[:, :15], np.float64).reshape(-1, 3, 5)


def _project_to_plane(
    centres: NDArray[np.float64], axes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the coordinates (N x 2) of N centres along the cameras' mean right and down axes."""
    right, below = axes.mean(axis=0)
    right /= max(float(np.linalg.norm(right)), 1e-9)
    below -= (below @ right) * right
    below /= max(float(np.linalg.norm(below)), 1e-9)
    return np.asarray(centres @ np.stack([right, below], axis=1), np.float64)

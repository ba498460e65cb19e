"""Where the cameras of an array stand: LLFF's poses_bounds.npy and DeepView's models.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.schema import View


def _models(path: Path) -> list[dict[str, Any]]:
    file = path / "models.json"
    if not file.is_file():
        return []
    try:
        models = json.loads(file.read_text())
        return [dict(model) for model in models]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"found no list of cameras in {file} ({error}), expected DeepView's models.json; "
            "mend it, or move it away"
        ) from error


def refuse_fisheye(path: Path) -> None:
    """Raise InputError for an array whose models.json tells of fisheye lenses."""
    bent = [m for m in _models(path) if m.get("projection_type") == "fisheye"] if path else []
    if bent:
        raise InputError(
            f"found {len(bent)} fisheye cameras in {path / 'models.json'}, expected undistorted "
            "views; undistort them (cv2.fisheye.undistortImage with that file's focal_length and "
            "radial_distortion), and set projection_type to perspective"
        )


def positions_of(path: Path, views: Sequence[View]) -> tuple[View, ...]:
    """Add camera centres in grid steps where poses tell them; InputError where they do not fit.

    poses_bounds.npy has a row of 17 for each camera in the order of their names: a 3 x 5 pose, the
    fourth column of which is the centre, and the bounds (LLFF README).
    """
    centres = _centres(path, views)
    if centres is None:
        return tuple(views)
    flat = _in_plane(centres)
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    step = float(np.median(apart.min(axis=1)))
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


def _centres(path: Path, views: Sequence[View]) -> NDArray[np.float64] | None:
    bounds = path / "poses_bounds.npy"
    if bounds.is_file():
        poses = np.load(bounds, allow_pickle=False)
        if poses.ndim != 2 or poses.shape != (len(views), 17):
            raise InputError(
                f"found {bounds} of {poses.shape} for {len(views)} cameras, expected a row of 17 "
                "numbers for each; complete the videos or remove the file"
            )
        return np.asarray(poses[:, :15].reshape(-1, 3, 5)[:, :, 3], np.float64)
    models = {Path(str(m.get("name", ""))).stem: m for m in _models(path)}
    if not models:
        return None
    found = [models.get(Path(view.files[0]).stem) for view in views]
    try:
        return np.asarray([m["position"] for m in found if m is not None], np.float64).reshape(
            len(views), 3
        )
    except (KeyError, ValueError) as error:
        raise InputError(
            f"found no position of every camera in {path / 'models.json'}, expected a name and a "
            "position for each video; complete it, or move it away"
        ) from error


def _in_plane(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centres' coordinates along the two directions in which they spread most."""
    middle = centres - centres.mean(axis=0)
    _, _, axes = np.linalg.svd(middle, full_matrices=False)
    return np.asarray(middle @ axes[:2].T, np.float64)

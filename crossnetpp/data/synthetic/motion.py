"""Motion of planes in front of a moving camera, as homographies between instants.

Positions are in pixels relative to the centre of the picture. Every surface is a plane. The camera
turns and moves, and some surfaces also move on their own. Turns and shifts are linear in time, and
at time 0 every homography is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrices = NDArray[np.float64]

FOCAL_LENGTH = 1.2  # in widths of the picture
GENTLE_PIXELS = 16.0  # motion above which turning and zooming have their full range
LEAST_MOTION = 0.25  # in pixels
FAR_SHARE = 0.15  # share of the scenes that may move twice as far
STILL_CAMERA_SHARE = 0.15  # share of the scenes in which only surfaces move
OWN_MOTION_SHARE = 0.5  # share of the surfaces that move on their own


@dataclass(frozen=True)
class SceneMotion:
    """The motion of all surfaces of one scene, from the farthest to the nearest."""

    turns: NDArray[np.float64]
    """Rotation of the camera about x, y and z per unit of time, in radians."""
    shifts: NDArray[np.float64]
    """The camera's translation per unit of time, divided by each surface's distance, L x 3."""
    normals: NDArray[np.float64]
    """Normal of each plane, L x 3, with z = 1."""
    own: NDArray[np.float64]
    """Own motion of each surface: shift in x and y (pixels), turn (radians), zoom; L x 4."""
    size: int
    """Side of the picture in pixels."""

    def find_homographies(self, time: float) -> Matrices:
        """Return each surface's map from positions at time 0 to those at `time`, L x 3 x 3."""
        focal = np.diag((FOCAL_LENGTH * self.size, FOCAL_LENGTH * self.size, 1.0))
        turn = _make_rotation(time * self.turns)
        planes = turn + time * self.shifts[:, :, None] * self.normals[:, None, :]
        by_camera = focal @ planes @ np.linalg.inv(focal)
        homographies = np.stack([_make_similarity(time * own) for own in self.own]) @ by_camera
        return homographies / homographies[:, 2:, 2:]


def draw_motion(rng: np.random.Generator, layers: int, size: int, reach: float) -> SceneMotion:
    """Return the motion of a scene with `layers` surfaces, the first of which is the farthest.

    In a unit of time, the whole picture moves by up to about `reach` pixels, and the nearest
    surface moves by as much relative to the farthest; in some scenes, both move up to twice as far.
    The logarithm of the motion is distributed uniformly.
    """
    most = reach * (2 if rng.random() < FAR_SHARE else 1)
    pixels = float(np.exp(rng.uniform(np.log(LEAST_MOTION), np.log(most))))
    gentle = min(1.0, pixels / GENTLE_PIXELS)
    focal = FOCAL_LENGTH * size
    moves = 0.0 if layers > 1 and rng.random() < STILL_CAMERA_SHARE else 1.0

    turns = moves * np.append(rng.uniform(-1, 1, 2) * pixels / focal, rng.normal(0, 0.035) * gentle)
    nearness = np.sort(np.append(rng.uniform(0, 1, layers - 1), 1.0))
    camera = np.append(rng.uniform(-1, 1, 2) * pixels / focal, rng.normal(0, 0.05) * gentle)
    normals = np.column_stack((rng.normal(0, 0.35, (layers, 2)), np.ones(layers)))

    own = np.column_stack(
        (
            rng.normal(0, pixels / 2, (layers, 2)),
            rng.normal(0, 0.05, layers) * gentle,
            rng.normal(0, 0.04, layers) * gentle,
        )
    )
    own[rng.random(layers) > OWN_MOTION_SHARE] = 0
    own[0] = 0
    return SceneMotion(turns, moves * nearness[:, None] * camera, normals, own, size)


def _make_rotation(turns: NDArray[np.float64]) -> Matrices:
    """Return the rotation about x, then y, then z by `turns` (radians), 3 x 3."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(turns), np.cos(turns)
    about_x = np.array(((1, 0, 0), (0, cx, -sx), (0, sx, cx)))
    about_y = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    about_z = np.array(((cz, -sz, 0), (sz, cz, 0), (0, 0, 1)))
    return np.asarray(about_z @ about_y @ about_x)


def _make_similarity(own: NDArray[np.float64]) -> Matrices:
    """Return the similarity transform of a surface's own motion, 3 x 3."""
    x, y, turn, zoom = own
    cos = np.exp(zoom) * np.cos(turn)
    sin = np.exp(zoom) * np.sin(turn)
    return np.array(((cos, -sin, x), (sin, cos, y), (0, 0, 1)))

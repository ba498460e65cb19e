"""Compute maps between the pixel grids of the input, the reference and the network's frames."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.fit import Affine
from pipeline.pixels import Pixels
from pipeline.schema.clip import Recording

# Relative difference between display aspects above which plain scaling visibly distorts a
# reference.
LEAST_STRETCH = 0.03


def count_quarter_turns(lr: Recording, ref: Recording) -> int:
    """Return how many counter-clockwise quarter turns (0 to 3) align stored `ref` frames with `lr`.

    Frames are stored in the orientation of the sensor. A phone held upright adds a rotation flag,
    which players apply; the output keeps the input's stored orientation and its rotation flag.
    """
    return round((ref.rotation - lr.rotation) / 90) % 4


def swap_size(recording: Recording, turns: int) -> tuple[int, int]:
    """Return the height and width of a recording's frames after `turns` quarter turns."""
    height = recording.height
    width = recording.width
    return (width, height) if turns % 2 else (height, width)


def turn_picture(rgb: Pixels, turns: int) -> Pixels:
    """Return `rgb` (H x W x 3) rotated counter-clockwise by `turns` quarter turns."""
    if not turns:
        return rgb
    result: Pixels = np.ascontiguousarray(np.rot90(rgb, turns))  # type: ignore[assignment]
    return result


def has_same_aspect(lr: Recording, ref: Recording, turns: int) -> bool:
    """Return whether `ref`, rotated by `turns` quarter turns, has the same display aspect as `lr`.

    A relative difference below LEAST_STRETCH is ignored.
    """
    return (
        abs(_compute_display_aspect(ref, turns) / _compute_display_aspect(lr, 0) - 1)
        < LEAST_STRETCH
    )


def _compute_display_aspect(recording: Recording, turns: int) -> float:
    height, width = swap_size(recording, turns)
    stretch = float(recording.sample_aspect_ratio)
    return width / height * (1 / stretch if turns % 2 else stretch)


def adopt_pixel_aspect(lr: Recording, ref: Recording, turns: int) -> Fraction:
    """Return the pixel aspect ratio of a reference that consists of enlarged frames of the input.

    Picture files do not contain this ratio. If the reference has the proportions of the input's
    stored frames, its pixels have the input's aspect ratio. Otherwise, the program that enlarged
    the frames changed their proportions, and the reference's own ratio is returned.
    """
    height, width = swap_size(ref, turns)
    if abs(width / height / (lr.width / lr.height) - 1) >= LEAST_STRETCH:
        return ref.sample_aspect_ratio
    return 1 / lr.sample_aspect_ratio if turns % 2 else lr.sample_aspect_ratio


def make_scaling_map(size: tuple[int, int], ref_size: tuple[int, int]) -> Affine:
    """Return a map from frame pixels to reference pixels that only scales.

    `size` and `ref_size` are the heights and widths of the frames and of the reference.
    """
    down = ref_size[0] / size[0]
    across = ref_size[1] / size[1]
    return across, 0.0, 0.5 * across - 0.5, 0.0, down, 0.5 * down - 0.5


def make_inscribed_map(lr: Recording, ref: Recording, turns: int, size: tuple[int, int]) -> Affine:
    """Return the map from network pixels to the middle of the rotated reference.

    The map does not distort the picture. The input is assumed to show the largest part of the
    reference that has the input's display aspect: a 16:9 video is usually cropped from a 4:3
    sensor.
    """
    height, width = swap_size(ref, turns)
    ratio = _compute_display_aspect(ref, turns) / _compute_display_aspect(lr, 0)
    used = (height, width / ratio) if ratio > 1 else (height * ratio, width)
    across, _, x, _, down, y = make_scaling_map(size, (round(used[0]), round(used[1])))
    return across, 0.0, x + (width - used[1]) / 2, 0.0, down, y + (height - used[0]) / 2


def turn_map(affine: Affine, ref: Recording, turns: int) -> Affine:
    """Return a map to the stored pixels of `ref`.

    `affine` maps to the pixels of `ref` after `turns` counter-clockwise quarter turns.
    """
    height = ref.height
    width = ref.width
    backward = {
        0: [[1, 0, 0], [0, 1, 0]],
        1: [[0, -1, width - 1], [1, 0, 0]],
        2: [[-1, 0, width - 1], [0, -1, height - 1]],
        3: [[0, 1, 0], [-1, 0, height - 1]],
    }[turns]
    onto: NDArray[np.float64] = np.array([*np.reshape(affine, (2, 3)), [0, 0, 1]], np.float64)
    a, b, c, d, e, f = (float(v) for v in (np.array(backward, np.float64) @ onto).ravel())
    return a, b, c, d, e, f

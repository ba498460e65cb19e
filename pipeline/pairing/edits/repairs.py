"""Apply the edits of a key frame to the frames around it, on the LR grid.

The key frame is compared with the input's frame at the same instant, after that frame has been
graded like the key frame; any remaining difference is an edit. Both pictures are warped to another
frame by the flow between the two input frames, which no edit disturbs. Where the other frame shows
what the input showed at the key frame, or has the same fault at the same place in the picture (a
scratch, a speck on the lens), it should look like the key frame. Elsewhere, something moved, and
the frame stays unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import Pixels, to_8_bit

Planes = NDArray[np.float32]  # h x w x 3 in 8-bit levels
Plane = NDArray[np.float32]  # h x w
Flow = NDArray[np.float32]  # h x w x 2 LR pixels, channel 0 = x

_WINDOW = (7, 7)  # LR pixels over which energies are averaged
# Energy of an edit, in squared 8-bit levels, at which half of it is applied where the frames agree.
# A weaker edit may be an error of the grade, the kernel or the codec; H.264's errors are no larger.
_FLOOR = 6.0
_NOISE_SHARE = 2.5  # multiple of the noise's energy by which frames with independent noise differ
_DISAGREEMENT = 1.5  # weight of the energy by which frames disagree, relative to the edit's energy
# Disagreement, in squared 8-bit levels, beyond which two frames show different things. Even a
# strong edit is then not applied over whatever has moved in front of it.
_OTHER = 1200.0
_LEAST_SIDE = 12  # pixels; OpenCV finds no flow in smaller pictures
_FAULT = 10.0  # energy, in squared 8-bit levels, of an edit whose fault disturbs the flow
_REACH = 5.0  # LR pixels; standard deviation of the window from which flow at faults is filled in


@dataclass(frozen=True)
class EditedKey:
    """A key frame on the LR grid, and the input's frame at the same instant."""

    grey: NDArray[np.uint8]
    """The input's frame without the grade, for the flow."""
    graded: Planes
    """The input's frame with the grade of the key frame."""
    shown: Planes
    """The reduced key frame, or `graded` where the key frame shows nothing."""
    edit: Planes
    """`shown` minus `graded`; 0 where the key frame shows nothing."""
    energy: Plane
    """Mean square of the edit around each pixel."""
    noise: float
    """Median energy of the edit's finest detail, such as noise removed from the key frame."""


def compare_key(lr: Pixels, graded: Planes, shown: Planes, seen: Plane) -> EditedKey:
    """Compare a reduced key frame with the input's frame, and return it with its edit.

    `lr` is the input's frame at the same instant, `graded` is that frame with the key frame's
    grade, `shown` is the reduced key frame, and `seen` is the share (0..1) of each pixel that the
    key frame covers.
    """
    edit = (shown - graded) * seen[..., None]
    fine = edit - np.asarray(cv2.blur(edit, (5, 5)), np.float32)
    noise = float(np.median(_average(fine)[seen > 0.99])) if (seen > 0.99).any() else 0.0
    grey = np.asarray(cv2.cvtColor(to_8_bit(lr), cv2.COLOR_RGB2GRAY), np.uint8)
    return EditedKey(grey, graded, graded + edit, edit, _average(edit), noise)


@dataclass(frozen=True)
class Repair:
    """The repair of a frame by one key frame."""

    target: Planes
    """The key frame, warped to the frame."""
    share: Plane
    """The share (0..1) of `target` to apply to each pixel."""


def find_repair(grey: NDArray[np.uint8], graded: Planes, key: EditedKey) -> Repair:
    """Return the repair of a frame by an edited key frame.

    `grey` is the frame without the grade, and `graded` the frame with the key frame's grade.
    """
    flow = _estimate_flow(grey, key.grey)
    target = _warp(key.shown, flow)
    inside = _find_inside(flow)

    # first case: the edit belongs to the scene and moves with it
    moved = _average(graded - _warp(key.graded, flow))
    share = _weigh(_warp(key.energy, flow), moved, key.noise)

    # second case: the edit removed a fault that stays in place while the scene moves behind it
    behind = _warp(key.shown, _fill_flow(flow, key.energy))
    stay_share = _find_fault(graded, key, behind)
    is_behind = stay_share > share
    share = np.where(inside, np.maximum(share, stay_share), 0).astype(np.float32)
    return Repair(np.where(is_behind[..., None], behind, target), share)


def _find_fault(graded: Planes, key: EditedKey, behind: Planes) -> Plane:
    """Return the share (0..1) of a repair to apply where a frame has the fault that it removes.

    The fault is at the same place in the frame and in the input's frame at the key frame. An opaque
    fault looks the same in both frames; a transparent one changes both in the same way. Only pixels
    with a strong edit are compared, because the scene around them moves.
    """
    squared = np.mean(key.edit * key.edit, axis=2)
    faulty = np.asarray(squared / (squared + _FAULT), np.float32)

    def compare(difference: Planes) -> Plane:
        error = cv2.blur(faulty * np.mean(difference * difference, axis=2), _WINDOW)
        return np.asarray(error / (cv2.blur(faulty, _WINDOW) + 1e-6), np.float32)

    disagreement = np.minimum(compare(graded - key.graded), compare(graded + key.edit - behind))
    share = _weigh(np.asarray(squared, np.float32), disagreement, key.noise)
    return np.asarray(share * faulty, np.float32)


def _fill_flow(flow: Flow, energy: Plane) -> Flow:
    """Return a flow in which strong edits have the flow of their surroundings."""
    weight = 1 / (1 + energy / _FAULT)
    around = cv2.GaussianBlur(flow * weight[..., None], (0, 0), _REACH)
    total = cv2.GaussianBlur(weight, (0, 0), _REACH)[..., None]
    filled = weight[..., None] * flow + (1 - weight[..., None]) * around / np.maximum(total, 1e-6)
    return np.asarray(filled, np.float32)


def _weigh(edit: Plane, disagreement: Plane, noise: float) -> Plane:
    """Return the share (0..1) of an edit to apply at each pixel.

    `edit` and `disagreement` are energies, and `noise` is the energy of the key frame's noise.
    """
    beyond = np.maximum(disagreement - _NOISE_SHARE * noise, 0)
    strength = np.maximum(edit, 0)
    share = strength / (strength + _DISAGREEMENT * beyond + 1e-6)
    is_edit = strength**2 / (strength**2 + _FLOOR**2)
    return np.asarray(share * is_edit / (1 + (beyond / _OTHER) ** 2), np.float32)


def join_repairs(graded: Planes, repairs: list[Repair], weights: list[float]) -> Planes:
    """Return a graded frame with the repairs of several key frames.

    The weights, which sum to 1, depend on the distance in time. A key frame that agrees with the
    frame counts for more than one that does not.
    """
    total = np.full(graded.shape[:2], 1e-6, np.float32)
    change = np.zeros_like(graded)
    for repair, weight in zip(repairs, weights, strict=True):
        vote = weight * repair.share
        total += vote
        change += (vote * repair.share)[..., None] * (repair.target - graded)
    return graded + change / total[..., None]


def _average(difference: Planes) -> Plane:
    """Return the mean square of all channels in the window around each pixel."""
    squared = np.mean(difference * difference, axis=2)
    return np.asarray(cv2.blur(squared, _WINDOW), np.float32)


def _estimate_flow(target: NDArray[np.uint8], source: NDArray[np.uint8]) -> Flow:
    """Return the flow for which source(x + flow(x)) = target(x)."""
    if max(target.shape) < _LEAST_SIDE:
        return np.zeros((*target.shape, 2), np.float32)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    # OpenCV's type stubs wrongly require an initial flow
    return np.asarray(search.calc(target, source, None), np.float32)  # type: ignore[call-overload]


def _find_places(flow: Flow) -> tuple[Plane, Plane]:
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _find_inside(flow: Flow) -> NDArray[np.bool_]:
    """Return a mask of the pixels whose flow stays inside the picture."""
    height, width = flow.shape[:2]
    x, y = _find_places(flow)
    inside: NDArray[np.bool_] = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return inside


def _warp(picture: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Return picture(x + flow(x)), with the border replicated."""
    x, y = _find_places(flow)
    how = cv2.INTER_CUBIC if picture.ndim == 3 else cv2.INTER_LINEAR
    return np.asarray(cv2.remap(picture, x, y, how, borderMode=cv2.BORDER_REPLICATE), np.float32)

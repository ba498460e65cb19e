"""Carry what an edited key frame shows to the frames around it, on the LR grid.

The key frame is compared with the input's frame of its instant, which has its grade: what differs
was edited. Both are warped to another frame by the flow between the two frames of the input, which
no edit disturbs. Where the other frame shows what the input showed at the key frame, or has the
same fault at the same place of the picture (a scratch, a speck on the lens), the key frame is what
it should show. Elsewhere something moved, and the frame stays as it is.
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
# Squared 8-bit levels of an edit that is taken over by half where all agrees. A weaker one may as
# well be an error of the grade, the kernel or the codec: no more than this is left by H.264.
_FLOOR = 6.0
_NOISE_SHARE = 2.5  # of the noise's energy, by which frames with noise of their own differ
_DISAGREEMENT = 1.5  # weight of the energy by which frames disagree, against that of the edit
# Squared 8-bit levels by which frames that show different things disagree. However strong an edit
# is, something else that covers its place stays.
_OTHER = 1200.0
_LEAST_SIDE = 12  # pixels, below which OpenCV finds no flow
_FAULT = 10.0  # squared 8-bit levels of an edit that disturbs the flow
_REACH = 5.0  # LR pixels; standard deviation of the window that fills the flow


@dataclass(frozen=True)
class EditedKey:
    """A key frame on the LR grid, with the frame of the input at its instant."""

    grey: NDArray[np.uint8]
    """The frame of the input as it is, for the flow."""
    graded: Planes
    """The frame of the input with the grade of the key frame."""
    shown: Planes
    """The key frame, reduced."""
    edit: Planes
    """`shown` minus `graded`; 0 where the key frame shows nothing."""
    energy: Plane
    """Mean square of the edit around each pixel."""
    noise: float
    """Energy of the finest part of the edit in most of the picture, as denoising leaves it."""


def compare_key(lr: Pixels, graded: Planes, shown: Planes, seen: Plane) -> EditedKey:
    """Return a key frame with its edit.

    `lr` is the frame of the input at its instant, `graded` this frame with the grade, `shown` the
    reduced key frame, and `seen` its share (0..1) in each pixel.
    """
    edit = (shown - graded) * seen[..., None]
    fine = edit - np.asarray(cv2.blur(edit, (5, 5)), np.float32)
    noise = float(np.median(_average(fine)[seen > 0.99])) if (seen > 0.99).any() else 0.0
    grey = np.asarray(cv2.cvtColor(to_8_bit(lr), cv2.COLOR_RGB2GRAY), np.uint8)
    return EditedKey(grey, graded, graded + edit, edit, _average(edit), noise)


@dataclass(frozen=True)
class Repair:
    """What a key frame says about another frame."""

    target: Planes
    """The key frame, moved to the frame."""
    share: Plane
    """By how much it holds, 0..1."""


def find_repair(grey: NDArray[np.uint8], graded: Planes, key: EditedKey) -> Repair:
    """Return what an edited key frame says about a frame.

    `grey` is the frame as it is, and `graded` the frame with the key frame's grade.
    """
    flow = _estimate_flow(grey, key.grey)
    target = _warp(key.shown, flow)
    inside = _find_inside(flow)

    # the edit belongs to what the picture shows, and moves with it
    moved = _average(graded - _warp(key.graded, flow))
    share = _weigh(_warp(key.energy, flow), moved, key.noise)

    # the edit removed a fault that stays where it is, behind which the scene moves
    behind = _warp(key.shown, _fill_flow(flow, key.energy))
    stay_share = _find_fault(graded, key, behind)
    is_behind = stay_share > share
    share = np.where(inside, np.maximum(share, stay_share), 0).astype(np.float32)
    return Repair(np.where(is_behind[..., None], behind, target), share)


def _find_fault(graded: Planes, key: EditedKey, behind: Planes) -> Plane:
    """Return by which share a frame has the fault of a key frame at the same place.

    An opaque fault looks the same in both frames, and a transparent one changes both alike. Only
    pixels with a strong edit are compared, as the scene around them moves.
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
    """Return a flow that ends at strong edits, across which that of the surroundings goes on."""
    weight = 1 / (1 + energy / _FAULT)
    around = cv2.GaussianBlur(flow * weight[..., None], (0, 0), _REACH)
    total = cv2.GaussianBlur(weight, (0, 0), _REACH)[..., None]
    filled = weight[..., None] * flow + (1 - weight[..., None]) * around / np.maximum(total, 1e-6)
    return np.asarray(filled, np.float32)


def _weigh(edit: Plane, disagreement: Plane, noise: float) -> Plane:
    """Return the share of an edit by its energy and that by which two frames disagree."""
    beyond = np.maximum(disagreement - _NOISE_SHARE * noise, 0)
    strength = np.maximum(edit, 0)
    share = strength / (strength + _DISAGREEMENT * beyond + 1e-6)
    is_edit = strength**2 / (strength**2 + _FLOOR**2)
    return np.asarray(share * is_edit / (1 + (beyond / _OTHER) ** 2), np.float32)


def join_repairs(graded: Planes, repairs: list[Repair], weights: list[float]) -> Planes:
    """Return a frame with its grade and with what several key frames say about it.

    The weights, which sum to 1, are those by distance in time. A key frame that agrees counts for
    more than one that does not.
    """
    total = np.full(graded.shape[:2], 1e-6, np.float32)
    change = np.zeros_like(graded)
    for repair, weight in zip(repairs, weights, strict=True):
        vote = weight * repair.share
        total += vote
        change += (vote * repair.share)[..., None] * (repair.target - graded)
    return graded + change / total[..., None]


def _average(difference: Planes) -> Plane:
    """Return the mean square of the channels in the window around each pixel."""
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
    """Return the pixels whose flow stays inside the picture."""
    height, width = flow.shape[:2]
    x, y = _find_places(flow)
    inside: NDArray[np.bool_] = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return inside


def _warp(picture: NDArray[np.float32], flow: Flow) -> NDArray[np.float32]:
    """Return picture(x + flow(x)); the border repeats."""
    x, y = _find_places(flow)
    how = cv2.INTER_CUBIC if picture.ndim == 3 else cv2.INTER_LINEAR
    return np.asarray(cv2.remap(picture, x, y, how, borderMode=cv2.BORDER_REPLICATE), np.float32)

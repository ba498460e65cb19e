"""What a key frame repaired is carried to frames in which it moved, and to no others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.pairing.edits.repairs import compare_key, find_repair, join_repairs
from tests.support import DATA

Planes = NDArray[np.float32]
SIZE = (96, 160)  # rows and columns of LR frames
MOTION = (3, 5)  # rows and columns by which the scene moves
PLACE = (40, 70)  # row and column of what is repaired in the key frame
SIDE = 14
SEEN = np.ones(SIZE, np.float32)


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    picture = cv2.imread(str(DATA / "kodak_21.jpg"))
    return np.ascontiguousarray(cv2.resize(picture, (240, 160))[..., ::-1], np.uint8)


def cut(scene: NDArray[np.uint8], moved: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    top, left = 20 - moved[0], 30 - moved[1]
    return scene[top : top + SIZE[0], left : left + SIZE[1]].copy()


def paint(frame: NDArray[np.uint8], moved: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """Return a frame with a sign in it, which moves with the scene."""
    painted = frame.copy()
    row, column = PLACE[0] + moved[0], PLACE[1] + moved[1]
    painted[row : row + SIDE, column : column + SIDE] = 220, 210, 40
    painted[row + 4 : row + 8, column + 3 : column + 11] = 30, 30, 90
    return painted


def scratch(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame with a scratch that stays at its place."""
    worn = frame.copy()
    worn[:, 100:102] = 235
    return worn


def grey(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def floats(frame: NDArray[np.generic]) -> Planes:
    return frame.astype(np.float32)


def repair(
    frame: NDArray[np.uint8], lr: NDArray[np.uint8], key: NDArray[np.uint8]
) -> tuple[Planes, Planes]:
    """Return a frame as one key frame repairs it, and by which share."""
    edited = compare_key(lr, floats(lr), floats(key), SEEN)
    found = find_repair(grey(frame), floats(frame), edited)
    return join_repairs(floats(frame), [found], [1.0]), found.share


def measure(a: NDArray[np.generic], b: NDArray[np.generic]) -> float:
    inner = slice(8, -8)
    difference = floats(a)[inner, inner] - floats(b)[inner, inner]
    return float(np.sqrt(np.square(difference).mean()))


def test_an_object_that_moves_with_the_scene_is_painted_out(scene: NDArray[np.uint8]) -> None:
    recorded = paint(cut(scene, MOTION), MOTION)
    result, _ = repair(recorded, paint(cut(scene)), cut(scene))
    assert measure(recorded, cut(scene, MOTION)) > 8
    assert measure(result, cut(scene, MOTION)) < 2


def test_a_painted_object_moves_with_the_scene(scene: NDArray[np.uint8]) -> None:
    result, _ = repair(cut(scene, MOTION), cut(scene), paint(cut(scene)))
    truth = paint(cut(scene, MOTION), MOTION)
    assert measure(cut(scene, MOTION), truth) > 8
    assert measure(result, truth) < 2.5


def test_a_scratch_that_stays_is_removed(scene: NDArray[np.uint8]) -> None:
    recorded = scratch(cut(scene, MOTION))
    result, _ = repair(recorded, scratch(cut(scene)), cut(scene))
    assert measure(recorded, cut(scene, MOTION)) > 10
    assert measure(result, cut(scene, MOTION)) < 4


def test_noise_is_removed_where_the_scene_agrees(scene: NDArray[np.uint8]) -> None:
    random = np.random.default_rng(1)

    def shake(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        noisy = frame + random.normal(0, 8, frame.shape)
        return np.rint(noisy).clip(0, 255).astype(np.uint8)

    recorded = shake(cut(scene, MOTION))
    result, _ = repair(recorded, shake(cut(scene)), cut(scene))
    assert measure(recorded, cut(scene, MOTION)) > 7
    assert measure(result, cut(scene, MOTION)) < 4


def test_nothing_changes_without_an_edit(scene: NDArray[np.uint8]) -> None:
    result, share = repair(cut(scene, MOTION), cut(scene), cut(scene))
    assert np.array_equal(result, floats(cut(scene, MOTION)))
    assert share.max() == 0


def test_nothing_is_carried_to_another_scene(scene: NDArray[np.uint8]) -> None:
    other = np.ascontiguousarray(scene[20 : 20 + SIZE[0], 30 : 30 + SIZE[1]][::-1, ::-1])
    result, share = repair(other, paint(cut(scene)), cut(scene))
    assert share.mean() < 0.02
    assert measure(result, other) < 3


def test_what_covers_a_repaired_place_stays(scene: NDArray[np.uint8]) -> None:
    recorded = paint(cut(scene, MOTION), MOTION)
    row, column = PLACE[0] + MOTION[0], PLACE[1] + MOTION[1]
    hand = slice(row - 4, row + SIDE + 4), slice(column - 4, column + SIDE + 4)
    recorded[hand] = 190, 140, 120
    result, _ = repair(recorded, paint(cut(scene)), cut(scene))
    middle = slice(row + 2, row + SIDE - 2), slice(column + 2, column + SIDE - 2)
    assert np.abs(result[middle] - floats(recorded[middle])).mean() < 6


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (8, 300), (12, 12)])
def test_tiny_frames_are_no_error(scene: NDArray[np.uint8], size: tuple[int, int]) -> None:
    frame = np.asarray(cv2.resize(scene, size[::-1]), np.uint8)
    edited = compare_key(frame, floats(frame), floats(frame), np.ones(size, np.float32))
    found = find_repair(grey(frame), floats(frame), edited)
    assert np.array_equal(join_repairs(floats(frame), [found], [1.0]), floats(frame))


def test_flow_does_not_depend_on_the_number_of_threads(scene: NDArray[np.uint8]) -> None:
    before = cv2.getNumThreads()
    found = []
    try:
        for threads in (1, 2, 7):
            cv2.setNumThreads(threads)
            found.append(repair(paint(cut(scene, MOTION), MOTION), paint(cut(scene)), cut(scene)))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][0], found[2][0])

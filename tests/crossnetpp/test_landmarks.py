"""SIFT pairs of a photograph under a known warp and of real stereo; crops, padding, cache."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from crossnetpp import landmarks
from crossnetpp.data.sample import Pair, read_rgb, turn_pair
from crossnetpp.landmarks import MAX_RATIO, LandmarkCache, Landmarks, Matches, find_matches
from crossnetpp.losses import landmark_loss
from crossnetpp.networks.warp import warp
from tests.support import DATA

# Affine map from HR to REF: rotation, zoom and shift
MAP = np.array([[0.98, 0.05, 9.3], [-0.04, 1.03, -6.7]])


def load_photograph() -> np.ndarray:
    return read_rgb(DATA / "kodak_21.jpg")[180:420, 200:520]


def apply_map(p: np.ndarray) -> np.ndarray:
    return p @ MAP[:, :2].T + MAP[:, 2]


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """HR and a REF with REF(MAP(x)) = HR(x)."""
    target = load_photograph()
    size = (target.shape[1], target.shape[0])
    reference = cv2.warpAffine(
        target, MAP, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return target, reference


@pytest.fixture(scope="module")
def found(pair: tuple[np.ndarray, np.ndarray]) -> Matches:
    return find_matches(*pair)


def test_pairs_follow_the_known_warp(found: Matches) -> None:
    assert len(found) > 200
    error = found.q - apply_map(found.p)
    distance = np.hypot(*error.T)
    assert np.median(distance) < 0.12
    assert np.mean(distance < 1) > 0.97
    assert np.abs(np.median(error, axis=0)).max() < 0.02


def test_the_flow_that_aligns_the_reference_has_no_landmark_loss(
    pair: tuple[np.ndarray, np.ndarray], found: Matches
) -> None:
    height, width = pair[0].shape[:2]
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    flow = torch.from_numpy(apply_map(places) - places).permute(2, 0, 1)[None].float()
    target, reference = (torch.from_numpy(x).permute(2, 0, 1)[None] / 255 for x in pair)
    inside = (..., slice(30, -30), slice(30, -30))
    left = (warp(reference, flow) - target)[inside].square().mean()
    assert left < 0.02 * (reference - target)[inside].square().mean()

    near = np.hypot(*(found.q - apply_map(found.p)).T) < 1
    batch = default_collate([Matches(found.p[near], found.q[near]).pad(400)])
    # Zero flow costs half the squared motion, the opposite flow four times that
    still = float(landmark_loss(torch.zeros_like(flow), batch))
    assert still > 30
    assert float(landmark_loss(flow, batch)) < 0.03
    assert float(landmark_loss(-flow, batch)) == pytest.approx(4 * still, rel=0.02)


def test_pairs_of_real_stereo_agree_with_the_true_disparity() -> None:
    left, right = (read_rgb(DATA / f"stereo/motorcycle_{side}.png") for side in ("left", "right"))
    with np.load(DATA / "stereo/motorcycle_disp.npz") as file:
        disparity = file[file.files[0]].astype(np.float32)
    found = find_matches(left, right)
    x, y = found.p.round().astype(int).T
    known = np.isfinite(disparity[y, x])
    error = (found.q - found.p)[known] + np.stack((disparity[y, x], 0 * x), axis=1)[known]
    assert known.sum() > 50
    assert np.mean(np.hypot(*error.T) < 3) > 0.9


def test_pairs_are_those_of_opencv_s_brute_force_matcher(
    pair: tuple[np.ndarray, np.ndarray], found: Matches
) -> None:
    sift = cv2.SIFT.create(enable_precise_upscale=True)
    features = [sift.detectAndCompute(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), None) for x in pair]
    (points, a), (others, b) = features
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    back = {match.queryIdx: match.trainIdx for (match,) in matcher.knnMatch(b, a, k=1)}
    expected = {
        (*points[best.queryIdx].pt, *others[best.trainIdx].pt)
        for best, second in matcher.knnMatch(a, b, k=2)
        if best.distance < MAX_RATIO * second.distance and back[best.trainIdx] == best.queryIdx
    }
    got = {tuple(row) for row in np.hstack((found.p, found.q)).tolist()}
    assert got == {tuple(np.float32(row).tolist()) for row in expected}


def test_unrelated_pictures_have_hardly_any_pairs() -> None:
    flowers = read_rgb(DATA / "flowers_8x8.png")[:240, :320]
    assert len(find_matches(load_photograph(), flowers)) <= 2


def test_pictures_without_structure_have_no_pairs() -> None:
    flat = np.full((80, 90, 3), 128, np.uint8)
    for target, reference in ((flat, load_photograph()), (load_photograph(), flat), (flat, flat)):
        batch = find_matches(target, reference).pad(4)
        assert batch.p.shape == batch.q.shape == (4, 2)
        assert not batch.valid.any()


def test_a_crop_keeps_the_pairs_inside_both_pictures(found: Matches) -> None:
    cropped = found.crop(60, 90, 100, 120)
    low, high = np.array((90, 60)), np.array((209, 159))
    expected = [
        (p - low, q - low)
        for p, q in zip(found.p, found.q, strict=True)
        if all((low <= at).all() and (at <= high).all() for at in (p, q))
    ]
    assert 10 < len(cropped) < len(found)
    np.testing.assert_allclose(np.stack((cropped.p, cropped.q), axis=1), expected, atol=1e-4)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_pairs_turn_with_their_pictures(quarters: int, mirror: bool) -> None:
    target, reference = np.zeros((2, 5, 7, 3), np.uint8)
    target[1, 2] = 255
    reference[4, 6] = 255
    matches = Matches(*np.array([[[2, 1]], [[6, 4]]], np.float32))
    pictures = turn_pair(Pair(target, reference), quarters, mirror=mirror)
    moved = matches.turn(5, 7, quarters, mirror=mirror)
    for picture, places in ((pictures.target, moved.p), (pictures.reference, moved.q)):
        ((row, col, _),) = np.argwhere(picture)[:1]
        assert places.tolist() == [[col, row]]


def test_batches_have_a_fixed_count_and_mark_valid_pairs(found: Matches) -> None:
    few = Matches(found.p[:3], found.q[:3])
    batch = default_collate([found.pad(50), few.pad(50)])
    assert isinstance(batch, Landmarks)
    assert batch.p.shape == batch.q.shape == (2, 50, 2)
    assert batch.valid.sum(1).tolist() == [50, 3]
    np.testing.assert_array_equal(batch.q[1, :3], few.q)
    # More pairs than fit: an even selection from top to bottom
    chosen = batch.p[0].numpy()
    shares = (0, 0.25, 0.5, 0.75, 1)
    quartiles = (np.quantile(places[:, 1], shares) for places in (chosen, found.p))
    np.testing.assert_allclose(*quartiles, atol=5)
    assert {tuple(p) for p in chosen.tolist()} <= {tuple(p) for p in found.p.tolist()}


def test_pairs_are_found_once_for_the_same_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def find(target: np.ndarray, reference: np.ndarray) -> Matches:
        calls.append(1)
        return find_matches(target, reference)

    monkeypatch.setattr(landmarks, "find_matches", find)
    target = load_photograph()[:120, :160]
    flat = np.zeros((50, 60, 3), np.uint8)
    reference = np.roll(target, 3, axis=1)
    cache = LandmarkCache(tmp_path / "landmarks")
    first = cache.find_matches(target, reference)
    assert len(first) > 5
    # The key is the contents, not the array object
    assert cache.find_matches(target.copy(), np.ascontiguousarray(reference)) is first
    assert len(cache.find_matches(target, flat)) == 0
    assert len(cache.find_matches(target, flat)) == 0
    assert len(calls) == 2
    assert cache.find_matches(reference, target) is not first
    assert len(calls) == 3

    later = LandmarkCache(tmp_path / "landmarks")
    again = later.find_matches(target, reference)
    assert np.array_equal(again.p, first.p)
    assert np.array_equal(again.q, first.q)
    assert len(later.find_matches(target, flat)) == 0
    assert len(calls) == 3
    for file in (tmp_path / "landmarks").iterdir():
        file.write_bytes(b"")
    assert len(LandmarkCache(tmp_path / "landmarks").find_matches(target, reference)) == len(first)
    assert len(calls) == 4


def test_the_memory_cache_keeps_the_latest_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    nothing = np.zeros((0, 2), np.float32)
    monkeypatch.setattr(
        landmarks, "find_matches", lambda *_: calls.append(1) or Matches(nothing, nothing)
    )
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in range(3)]
    cache = LandmarkCache(capacity=2)
    for picture in (*pictures, *pictures[1:]):
        cache.find_matches(picture, picture)
    assert len(calls) == 3
    cache.find_matches(pictures[0], pictures[0])
    assert len(calls) == 4

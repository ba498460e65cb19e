"""Matching SIFT keypoints in HR and REF, for the landmark loss of CrossNet++.

A pair (p, q) means that HR at p shows the same point as REF at q, so the desired flow, in the
convention of `warp`, is V[p] = q - p. Points are (x, y) in pixels; pixel centres have whole-number
coordinates.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.uint8]  # uint8 H x W x 3 RGB
Points = NDArray[np.float32]  # K x 2, (x, y) pixels

# Limit of Lowe's ratio test: the distance to the best descriptor divided by the distance to the
# second best. At 0.6 on stereo with known disparity (Middlebury's motorcycle), 5 % of the pairs are
# off by more than 3 pixels and none by more than 45; at 0.7, some are off by hundreds of pixels.
# The published code uses 0.3, which keeps only a third as many pairs.
MAX_RATIO = 0.6
MAX_FEATURES = 4000  # keypoints per picture; only the strongest are used
PADDED_COUNT = 256  # pairs per sample after padding


class Landmarks(NamedTuple):
    """A sample's pairs, padded to M; after collation, the pairs of a batch of N samples."""

    p: Tensor
    """[N x] M x 2 points in HR."""
    q: Tensor
    """[N x] M x 2 points in REF."""
    valid: Tensor
    """[N x] M, False for padding."""


@dataclass(frozen=True)
class Matches:
    """K pairs of matching points in two pictures, sorted by their position in HR."""

    p: Points
    """K x 2 points in HR."""
    q: Points
    """K x 2 points in REF."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.p)

    def crop(self, row: int, col: int, height: int, width: int) -> Matches:
        """Return the pairs whose two points are both inside the window, in window coordinates."""
        origin = _make_point(col, row)
        last = _make_point(width - 1, height - 1)
        p = self.p - origin
        q = self.q - origin
        inside = np.all((p >= 0) & (p <= last) & (q >= 0) & (q <= last), axis=1)
        return Matches(p[inside], q[inside])

    def turn(self, height: int, width: int, quarters: int, *, mirror: bool) -> Matches:
        """Return the pairs in the coordinates of the pictures rotated by `data.sample.turn_pair`.

        `height` and `width` are the pictures' size before rotation.
        """
        p = self.p
        q = self.q
        for _ in range(quarters % 4):
            # Anticlockwise: the right side becomes the top
            p, q = (np.stack((at[:, 1], width - 1 - at[:, 0]), axis=1) for at in (p, q))
            height, width = width, height
        if mirror:
            p, q = (at * _make_point(-1, 1) + _make_point(width - 1, 0) for at in (p, q))
        return Matches(p, q)

    def pad(self, count: int = PADDED_COUNT) -> Landmarks:
        """Return exactly `count` pairs, evenly selected or padded as necessary."""
        chosen = np.arange(len(self))
        if len(self) > count:
            chosen = np.linspace(0, len(self) - 1, count).round().astype(int)

        points = np.zeros((2, count, 2), np.float32)
        points[0, : len(chosen)] = self.p[chosen]
        points[1, : len(chosen)] = self.q[chosen]
        p, q = torch.from_numpy(points)
        return Landmarks(p, q, torch.arange(count) < len(chosen))


NO_MATCHES = Matches(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))


def _make_point(x: float, y: float) -> Points:
    return np.array((x, y), dtype=np.float32)


def find_matches(target: Picture, reference: Picture, ratio: float = MAX_RATIO) -> Matches:
    """Return the pairs of keypoints that are each other's best match and pass the ratio test."""
    p, target_descriptors = _detect_features(target)
    q, reference_descriptors = _detect_features(reference)
    if len(target_descriptors) < 1 or len(reference_descriptors) < 2:
        return Matches(p[:0], q[:0])

    # SIFT descriptors are whole numbers, so these sums are exact in float32
    lengths = np.square(target_descriptors).sum(1)[:, None]
    distances = lengths + np.square(reference_descriptors).sum(1)
    distances = distances - 2 * (target_descriptors @ reference_descriptors.T)

    nearest = distances.argmin(1)
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    mutual = distances.argmin(0)[nearest] == np.arange(len(target_descriptors))
    chosen = np.flatnonzero(mutual & (first < ratio**2 * second))
    chosen = chosen[np.lexsort(p[chosen].T)]
    return Matches(p[chosen], q[nearest[chosen]])


def _detect_features(image: Picture) -> tuple[Points, NDArray[np.float32]]:
    """Return keypoints (K x 2) and SIFT descriptors (K x 128)."""
    # Without precise upscaling, every keypoint is off by a quarter of a pixel
    sift = cv2.SIFT.create(nfeatures=MAX_FEATURES, enable_precise_upscale=True)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = sift.detectAndCompute(grey, None)

    points = np.array([keypoint.pt for keypoint in keypoints], dtype=np.float32).reshape(-1, 2)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    return points, np.asarray(descriptors, dtype=np.float32)


class LandmarkCache:
    """Cache of SIFT pairs, keyed by the content of the two pictures.

    The newest `capacity` entries stay in memory. If `folder` is set, all entries are also stored
    there for other processes and later runs.
    """

    def __init__(self, folder: Path | None = None, capacity: int = 4096) -> None:
        self._folder = folder
        self._capacity = capacity
        self._entries: dict[str, Matches] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def find_matches(self, target: Picture, reference: Picture) -> Matches:
        """Return `find_matches(target, reference)`, from the cache if possible."""
        key = _hash_pictures(target, reference)
        if key in self._entries:
            return self._entries[key]

        matches = self._load(key)
        if matches is None:
            matches = find_matches(target, reference)
            self._store(key, matches)
        if len(self._entries) >= self._capacity:
            self._entries.pop(next(iter(self._entries)))
        self._entries[key] = matches
        return matches

    def _load(self, key: str) -> Matches | None:
        """Return the entry in the folder, or None if it is missing or damaged."""
        if self._folder is None:
            return None
        try:
            points = np.load(self._folder / f"{key}.npy", allow_pickle=False)
            return Matches(*points.astype(np.float32).reshape(2, -1, 2))
        except (FileNotFoundError, EOFError, ValueError):
            return None

    def _store(self, key: str, matches: Matches) -> None:
        if self._folder is None:
            return
        # Two processes may compute the same entry at once, so each writes and renames its own file
        unfinished = self._folder / f".{key}.{os.getpid()}.npy"
        np.save(unfinished, np.stack((matches.p, matches.q)))
        unfinished.replace(self._folder / f"{key}.npy")


def _hash_pictures(*pictures: Picture) -> str:
    """Return a hash of the pictures and of the settings that affect which pairs are found."""
    digest = hashlib.blake2b(f"{MAX_RATIO} {MAX_FEATURES}".encode(), digest_size=16)
    for picture in pictures:
        digest.update(str(picture.shape).encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()

"""SIFT pairs between HR and REF for the landmark loss (notes 3.4.2), found once for a pair.

A pair (p, q) says that HR at p shows what REF shows at q, so the flow wanted is V[p] = q - p, the
one that `warp` takes. Places are (x, y) in pixels, centres of pixels at whole numbers.
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

Picture = NDArray[np.uint8]
"""uint8 H x W x 3 RGB."""
Points = NDArray[np.float32]
"""K x 2, (x, y) pixels."""

RATIO = 0.6
"""Distance of the best descriptor over that of the second best, at most.

On stereo of known disparity (Middlebury's motorcycle) 5 % of the pairs are then more than 3 pixels
off and none more than 45; with 0.7 some are off by hundreds. The published code takes 0.3, which
keeps a third as many.
"""
FEATURES = 4000
"""Of each picture, the strongest."""
COUNT = 256
"""Pairs that a sample is padded to."""


class Landmarks(NamedTuple):
    """Pairs of a sample or, collated, of a batch; those that fill up are not valid."""

    p: Tensor
    """[N x] M x 2 places in HR."""
    q: Tensor
    """[N x] M x 2 places in REF."""
    valid: Tensor
    """[N x] M, bool."""


@dataclass(frozen=True)
class Matches:
    """The pairs of two pictures, K of them, sorted by where they are in HR."""

    p: Points
    """In HR."""
    q: Points
    """In REF."""

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.p)

    def window(self, row: int, col: int, height: int, width: int) -> Matches:
        """Return the pairs that lie in one window of both pictures, in pixels of the window."""
        origin, last = _place(col, row), _place(width - 1, height - 1)
        p, q = self.p - origin, self.q - origin
        inside = np.all((p >= 0) & (p <= last) & (q >= 0) & (q <= last), axis=1)
        return Matches(p[inside], q[inside])

    def turned(self, height: int, width: int, quarters: int, *, mirror: bool) -> Matches:
        """Return the pairs of two `height` x `width` pictures after `data.sample.turn`."""
        p, q = self.p, self.q
        for _ in range(quarters % 4):
            # anticlockwise: what was right is up
            p, q = (np.stack((at[:, 1], width - 1 - at[:, 0]), axis=1) for at in (p, q))
            height, width = width, height
        if mirror:
            p, q = (at * _place(-1, 1) + _place(width - 1, 0) for at in (p, q))
        return Matches(p, q)

    def padded(self, count: int = COUNT) -> Landmarks:
        """Return `count` places: of more pairs an even choice, of fewer all and the rest zero."""
        chosen = np.arange(len(self))
        if len(self) > count:
            chosen = np.linspace(0, len(self) - 1, count).round().astype(int)
        places = np.zeros((2, count, 2), np.float32)
        places[:, : len(chosen)] = self.p[chosen], self.q[chosen]
        p, q = torch.from_numpy(places)
        return Landmarks(p, q, torch.arange(count) < len(chosen))


NO_MATCHES = Matches(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))


def _place(x: float, y: float) -> Points:
    return np.array((x, y), dtype=np.float32)


def find_matches(target: Picture, reference: Picture, ratio: float = RATIO) -> Matches:
    """Return the SIFT pairs that pass the ratio test and are each other's best, perhaps none."""
    (p, a), (q, b) = _features(target), _features(reference)
    if len(a) < 1 or len(b) < 2:
        return Matches(p[:0], q[:0])
    # entries of SIFT's descriptors are whole numbers: these sums are exact in float32
    apart = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * (a @ b.T)
    nearest = apart.argmin(1)
    first, second = np.partition(apart, 1, axis=1)[:, :2].T
    mutual = apart.argmin(0)[nearest] == np.arange(len(a))
    chosen = np.flatnonzero(mutual & (first < ratio**2 * second))
    chosen = chosen[np.lexsort(p[chosen].T)]
    return Matches(p[chosen], q[nearest[chosen]])


def _features(image: Picture) -> tuple[Points, NDArray[np.float32]]:
    """Return places (K x 2) and descriptors (K x 128)."""
    # without precise up-scaling every place is a quarter of a pixel off
    sift = cv2.SIFT.create(nfeatures=FEATURES, enable_precise_upscale=True)
    found, descriptors = sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
    places = np.array([point.pt for point in found], dtype=np.float32).reshape(-1, 2)
    if descriptors is None:
        descriptors = np.zeros((0, 128), np.float32)
    return places, np.asarray(descriptors, dtype=np.float32)


class LandmarkCache:
    """Find pairs once for every two pictures, whatever files or frames they come from.

    The last `most` are kept in memory and, if there is a `folder`, all of them there, for other
    processes and later runs.
    """

    def __init__(self, folder: Path | None = None, most: int = 4096) -> None:
        self._folder, self._most = folder, most
        self._kept: dict[str, Matches] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def matches(self, target: Picture, reference: Picture) -> Matches:
        """Return what find_matches finds in the two pictures."""
        key = _digest(target, reference)
        if key not in self._kept:
            matches = self._stored(key)
            if matches is None:
                matches = find_matches(target, reference)
                self._store(key, matches)
            if len(self._kept) >= self._most:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = matches
        return self._kept[key]

    def _stored(self, key: str) -> Matches | None:
        """Return what the folder holds; None for no file or a broken one."""
        if self._folder is None:
            return None
        try:
            places = np.load(self._folder / f"{key}.npy", allow_pickle=False)
            return Matches(*places.astype(np.float32).reshape(2, -1, 2))
        except (FileNotFoundError, EOFError, ValueError):
            return None

    def _store(self, key: str, matches: Matches) -> None:
        if self._folder is None:
            return
        # several processes may find the same at once: each writes its own, the last one stays
        unfinished = self._folder / f".{key}.{os.getpid()}.npy"
        np.save(unfinished, np.stack((matches.p, matches.q)))
        unfinished.replace(self._folder / f"{key}.npy")


def _digest(*pictures: Picture) -> str:
    """Return a hash of the pictures and of all that decides what is found in them."""
    digest = hashlib.blake2b(f"{RATIO} {FEATURES}".encode(), digest_size=16)
    for picture in pictures:
        digest.update(str(picture.shape).encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()

"""Resize frames between the network's grid and the size of the output."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.pairing.upsample import upsample
from pipeline.pixels import Pixels, as_pixels


def resize_plane(plane: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Return a plane (float32 h x w) at height x width, resized with a Lanczos kernel of radius 3.

    Pillow widens the kernel for reductions, which avoids aliasing. It sums in double precision and
    in a single thread, so that the result is bit-identical on every machine. A Lanczos kernel keeps
    more of the finest detail than a bicubic one.
    """
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.array(picture.resize((width, height), Image.Resampling.LANCZOS), np.float32)


def resize_picture(picture: Pixels, height: int, width: int) -> Pixels:
    """Return a picture (uint8 or uint16 h x w x 3), resized to height x width if necessary."""
    if picture.shape[:2] == (height, width):
        return picture
    top = float(np.iinfo(picture.dtype).max)
    made = np.empty((height, width, picture.shape[2]), picture.dtype)
    for channel in range(picture.shape[2]):
        plane = resize_plane(picture[..., channel].astype(np.float32), height, width)
        made[..., channel] = np.clip(np.rint(plane), 0, top)
    return as_pixels(made)


def fit_result(sr: Pixels, lr: Pixels, height: int, width: int) -> Pixels:
    """Return a result of the network (H x W x 3) at the output's height x width.

    Only its detail, `sr` minus the bicubic up-sampling of `lr` (h x w x 3), is resized and added to
    the bicubic up-sampling at the output's size. Where the network borrows nothing, the output is
    therefore exactly the same as without a reference.
    """
    if sr.shape[:2] == (height, width):
        return sr
    grid = upsample(lr, *sr.shape[:2])
    plain = upsample(lr, height, width)
    top = float(np.iinfo(sr.dtype).max)
    made = np.empty_like(plain)

    def add_detail(channel: int) -> None:
        detail = cv2.subtract(sr[..., channel], grid[..., channel], dtype=cv2.CV_32F)
        added = resize_plane(np.asarray(detail, np.float32), height, width)
        made[..., channel] = np.clip(np.rint(plain[..., channel] + added), 0, top)

    # Resize the channels in parallel: on one core, resizing a plane takes longer than a GPU needs
    # to enhance the frame.
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add_detail, range(3)))
    return made

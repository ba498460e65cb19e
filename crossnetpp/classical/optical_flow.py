"""Optical flow without training: OpenCV's dense inverse search (DIS; Kroeger et al. 2016)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # H x W x 3, RGB in 0..1
Flow = NDArray[np.float32]  # H x W x 2 pixels, channel 0 = x


def estimate_flow(target: Image, source: Image, finest: int = 1) -> Flow:
    """Return the flow (H x W x 2 pixels) such that source(x + flow(x)) = target(x).

    Both images are H x W x 3 in 0..1. The search goes from coarse to fine, up to 1/2^`finest` of
    their size.
    """
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(finest)
    # OpenCV's type stubs wrongly require an initial flow
    flow = search.calc(_to_grey(target), _to_grey(source), None)  # type: ignore[call-overload]
    return np.asarray(flow, np.float32)


def warp_image(image: Image, flow: Flow, interpolation: int = cv2.INTER_CUBIC) -> Image:
    """Return image(x + flow(x)), with coordinates clamped to the border."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source_x = x + flow[..., 0]
    source_y = y + flow[..., 1]
    warped = cv2.remap(image, source_x, source_y, interpolation, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.float32)


def _to_grey(image: Image) -> NDArray[np.uint8]:
    levels = np.asarray(np.rint(image.clip(0, 1) * 255), np.uint8)
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), np.uint8)

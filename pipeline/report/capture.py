"""Draw the downscaling kernel of a run for its report."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pairing.capture import join_capture
from pipeline.pixels import Picture
from pipeline.schema.capture import Capture

SIDE = 192  # width and height in CSS pixels, a multiple of a kernel's side at every scale
POSITIVE = np.array([20.0, 90.0, 200.0])
NEGATIVE = np.array([220.0, 110.0, 20.0])
FRAME = (90, 90, 90)


@dataclass(frozen=True)
class KernelFigure:
    """A picture of a kernel as a data URL, and sentences about it."""

    address: str
    side: int
    """Width and height in CSS pixels."""
    sentence: str


def draw_capture(capture: Capture | None) -> KernelFigure | None:
    """Return the figure of a plan's kernel, or None if the plan has no capture."""
    if capture is None:
        return None
    picture = draw_kernel(join_capture(capture))
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    assert done
    address = f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"
    return KernelFigure(address, SIDE, describe_capture(capture))


def draw_kernel(kernel: NDArray[np.float64]) -> Picture:
    """Return a kernel as a picture of SIDE x SIDE pixels, with a square for each weight.

    The side of the kernel is 4 times the network's scale.
    """
    strength = np.sqrt(np.abs(kernel) / np.abs(kernel).max())[..., None]
    colour = np.where(kernel[..., None] >= 0, POSITIVE, NEGATIVE)
    small = np.asarray(255 + strength * (colour - 255), np.uint8)

    step = SIDE // len(kernel)
    picture = np.ascontiguousarray(np.kron(small, np.ones((step, step, 1), np.uint8)))
    # the LR pixel covers the middle quarter of the kernel in each direction
    corner, end = SIDE * 3 // 8, SIDE * 5 // 8
    cv2.rectangle(picture, (corner, corner), (end - 1, end - 1), FRAME, 1)
    return picture


def describe_capture(capture: Capture) -> str:
    """Return sentences about a kernel, its fit and the colour conversion."""
    count = len(capture.pairs)
    frames = "1 frame" if count == 1 else f"{count} frames"
    origin = {
        "measured": f"The kernel was measured on {frames} that the reference shows as well.",
        "sensor": "The kernel was set to average pixels.",
        "file": "The kernel was read from a file.",
        "bicubic": "The bicubic kernel matches the input.",
    }[capture.source]
    right, down = capture.shift
    text = (
        f"{origin} It is {capture.width:.1f} LR pixels wide and shifted by ({right:.2f}, "
        f"{down:.2f}) pixels."
    )
    if capture.fits_db is not None and capture.bicubic_db is not None:
        text += (
            " The reference, downscaled with this kernel, matches the input with a PSNR of "
            f"{capture.fits_db:.1f} dB; with the bicubic kernel, the PSNR is "
            f"{capture.bicubic_db:.1f} dB."
        )
    if capture.colour is not None:
        text += " The reference's colours were converted to the input's."
    return text

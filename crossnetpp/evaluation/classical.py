"""Baseline without training: detail warped by DIS flow, blended in where both pictures agree.

The constants were tuned on the training split (clips crystal and elf, lytro_flowers, aloe). MIX_*
were also tuned on the clips bedroom and friday.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.evaluation.optical_flow import estimate_flow, warp_image
from crossnetpp.evaluation.scenes import Image
from crossnetpp.networks.resample import blur_like_lr, reduce_antialiased, upsample_bicubic
from crossnetpp.networks.taps import Taps

SIGMA = 5.0  # pixels; sigma of the Gaussian window over which agreement is averaged
TOLERANCE = 0.4  # ratio of error to local contrast at which half of the detail is borrowed
PLAIN_SIGMA = 3.0
PLAIN_TOLERANCE = 0.04
MIX_WINDOW = 9  # LR pixels over which the errors of several results are averaged
MIX_FLOOR = 0.002  # smaller errors are treated as noise


class Borrowed(NamedTuple):
    """The result and the warped reference, each H x W x 3, not clamped to 0..1."""

    sr: Image
    warped: Image


def enhance_classical(
    lr: Image,
    references: Sequence[Image],
    weights: NDArray[np.float32] | None = None,
    taps: Taps | None = None,
) -> Borrowed:
    """Return `lr` (h x w x 3) enlarged, with the detail of `references` (H x W x 3), all in 0..1.

    Each reference gives a separate result, and the results are averaged. A result has less weight
    where it differs from `lr` after reduction. `weights` are the prior weights of the references;
    None means 1. `taps` is the kernel that reduced HR to LR; None means antialiased bicubic
    reduction.
    """
    results = [_borrow(lr, reference, taps) for reference in references]
    if len(results) == 1:
        return results[0]

    scale = references[0].shape[0] // lr.shape[0]
    priors = np.ones(len(results), np.float32) if weights is None else weights
    shares = _share_by_lr(lr, [result.sr for result in results], priors, taps)
    large = [cv2.resize(share, None, fx=scale, fy=scale)[..., None] for share in shares]
    sr, warped = (
        np.sum([share * image for share, image in zip(large, images, strict=True)], axis=0)
        for images in zip(*results, strict=True)
    )
    return Borrowed(sr, warped)


def enhance_classical_plain(lr: Image, references: Sequence[Image]) -> Borrowed:
    """Return the result of the simplest variant of `enhance_classical`.

    It uses only the first reference and the bicubic kernel, blurs the reference before warping, and
    has the same tolerance for all contrasts.
    """
    reference = references[0]
    scale = reference.shape[0] // lr.shape[0]
    lr_up = _upsample(lr, scale)
    unsharp = _blur_like_lr(reference, scale, None)

    flow = estimate_flow(lr_up, unsharp)
    warped = warp_image(reference, flow)
    unsharp = warp_image(unsharp, flow)

    error = _local_mean_square(unsharp - lr_up, PLAIN_SIGMA)
    confidence = np.exp(-error / PLAIN_TOLERANCE**2)
    return Borrowed(lr_up + confidence[..., None] * (warped - unsharp), warped)


def _borrow(lr: Image, reference: Image, taps: Taps | None) -> Borrowed:
    """Return the result with one reference.

    The flow has two vectors per LR pixel along each axis. The warped reference is blurred on the LR
    pixel grid, so that it aliases like LR_up.
    """
    scale = reference.shape[0] // lr.shape[0]
    lr_up = _upsample(lr, scale)

    # Align
    blurred_reference = _blur_like_lr(reference, scale, taps)
    flow = estimate_flow(lr_up, blurred_reference, finest=scale.bit_length() - 2)
    warped = warp_image(reference, flow)
    unsharp = _blur_like_lr(warped, scale, taps)

    # Blend
    error = _local_mean_square(unsharp - lr_up, SIGMA)
    contrast = _local_mean_square(lr_up - _blur(lr_up, 1.5 * scale), SIGMA)
    # 1e-6 is the square of a quarter of an 8-bit level, below which differences are noise
    confidence = 1 / (1 + error / (TOLERANCE * contrast + 1e-6))
    return Borrowed(lr_up + confidence[..., None] * (warped - unsharp), warped)


def _share_by_lr(
    lr: Image, results: list[Image], priors: NDArray[np.float32], taps: Taps | None
) -> list[Image]:
    """Return the share of each result (h x w), larger where its reduction agrees better with `lr`.

    The shares sum to 1 at every pixel. `priors` are the prior weights of the results.
    """
    scale = results[0].shape[0] // lr.shape[0]
    weights = []
    for result, prior in zip(results, priors, strict=True):
        reduced = reduce_antialiased(_to_planes(result), scale, _to_tensor(taps))
        error = np.square(_to_image(reduced) - lr).mean(axis=2)
        around = np.asarray(cv2.blur(error, (MIX_WINDOW, MIX_WINDOW)), np.float32)
        weights.append(prior / (around + np.float32(MIX_FLOOR**2)))
    total = np.sum(weights, axis=0)
    return [np.asarray(weight / total, np.float32) for weight in weights]


def _upsample(lr: Image, scale: int) -> Image:
    return _to_image(upsample_bicubic(_to_planes(lr), scale))


def _blur_like_lr(image: Image, scale: int, taps: Taps | None) -> Image:
    return _to_image(blur_like_lr(_to_planes(image), scale, _to_tensor(taps)))


def _to_planes(image: Image) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


def _to_image(planes: Tensor) -> Image:
    return np.ascontiguousarray(planes[0].permute(1, 2, 0).numpy())


def _to_tensor(taps: Taps | None) -> Tensor | None:
    return None if taps is None else torch.from_numpy(taps)


def _blur(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _local_mean_square(difference: Image, sigma: float) -> Image:
    """Return the mean square over the channels and a Gaussian window around each pixel, H x W."""
    return _blur(np.square(difference).mean(axis=2), sigma)

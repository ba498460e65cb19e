"""The means of quality that every command reports, with one rounding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.schema.model import Model


class BicubicQuality(Model):
    """Means of plain up-sampling over the same frames as those of the result: PSNR in dB."""

    psnr: float
    ssim: float


def mean_psnr(values: Sequence[float]) -> float:
    """Return the mean PSNR in dB, rounded as everywhere."""
    return round(float(np.mean(values)), 4)


def mean_ssim(values: Sequence[float]) -> float:
    """Return the mean SSIM, rounded as everywhere."""
    return round(float(np.mean(values)), 5)


def mean_bicubic(qualities: Sequence[BicubicQuality | None]) -> BicubicQuality | None:
    """Return the means, or None if they lack a frame."""
    found = [each for each in qualities if each is not None]
    if not found or len(found) < len(qualities):
        return None
    return BicubicQuality(
        psnr=mean_psnr([each.psnr for each in found]), ssim=mean_ssim([each.ssim for each in found])
    )


def format_bicubic(quality: BicubicQuality) -> str:
    """Return the figures as they stand beside those of a result."""
    return f"PSNR {quality.psnr:.2f} dB   SSIM {quality.ssim:.4f}"

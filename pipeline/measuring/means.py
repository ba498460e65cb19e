"""The means of quality that every command reports, all rounded in the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.schema.model import Model


class BicubicQuality(Model):
    """The means of plain up-sampling (PSNR in dB), over the same frames as those of the result."""

    psnr: float
    ssim: float


def mean_psnr(values: Sequence[float]) -> float:
    """Return the mean PSNR in dB, rounded to 4 decimals."""
    return round(float(np.mean(values)), 4)


def mean_ssim(values: Sequence[float]) -> float:
    """Return the mean SSIM, rounded to 5 decimals."""
    return round(float(np.mean(values)), 5)


def mean_bicubic(qualities: Sequence[BicubicQuality | None]) -> BicubicQuality | None:
    """Return the means over all frames, or None if the quality of a frame is missing."""
    found = [each for each in qualities if each is not None]
    if not found or len(found) < len(qualities):
        return None
    return BicubicQuality(
        psnr=mean_psnr([each.psnr for each in found]), ssim=mean_ssim([each.ssim for each in found])
    )


def format_bicubic(quality: BicubicQuality) -> str:
    """Return the figures as text, to be shown beside those of a result."""
    return f"PSNR {quality.psnr:.2f} dB   SSIM {quality.ssim:.4f}"

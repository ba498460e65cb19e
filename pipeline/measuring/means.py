"""Average and round quality figures in the same way for all commands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.schema.model import Model


class BicubicQuality(Model):
    """The quality of bicubic up-sampling, of one frame or averaged over the frames of a result."""

    psnr: float
    """In dB."""
    ssim: float


def mean_psnr(values: Sequence[float]) -> float:
    """Return the mean PSNR in dB, rounded to 4 decimals."""
    return round(float(np.mean(values)), 4)


def mean_ssim(values: Sequence[float]) -> float:
    """Return the mean SSIM, rounded to 5 decimals."""
    return round(float(np.mean(values)), 5)


def mean_bicubic(qualities: Sequence[BicubicQuality | None]) -> BicubicQuality | None:
    """Return the means over all frames; None if there are no frames or if any quality is None."""
    found = [each for each in qualities if each is not None]
    if not found or len(found) < len(qualities):
        return None
    return BicubicQuality(
        psnr=mean_psnr([each.psnr for each in found]), ssim=mean_ssim([each.ssim for each in found])
    )


def format_bicubic(quality: BicubicQuality) -> str:
    """Return the figures as text, such as "PSNR 30.12 dB   SSIM 0.9123"."""
    return f"PSNR {quality.psnr:.2f} dB   SSIM {quality.ssim:.4f}"

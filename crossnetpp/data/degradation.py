"""Degradation of HR to LR, the same in training and in `pipeline degrade`.

`simulate_recording` also imitates a camera's blur, noise and JPEG compression.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Kernel = Literal["bicubic", "area"]
PixelType = TypeVar("PixelType", np.uint8, np.uint16)


def degrade_tensor(hr: Tensor, scale: int, kernel: Kernel = "bicubic") -> Tensor:
    """Return `hr` (N x C x H x W, with H and W multiples of `scale`) downscaled by `scale`.

    `bicubic` is antialiased (a = -0.5, support widened by `scale`); `area` averages each block of
    `scale` x `scale` pixels.
    """
    if kernel == "area":
        return F.avg_pool2d(hr, scale)
    size = (hr.shape[-2] // scale, hr.shape[-1] // scale)
    return F.interpolate(hr, size=size, mode="bicubic", align_corners=False, antialias=True)


def subsample_chroma(lr: Tensor) -> Tensor:
    """Return `lr` (N x 3 x h x w RGB in 0..1, h and w even) after 4:2:0 chroma subsampling.

    The differences between RGB and BT.601 luma are averaged over 2 x 2 pixels and upsampled
    bilinearly.
    """
    weights = lr.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    luma = (lr * weights).sum(1, keepdim=True)
    coarse = F.avg_pool2d(lr - luma, 2)
    return luma + F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)


def degrade(hr: NDArray[PixelType], scale: int, kernel: Kernel = "bicubic") -> NDArray[PixelType]:
    """Return `hr` (uint8 or uint16 H x W x 3) downscaled by `scale`, rounded and clamped.

    `hr` is first cropped at the bottom and right to multiples of `scale`.
    """
    lr = reduce_levels(hr.astype(np.float32), scale, kernel)
    return lr.round().clip(0, np.iinfo(hr.dtype).max).astype(hr.dtype)


def reduce_levels(hr: NDArray[np.float32], scale: int, kernel: Kernel) -> NDArray[np.float32]:
    """Return `hr` (H x W x 3) downscaled by `scale`, without rounding.

    `hr` is first cropped at the bottom and right to multiples of `scale`.
    """
    height = hr.shape[0] // scale * scale
    width = hr.shape[1] // scale * scale
    planes = torch.from_numpy(hr[:height, :width]).permute(2, 0, 1)[None]
    lr = degrade_tensor(planes, scale, kernel)[0].permute(1, 2, 0).numpy()
    return np.asarray(lr, dtype=np.float32)


@dataclass(frozen=True)
class CameraSettings:
    """Blur, noise and compression of a camera and its encoder."""

    blur: tuple[float, float]
    """Standard deviations of a Gaussian blur along and across `angle`, in LR pixels."""
    angle: float
    """Direction of the blur in radians."""
    kernel: Kernel
    read_noise: float
    """Standard deviation of the noise that does not depend on brightness; white is 1."""
    shot_noise: float
    """Standard deviation of the shot noise of a white pixel; it grows with the square root of
    brightness."""
    quality: int
    """JPEG quality, 1..100."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> CameraSettings:
        """Draw random settings, which range from a good camera to a phone in a dim room."""
        first = float(rng.uniform(0.1, 0.8))
        return cls(
            blur=(first, first * float(rng.uniform(0.4, 1.0))),
            angle=float(rng.uniform(0, np.pi)),
            kernel="bicubic" if rng.random() < 0.5 else "area",
            read_noise=float(rng.uniform(0, 0.012)),
            shot_noise=float(rng.uniform(0, 0.025)),
            quality=int(rng.integers(60, 97)),
        )


def make_gaussian_kernel(along: float, across: float, angle: float) -> NDArray[np.float32]:
    """Return an odd-sized Gaussian kernel that sums to 1.

    `along` and `across` are its standard deviations in pixels, and `angle` is the direction of
    `along` in radians.
    """
    radius = max(1, int(np.ceil(3 * max(along, across))))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float64)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    weights = np.exp(-((u / along) ** 2 + (v / across) ** 2) / 2)
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def add_noise(
    rng: np.random.Generator, image: NDArray[np.float32], read: float, shot: float
) -> NDArray[np.float32]:
    """Return `image` (0..1) with Gaussian noise of variance read^2 + shot^2 * image."""
    spread = np.sqrt(read**2 + shot**2 * image.clip(0, 1))
    noisy = image + spread * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(noisy, dtype=np.float32)


def compress_jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return `image` (uint8 h x w x 3 RGB) after JPEG compression with 4:2:0 chroma."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def simulate_recording(
    rng: np.random.Generator,
    hr: NDArray[np.uint8],
    scale: int,
    camera: CameraSettings | None = None,
) -> NDArray[np.uint8]:
    """Return `hr` (uint8 H x W x 3 RGB) as an LR camera would record it.

    Blur, reduction by `scale`, noise and JPEG compression are applied in this order. The settings
    are drawn from `rng` unless `camera` is set. The same state of `rng` gives the same bits.
    `crossnetpp.data.recorder` records whole clips with a video encoder.
    """
    settings = camera or CameraSettings.draw(rng)
    along, across = (deviation * scale for deviation in settings.blur)
    kernel = make_gaussian_kernel(along, across, settings.angle)
    blurred = cv2.filter2D(hr.astype(np.float32) / 255, -1, kernel)

    reduced = reduce_levels(np.asarray(blurred, np.float32), scale, settings.kernel)
    noisy = add_noise(rng, reduced, settings.read_noise, settings.shot_noise)
    lr = np.asarray((noisy * 255).round().clip(0, 255), dtype=np.uint8)
    return compress_jpeg(lr, settings.quality)

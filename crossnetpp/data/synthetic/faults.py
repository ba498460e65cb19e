"""Add faults to reference tensors: light, colour, blur, noise, JPEG, an occluder, another scene."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.data.synthetic.jpeg import compress_jpeg
from crossnetpp.data.synthetic.sampling import make_positions

LIGHT = 0.7  # largest logarithm of a change of exposure
COLOUR = 0.17  # largest logarithm of a channel's gain
GAMMA = 0.25  # largest logarithm of an exponent
MOST_BLUR = 3.0  # standard deviation in pixels
MOST_NOISE = 8.0  # standard deviation in 8-bit levels
KINDS = ("light", "colour", "blur", "noise", "jpeg", "occluder", "unrelated")


def relight(rng: np.random.Generator, images: list[Tensor], share: float) -> list[Tensor]:
    """Return `images` (each N x 3 x H x W) with a random `share` of the N scenes relit.

    All images of a scene are relit in the same way. This imitates dark and bright scenes, and
    coloured light.
    """
    count = len(images[0])
    gains = np.exp(rng.normal(0, 0.4, (count, 1)) + rng.normal(0, 0.1, (count, 3)))
    gains[rng.random(count) >= share] = 1
    return [(image * _per_scene(gains, image)).clamp(0, 1) for image in images]


def break_references(
    rng: np.random.Generator,
    random: torch.Generator,
    reference: Tensor,
    flow: Tensor,
    rate: float,
) -> tuple[Tensor, Tensor]:
    """Add faults to a share `rate` of the references; return the references and the flows to them.

    `reference` is N x 3 x H x W in 0..1, and `flow` N x 2 x H x W. The flow becomes NaN where a
    fault replaces the content to which it leads. The new content comes from the previous sample of
    the batch, so a batch of one gets no unrelated reference.
    """
    count = len(reference)
    kinds = rng.integers(len(KINDS), size=count)
    kinds[rng.random(count) >= rate] = -1

    def choose(kind: str) -> NDArray[np.bool_]:
        return np.asarray(kinds == KINDS.index(kind))

    other = reference.roll(1, 0)
    reference = _change_light(rng, reference, choose("light"), choose("colour"))
    reference = _blur(rng, reference, choose("blur"))
    reference = _add_noise(rng, random, reference, choose("noise"))
    reference = _compress(rng, reference, choose("jpeg"))
    reference, flow = _hide_part(rng, reference, flow, other, choose("occluder"))

    unrelated = _per_scene(choose("unrelated"), reference)
    if count > 1:
        reference = torch.where(unrelated, other, reference)
        flow = torch.where(unrelated, float("nan"), flow)
    return reference, flow


def _per_scene(values: NDArray[np.generic], like: Tensor) -> Tensor:
    """Return `values` (N or N x C) reshaped to broadcast over `like` (N x C x H x W)."""
    tensor = torch.from_numpy(values).to(like.device)
    if tensor.is_floating_point():
        tensor = tensor.to(like.dtype)
    return tensor.view(len(tensor), -1, 1, 1)


def _change_light(
    rng: np.random.Generator,
    reference: Tensor,
    light: NDArray[np.bool_],
    colour: NDArray[np.bool_],
) -> Tensor:
    count = len(reference)
    exposures = rng.uniform(-LIGHT, LIGHT, (count, 1)) * light[:, None]
    gains = np.exp(exposures + rng.uniform(-COLOUR, COLOUR, (count, 3)) * colour[:, None])
    gammas = np.exp(rng.uniform(-GAMMA, GAMMA, count) * light)
    bent = reference.clamp(min=1e-6).pow(_per_scene(gammas, reference))
    return (bent * _per_scene(gains, reference)).clamp(0, 1)


def _blur(rng: np.random.Generator, images: Tensor, chosen: NDArray[np.bool_]) -> Tensor:
    """Blur those of the N images for which `chosen` (N) is True by Gaussians of random width.

    All images are filtered in one operation, each with its own kernel.
    """
    count, channels, height, width = images.shape
    radius = round(2.5 * MOST_BLUR)
    deviations = np.where(chosen, rng.uniform(0.7, MOST_BLUR, count), 1e-3)
    distance = np.arange(-radius, radius + 1)
    kernels = np.exp(-((distance / deviations[:, None]) ** 2) / 2)
    kernels /= kernels.sum(axis=1, keepdims=True)
    taps = torch.from_numpy(kernels).to(images).repeat_interleave(channels, 0)

    planes = images.reshape(1, count * channels, height, width)
    planes = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
    planes = F.conv2d(planes, taps[:, None, None, :], groups=count * channels)
    planes = F.conv2d(planes, taps[:, None, :, None], groups=count * channels)
    return planes.reshape(images.shape)


def _add_noise(
    rng: np.random.Generator, random: torch.Generator, images: Tensor, chosen: NDArray[np.bool_]
) -> Tensor:
    levels = rng.uniform(1, MOST_NOISE, len(images)) / 255 * chosen
    noise = torch.randn(images.shape, generator=random, device=images.device)
    return (images + _per_scene(levels, images) * noise).clamp(0, 1)


def _compress(rng: np.random.Generator, images: Tensor, chosen: NDArray[np.bool_]) -> Tensor:
    if not chosen.any():
        return images
    qualities = torch.from_numpy(rng.uniform(30, 95, len(images))).to(images)
    return torch.where(_per_scene(chosen, images), compress_jpeg(images, qualities), images)


def _hide_part(
    rng: np.random.Generator,
    reference: Tensor,
    flow: Tensor,
    other: Tensor,
    chosen: NDArray[np.bool_],
) -> tuple[Tensor, Tensor]:
    """Hide a square of each reference in `chosen` (N) behind a square of `other`.

    Return the references, and the flows, which are NaN where they lead behind a square. A square is
    a sixth to a half as wide as a picture.
    """
    count, _, size, _ = reference.shape
    half = _per_scene(rng.uniform(size / 12, size / 4, count) * chosen, reference)
    middle = _per_scene(rng.uniform(-size / 4, size / 4, (count, 2)), reference)
    still = make_positions(size, reference.device)

    hidden = ((still - middle).abs() < half).all(1, keepdim=True)
    # Two pixels wider, because bicubic resampling mixes the two surfaces at the square's border
    wide = half + 2 * (half > 0)
    ends = torch.nan_to_num(still + flow, nan=float("inf"))
    lost = ((ends - middle).abs() < wide).all(1, keepdim=True)
    return torch.where(hidden, other, reference), torch.where(lost, float("nan"), flow)

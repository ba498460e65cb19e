"""Scenes of textured surfaces at different depths, seen at several instants, with their flow.

Each surface has a texture and a cover that show it at one instant. A view at another instant
samples both through a homography. The flow between two instants is therefore known in closed form,
even if the surfaces also bend in the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from crossnetpp.data.synthetic.sampling import make_positions, move_positions, sample_at

# A pixel whose cover is between CLEAR and OPAQUE mixes surfaces, and has no single true flow
OPAQUE = 0.98
CLEAR = 0.02


@dataclass(frozen=True)
class Surface:
    """One surface of each of N scenes."""

    texture: Tensor
    """N x 3 x T x T in 0..1."""
    cover: Tensor | None
    """N x 1 x T x T in 0..1; None for a surface that fills the picture."""
    to_texture: Tensor
    """Homography from positions at time 0 to positions in the texture, N x 3 x 3."""
    bending: Tensor
    """Bending in the target: added to positions before the homography, N x 2 x H x W pixels."""


class View(NamedTuple):
    """One picture of each of N scenes."""

    image: Tensor
    """N x 3 x H x W in 0..1."""
    front: Tensor
    """Number of the surface that each pixel shows, N x 1 x H x W; -1 where surfaces mix."""


def render_target(surfaces: list[Surface], shift: float, velocity: list[Tensor]) -> View:
    """Return the target at time `shift`, which is nonzero only for motion blur.

    `velocity` contains each surface's homographies (N x 3 x 3) from time 0 to the first reference,
    at time 1. The motion is assumed to be linear in time. The surfaces are ordered from the
    farthest to the nearest.
    """
    size = surfaces[0].bending.shape[-1]
    still = make_positions(size, surfaces[0].texture.device)
    positions = []
    for surface, ahead in zip(surfaces, velocity, strict=True):
        bent = still + surface.bending
        if shift:
            bent = bent - shift * (move_positions(ahead, bent) - bent)
        positions.append(move_positions(surface.to_texture, bent))
    return _compose(surfaces, positions)


def render_reference(surfaces: list[Surface], back: list[Tensor], size: int) -> View:
    """Return a reference of `size` x `size` pixels.

    `back` contains each surface's homographies (N x 3 x 3) from the reference to time 0.
    """
    still = make_positions(size, surfaces[0].texture.device)
    positions = [
        move_positions(surface.to_texture.double() @ matrix.double(), still)
        for surface, matrix in zip(surfaces, back, strict=True)
    ]
    return _compose(surfaces, positions)


def _compose(surfaces: list[Surface], positions: list[Tensor]) -> View:
    """Return a view of surfaces, ordered from far to near and each sampled at its positions."""
    image = sample_at(surfaces[0].texture, positions[0])
    front = torch.zeros_like(image[:, :1])
    for number, surface in enumerate(surfaces[1:], 1):
        cover = _sample_cover(surface, positions[number])
        colour = sample_at(surface.texture, positions[number])
        image = torch.lerp(image, colour, cover)
        front = torch.where(cover > CLEAR, -1.0, front)
        front = torch.where(cover > OPAQUE, float(number), front)
    return View(image.clamp(0, 1), front)


def _sample_cover(surface: Surface, positions: Tensor) -> Tensor:
    assert surface.cover is not None
    return sample_at(surface.cover, positions, "bilinear")


def find_flow(
    surfaces: list[Surface], front: Tensor, ahead: list[Tensor], back: list[Tensor]
) -> Tensor:
    """Return the flow from the target to a reference, N x 2 x H x W pixels.

    `front` is the number of the surface that each target pixel shows. `ahead` contains each
    surface's homographies from time 0 to the reference, and `back` their inverses. The flow is NaN
    where surfaces mix, and where the point is outside the reference or hidden by a nearer surface.
    """
    size = front.shape[-1]
    still = make_positions(size, front.device)
    flow = torch.full_like(front, float("nan")).expand(-1, 2, -1, -1)
    for number, surface in enumerate(surfaces):
        moved = move_positions(ahead[number], still + surface.bending)
        flow = torch.where(front == number, moved - still, flow)

    # Find where the reference shows the points, and whether a nearer surface hides them
    ends = torch.nan_to_num(still + flow)
    lost = (ends.abs() > (size - 1) / 2).any(1, keepdim=True)
    for number, surface in enumerate(surfaces[1:], 1):
        matrix = surface.to_texture.double() @ back[number].double()
        cover = _sample_cover(surface, move_positions(matrix, ends))
        lost = lost | ((cover > CLEAR) & (front < number))
    return torch.where(lost, float("nan"), flow)

"""Methods to compare: bicubic interpolation, classical baselines and networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.capture.variants import choose_weights
from crossnetpp.checkpoint import find_weights, load_network
from crossnetpp.evaluation.classical import enhance_classical, enhance_classical_plain
from crossnetpp.evaluation.scenes import (
    Material,
    Picture,
    Reference,
    as_image,
    as_picture,
)
from crossnetpp.networks.blocks import pad_planes
from crossnetpp.networks.build import Network
from crossnetpp.networks.fast import CrossNetFast, FastOutput, Prepared
from crossnetpp.networks.priors import weigh_references
from crossnetpp.networks.resample import upsample_bicubic
from crossnetpp.networks.taps import Taps

SHOWN_DIGITS = 16  # of a SHA-256
MOST_PREPARED = 3  # cached references; successive frames borrow from at most three


class Enhanced(NamedTuple):
    """A method's result, clamped and rounded to 8 bits."""

    sr: Picture
    warped: Picture | None = None
    """The warped reference, or None if the method warps none; for published networks, the reference
    warped by stage 1."""


class MethodInfo(NamedTuple):
    """What results.json records about a method."""

    what: str
    weights: str | None = None
    """Name of the weights file."""
    sha256: str | None = None
    parameters: int | None = None


class Method(Protocol):
    """A way to enlarge LR pictures."""

    name: str
    about: MethodInfo

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Prepare for the cases of a recording, and return a remark for the report (may be empty).

        `material` is what all these cases share. `taps` is the kernel that reduced HR to LR; None
        means antialiased bicubic downscaling.
        """
        ...

    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return `lr` (h x w x 3) enhanced to the size of the references (H x W x 3).

        H and W are the same integer multiple of h and w. The nearest reference comes first. `taps`
        is as in `prepare`.
        """
        ...


class Bicubic:
    """Bicubic interpolation, the baseline that uses no reference."""

    name = "bicubic"
    about = MethodInfo("bicubic interpolation (a = -0.75)")

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Return "", because this method needs no preparation."""
        return ""

    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return `lr` upsampled to the size of the references."""
        scale = references[0].picture.shape[0] // lr.shape[0]
        return Enhanced(_to_picture(upsample_bicubic(to_planes(lr), scale)))


class Classical:
    """The tuned classical baseline, with all references and the measured kernel."""

    name = "classical"
    about = MethodInfo(
        "DIS flow between LR_up and the equally blurred reference, detail blended by agreement; "
        "several references mixed by how well they explain the LR, with the measured kernel"
    )

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Return "", because this method needs no preparation."""
        return ""

    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return `lr` with the detail of the references, and the mix of the warped references."""
        images = [as_image(reference.picture) for reference in references]
        sr, warped = enhance_classical(as_image(lr), images, weigh(references), taps)
        return Enhanced(as_picture(sr), as_picture(warped))


class ClassicalPlain:
    """The simplest classical baseline, with only the nearest reference."""

    name = "classical-plain"
    about = MethodInfo(
        "like classical, but with the nearest reference and the bicubic kernel; the reference is "
        "blurred before it is warped, and the tolerance is the same for all contrasts"
    )

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Return "", because this method needs no preparation."""
        return ""

    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return `lr` with the detail of the nearest reference, and the warped reference."""
        images = [as_image(reference.picture) for reference in references]
        sr, warped = enhance_classical_plain(as_image(lr), images)
        return Enhanced(as_picture(sr), as_picture(warped))


@dataclass(frozen=True, eq=False)
class _PreparedReference:
    """A reference, and what a network computed from it for one scale and kernel."""

    picture: Picture
    scale: int
    taps: Taps | None
    prepared: Prepared


class TrainedNetwork:
    """A network in float32.

    `fast` borrows from all references, and prepares each only once for successive cases that share
    it. The published networks borrow from the nearest reference.
    """

    def __init__(self, name: str, model: str, device: torch.device) -> None:
        """Load `model`, a preset or a file. Raises WeightsError if it cannot be loaded.

        For `fast`, `prepare` chooses among its shipped weights for each recording.
        """
        path = find_weights(model)
        network = _load(model, device)
        self.name = name
        self.about = MethodInfo(
            what=type(network).__name__,
            weights=path.name,
            sha256=_compute_sha256(model),
            parameters=sum(p.numel() for p in network.parameters()),
        )
        self._model = model
        self._network = network
        self._networks = {model: network}
        self._device = device
        self._latest: list[_PreparedReference] = []

    def prepare(self, material: Material, taps: Taps | None) -> str:
        """Choose the weights for the recording, and discard the references of other recordings.

        If the weights are not those in `about`, return their name and the first digits of their
        SHA-256, otherwise "".
        """
        self._latest.clear()
        chosen = choose_weights(self._model, material.capture.fits_db)
        if chosen not in self._networks:
            self._networks[chosen] = _load(chosen, self._device)
        self._network = self._networks[chosen]
        if chosen == self._model:
            return ""
        return f"weights {chosen}, sha256 {_compute_sha256(chosen)[:SHOWN_DIGITS]}"

    @torch.inference_mode()
    def enhance(self, lr: Picture, references: Sequence[Reference], taps: Taps | None) -> Enhanced:
        """Return the network's result and the warped reference, both without padding."""
        network = self._network
        height, width = references[0].picture.shape[:2]
        scale = height // lr.shape[0]

        lr_planes = self._pad(lr, network.multiple // scale)
        if isinstance(network, CrossNetFast):
            prepared = [self._prepare(network, r.picture, scale, taps) for r in references]
            weights = torch.from_numpy(weigh(references))[None].to(self._device)
            output = network.enhance(lr_planes, *prepared, weights=weights)
        else:
            output = network(lr_planes, self._pad(references[0].picture, network.multiple))

        warped = output.warped if isinstance(output, FastOutput) else output.warped_stage1
        return Enhanced(
            _to_picture(output.sr[..., :height, :width]), _to_picture(warped[..., :height, :width])
        )

    def _prepare(
        self, network: CrossNetFast, picture: Picture, scale: int, taps: Taps | None
    ) -> Prepared:
        for latest in self._latest:
            if latest.picture is picture and latest.scale == scale and latest.taps is taps:
                return latest.prepared

        kernel = None if taps is None else torch.from_numpy(taps).to(self._device)
        prepared = network.prepare(self._pad(picture, network.multiple), scale, kernel)
        self._latest = self._latest[1 - MOST_PREPARED :]
        self._latest.append(_PreparedReference(picture, scale, taps, prepared))
        return prepared

    def _pad(self, picture: Picture, multiple: int) -> Tensor:
        return pad_planes(to_planes(picture).to(self._device), multiple)


def _compute_sha256(model: str) -> str:
    """Return the SHA-256 of the weights file of `model`."""
    return hashlib.sha256(find_weights(model).read_bytes()).hexdigest()


def weigh(references: Sequence[Reference]) -> NDArray[np.float32]:
    """Return the prior weights of K references, an array of length K."""
    return weigh_references([reference.distance for reference in references])


def _load(model: str, device: torch.device) -> Network:
    network = load_network(model).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def to_planes(picture: Picture) -> Tensor:
    """Return a picture (uint8 H x W x 3) as a float32 tensor, 1 x 3 x H x W in 0..1."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float().div(255)


def _to_picture(planes: Tensor) -> Picture:
    return as_picture(planes[0].permute(1, 2, 0).cpu().numpy())

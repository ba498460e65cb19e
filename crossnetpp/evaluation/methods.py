"""Methods to compare: bicubic interpolation, classical baselines and networks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from crossnetpp.checkpoint import WeightsError, find_weights, load_network
from crossnetpp.evaluation.classical import (
    Borrowed,
    enhance_classical,
    enhance_classical_plain,
)
from crossnetpp.evaluation.scenes import EvaluationError, Image, Picture, as_image, as_picture
from crossnetpp.networks.blocks import pad_planes
from crossnetpp.networks.fast import CrossNetFast, FastOutput, Prepared
from crossnetpp.networks.presets import PRESETS
from crossnetpp.networks.resample import upsample_bicubic

# Name -> function and description
CLASSICAL_METHODS: dict[str, tuple[Callable[[Image, Image], Borrowed], str]] = {
    "classical": (
        enhance_classical,
        "DIS flow between LR_up and the equally blurred reference, detail blended by agreement",
    ),
    "classical-plain": (
        enhance_classical_plain,
        "the same, but the reference is blurred before it is warped, and one tolerance serves all "
        "contrasts",
    ),
}
NETWORKS = tuple(dict.fromkeys((*PRESETS, "crossnet")))
DEFAULT_METHODS = "bicubic,classical,fast,crossnet,paper"


class Enhanced(NamedTuple):
    """The result of a method, clamped and rounded to 8 bits once."""

    sr: Picture
    warped: Picture | None = None
    """The warped reference, if the method warps one; for published networks, that of stage 1."""


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

    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return `lr` (h x w x 3), enhanced to the size of `reference` (H x W x 3).

        H and W are the same integer multiple of h and w.
        """
        ...


class Bicubic:
    """Bicubic interpolation, the control without a reference."""

    name = "bicubic"
    about = MethodInfo("bicubic interpolation (a = -0.75)")

    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return `lr`, upsampled to the size of `reference`."""
        return Enhanced(
            _to_picture(upsample_bicubic(_to_planes(lr), reference.shape[0] // lr.shape[0]))
        )


class ClassicalMethod:
    """One of the methods in CLASSICAL_METHODS."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._enhance, description = CLASSICAL_METHODS[name]
        self.about = MethodInfo(description)

    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return `lr` with the detail of `reference`, and the warped reference."""
        sr, warped = self._enhance(as_image(lr), as_image(reference))
        return Enhanced(as_picture(sr), as_picture(warped))


@dataclass(frozen=True, eq=False)
class _PreparedReference:
    """The reference that was used last, and what the network computed from it for one scale."""

    reference: Picture
    scale: int
    prepared: Prepared


class TrainedNetwork:
    """A network in float32; `fast` prepares a reference only once for successive cases with it."""

    def __init__(self, name: str, model: str, device: torch.device) -> None:
        """Load `model`, a preset or a file. Raises WeightsError if it cannot be loaded."""
        path = find_weights(model)
        network = load_network(model).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = name
        self.about = MethodInfo(
            what=type(network).__name__,
            weights=path.name,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            parameters=sum(p.numel() for p in network.parameters()),
        )
        self._network = network
        self._device = device
        self._latest: _PreparedReference | None = None

    @torch.inference_mode()
    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return the network's result and its warped reference, both without padding."""
        network = self._network
        height, width = reference.shape[:2]
        scale = height // lr.shape[0]

        lr_planes = self._pad(lr, network.multiple // scale)
        if isinstance(network, CrossNetFast):
            output = network.enhance(lr_planes, self._prepare(network, reference, scale))
        else:
            output = network(lr_planes, self._pad(reference, network.multiple))

        warped = output.warped if isinstance(output, FastOutput) else output.warped_stage1
        return Enhanced(
            _to_picture(output.sr[..., :height, :width]), _to_picture(warped[..., :height, :width])
        )

    def _prepare(self, network: CrossNetFast, reference: Picture, scale: int) -> Prepared:
        latest = self._latest
        if latest is None or latest.reference is not reference or latest.scale != scale:
            prepared = network.prepare(self._pad(reference, network.multiple), scale)
            self._latest = latest = _PreparedReference(reference, scale, prepared)
        return latest.prepared

    def _pad(self, picture: Picture, multiple: int) -> Tensor:
        return pad_planes(_to_planes(picture).to(self._device), multiple)


def load_methods(names: list[str], device: torch.device) -> tuple[list[Method], dict[str, str]]:
    """Return bicubic and the other methods in `names`, and why some names are skipped.

    Presets without shipped weights are skipped. Raises EvaluationError if a name is neither a
    method nor a file, and WeightsError if a file cannot be used.
    """
    methods: list[Method] = [Bicubic()]
    skipped: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name == "bicubic":
            continue
        if name in CLASSICAL_METHODS:
            methods.append(ClassicalMethod(name))
        elif name in NETWORKS:
            try:
                find_weights(name)
            except WeightsError as error:
                skipped[name] = str(error)
                continue
            methods.append(TrainedNetwork(name, name, device))
        elif Path(name).is_file():
            # A method from a file has the name of the file without its suffix, unless that is taken
            taken = {method.name for method in methods} | set(names)
            stem = Path(name).stem
            methods.append(TrainedNetwork(name if stem in taken else stem, name, device))
        else:
            raise EvaluationError(
                f"found no method '{name}', expected some of bicubic, "
                f"{', '.join(CLASSICAL_METHODS)}, {', '.join(NETWORKS)} or a safetensors file; "
                f"try --methods {DEFAULT_METHODS}"
            )
    return methods, skipped


def _to_planes(picture: Picture) -> Tensor:
    """Return a picture as float32 1 x 3 x H x W in 0..1."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float().div(255)


def _to_picture(planes: Tensor) -> Picture:
    return as_picture(planes[0].permute(1, 2, 0).cpu().numpy())

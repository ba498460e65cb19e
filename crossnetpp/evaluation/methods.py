"""The methods that are put side by side: no reference, no training, networks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.checkpoint import WeightsError, load_network, weights_path
from crossnetpp.evaluation.classical import Borrowed, classical, classical_plain
from crossnetpp.evaluation.scenes import EvaluationError, Image, Picture, as_image, as_picture
from crossnetpp.networks.fast import CrossNetFast, FastOutput, Prepared
from crossnetpp.networks.presets import PRESETS
from crossnetpp.networks.resample import bicubic

UNTRAINED: dict[str, tuple[Callable[[Image, Image], Borrowed], str]] = {
    "classical": (
        classical,
        "DIS flow between LR_up and the equally unsharp reference, detail blended by agreement",
    ),
    "classical-plain": (
        classical_plain,
        "the same, but unsharp before it is warped, and one tolerance for all",
    ),
}
NETWORKS = tuple(dict.fromkeys((*PRESETS, "crossnet")))
DEFAULT = "bicubic,classical,fast,crossnet,paper"


class Enhanced(NamedTuple):
    """A method's answer, rounded to 8 bit and clamped once."""

    sr: Picture
    warped: Picture | None = None
    """The warped reference, where the method has one; of `paper` that of stage 1."""


class About(NamedTuple):
    """What a method is, for the record."""

    what: str
    weights: str | None = None
    """File name."""
    sha256: str | None = None
    parameters: int | None = None


class Method(Protocol):
    """Something that makes LR pictures large."""

    name: str
    about: About

    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return `lr` (h x w x 3) at the size of `reference` (H x W x 3), a multiple of it."""
        ...


class Bicubic:
    """The control: no reference."""

    name = "bicubic"
    about = About("bicubic interpolation (a = -0.75)")

    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return `lr` up-sampled; of `reference` only the size is used."""
        return Enhanced(_picture(bicubic(_planes(lr), reference.shape[0] // lr.shape[0])))


class Untrained:
    """A baseline that computes on images in 0..1."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._borrow, what = UNTRAINED[name]
        self.about = About(what)

    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return the blend and the warped reference."""
        sr, warped = self._borrow(as_image(lr), as_image(reference))
        return Enhanced(as_picture(sr), as_picture(warped))


@dataclass(frozen=True, eq=False)
class _Kept:
    """The last reference and what the network made of it."""

    reference: Picture
    scale: int
    prepared: Prepared


class TrainedNetwork:
    """Any network of a preset, in float32; `fast` prepares a reference once for all its cases."""

    def __init__(self, name: str, model: str, device: torch.device) -> None:
        """Raise WeightsError as load_network does."""
        path = weights_path(model)
        network = load_network(model).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = name
        self.about = About(
            what=type(network).__name__,
            weights=path.name,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            parameters=sum(p.numel() for p in network.parameters()),
        )
        self._network = network
        self._device = device
        self._kept: _Kept | None = None

    @torch.inference_mode()
    def enhance(self, lr: Picture, reference: Picture) -> Enhanced:
        """Return the network's picture and its warped reference, without the padding."""
        network, (height, width) = self._network, reference.shape[:2]
        scale = height // lr.shape[0]
        lr_planes = self._padded(lr, network.multiple // scale)
        if isinstance(network, CrossNetFast):
            output = network.enhance(lr_planes, self._prepared(network, reference, scale))
        else:
            output = network(lr_planes, self._padded(reference, network.multiple))
        warped = output.warped if isinstance(output, FastOutput) else output.warped_stage1
        return Enhanced(*(_picture(image[..., :height, :width]) for image in (output.sr, warped)))

    def _prepared(self, network: CrossNetFast, reference: Picture, scale: int) -> Prepared:
        kept = self._kept
        if kept is None or kept.reference is not reference or kept.scale != scale:
            prepared = network.prepare(self._padded(reference, network.multiple), scale)
            self._kept = kept = _Kept(reference, scale, prepared)
        return kept.prepared

    def _padded(self, picture: Picture, multiple: int) -> Tensor:
        planes = _planes(picture).to(self._device)
        height, width = planes.shape[-2:]
        return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def load_methods(names: list[str], device: torch.device) -> tuple[list[Method], dict[str, str]]:
    """Return the methods named, bicubic first, and preset -> why it is skipped.

    A preset without shipped weights is skipped. Raises EvaluationError for names that are neither a
    method nor a file, WeightsError for files that cannot be used.
    """
    methods: list[Method] = [Bicubic()]
    skipped: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if name == "bicubic":
            continue
        if name in UNTRAINED:
            methods.append(Untrained(name))
        elif name in NETWORKS:
            try:
                weights_path(name)
            except WeightsError as error:
                skipped[name] = str(error)
                continue
            methods.append(TrainedNetwork(name, name, device))
        elif Path(name).is_file():
            taken = {method.name for method in methods} | set(names)
            stem = Path(name).stem
            methods.append(TrainedNetwork(name if stem in taken else stem, name, device))
        else:
            raise EvaluationError(
                f"found no method '{name}', expected some of bicubic, {', '.join(UNTRAINED)}, "
                f"{', '.join(NETWORKS)} or a safetensors file; try --methods {DEFAULT}"
            )
    return methods, skipped


def _planes(picture: Picture) -> Tensor:
    """Return 1 x 3 x H x W in 0..1."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float().div(255)


def _picture(planes: Tensor) -> Picture:
    return as_picture(planes[0].permute(1, 2, 0).cpu().numpy())

"""The exported graphs, which take and return integer pixels and contain all numerics.

A reference serves many frames, so the graph `prepare` computes everything that depends on the
reference alone, and the graph `frame` computes the rest. A network that cannot be split is a single
graph, `whole`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from crossnetpp.networks.build import Network
from crossnetpp.networks.fast import CrossNetFast, Prepared
from crossnetpp.networks.lucas_kanade import rgb_to_luma
from deploy.export.convolutions import ConvolutionSolver
from deploy.export.lowering import Precision, lower_network

Part = Literal["prepare", "frame", "whole"]
PixelType = Literal["uint8", "uint16", "int32"]  # int32 replaces uint16 in TensorRT: 0..65535
Target = Literal["any", "tensorrt"]  # for TensorRT see deploy/export/convolutions.py
LEVELS: dict[PixelType, int] = {"uint8": 255, "uint16": 65535, "int32": 65535}
FEATURES = ("f4", "f8", "f16", "f32")
PREPARED_TENSORS = ("unsharp", *FEATURES)  # float32 N x C x H/k x W/k, from `prepare` to `frame`


@dataclass(frozen=True)
class GraphSpec:
    """The options of an exported graph: part, scale, type of pixels, precision and target."""

    part: Part
    scale: int
    pixels: PixelType = "uint8"
    precision: Precision = "fp32"
    target: Target = "any"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs."""
        return {
            "prepare": ("ref",),
            "frame": ("lr", "ref", *PREPARED_TENSORS),
            "whole": ("lr", "ref"),
        }[self.part]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return PREPARED_TENSORS if self.part == "prepare" else ("sr",)

    @property
    def name(self) -> str:
        """For example `frame_x4_uint8_fp32`, or `frame_x4_uint8_fp32_tensorrt`."""
        name = f"{self.part}_x{self.scale}_{self.pixels}_{self.precision}"
        return name if self.target == "any" else f"{name}_{self.target}"


def list_parts(network: nn.Module) -> tuple[Part, ...]:
    """Return the parts into which `network` is exported, in the order in which they run."""
    return ("prepare", "frame") if isinstance(network, CrossNetFast) else ("whole",)


class _Graph(nn.Module):
    def __init__(self, network: Network, spec: GraphSpec) -> None:
        super().__init__()
        lower_network(network, spec.precision)
        if spec.target == "tensorrt" and isinstance(network, CrossNetFast):
            network.solver = ConvolutionSolver()
        self.network = network
        self.spec = spec
        self._levels = LEVELS[spec.pixels]

    def _planes(self, frames: Tensor) -> Tensor:
        """Return `frames` (pixels, N x H x W x 3) as float32 N x 3 x H x W in 0..1."""
        # to float before the transpose: TensorRT cannot transpose uint8
        return frames.to(torch.float32).permute(0, 3, 1, 2) * (1 / self._levels)

    def _pixels(self, planes: Tensor) -> Tensor:
        """Return `planes` (N x 3 x H x W) as pixels, N x H x W x 3, clamped and rounded."""
        levels = (planes.float().clamp(0, 1) * self._levels).round()
        return levels.permute(0, 2, 3, 1).to(getattr(torch, self.spec.pixels))


class _Prepare(_Graph):
    def forward(self, ref: Tensor) -> tuple[Tensor, ...]:
        assert isinstance(self.network, CrossNetFast)
        prepared = self.network.prepare(self._planes(ref), self.spec.scale)
        return prepared.unsharp, *prepared.features


class _Frame(_Graph):
    def forward(self, lr: Tensor, ref: Tensor, unsharp: Tensor, *features: Tensor) -> Tensor:
        assert isinstance(self.network, CrossNetFast)
        planes = self._planes(ref)
        prepared = Prepared(planes, rgb_to_luma(planes), unsharp, features, self.spec.scale)
        return self._pixels(self.network.enhance(self._planes(lr), prepared).sr)


class _Whole(_Graph):
    def forward(self, lr: Tensor, ref: Tensor) -> Tensor:
        return self._pixels(self.network(self._planes(lr), self._planes(ref)).sr)


def build_graph(network: Network, spec: GraphSpec) -> nn.Module:
    """Return the module to export; `network` is rewritten in place (see `lower_network`).

    Pixels are N x H x W x 3 of the type `spec.pixels`. H and W are multiples of
    `network.multiple`.
    """
    kinds: dict[Part, type[_Graph]] = {"prepare": _Prepare, "frame": _Frame, "whole": _Whole}
    return kinds[spec.part](network, spec).eval()


def make_example_inputs(
    network: Network, spec: GraphSpec, batch: int, height: int, width: int
) -> Sequence[Tensor]:
    """Return random inputs of the graph, for `batch` output frames of `height` x `width`."""
    generator = torch.Generator().manual_seed(height * width)
    dtype = getattr(torch, spec.pixels)

    def pixels(size: tuple[int, int]) -> Tensor:
        shape = (batch, *size, 3)
        levels = torch.randint(0, LEVELS[spec.pixels] + 1, shape, generator=generator)
        return levels.to(dtype)

    lr = pixels((height // spec.scale, width // spec.scale))
    ref = pixels((height, width))
    if spec.part == "whole":
        return lr, ref
    if spec.part == "prepare":
        return (ref,)

    assert isinstance(network, CrossNetFast)
    with torch.inference_mode():
        prepared = build_graph(network, GraphSpec("prepare", spec.scale, spec.pixels))(ref)
    # cloned, because tensors made in inference mode cannot be traced
    return lr, ref, *(tensor.clone() for tensor in prepared)

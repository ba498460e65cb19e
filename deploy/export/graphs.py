"""The exported graphs, whose inputs and outputs are integer pixels.

A reference is used for many frames, so the graph `prepare` computes everything that depends only on
the reference, and the graph `frame` computes the rest. A network that cannot be split is exported
as a single graph, `whole`.
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
from crossnetpp.networks.taps import separate_kernel
from deploy.export.convolutions import ConvolutionSolver
from deploy.export.lowering import Precision, lower_network

Part = Literal["prepare", "frame", "whole"]
PixelType = Literal["uint8", "uint16", "int32"]  # in TensorRT, int32 replaces uint16 (0..65535)
Target = Literal["any", "tensorrt"]  # graphs for TensorRT use deploy/export/convolutions.py
LEVELS: dict[PixelType, int] = {"uint8": 255, "uint16": 65535, "int32": 65535}
FEATURES = ("f4", "f8", "f16", "f32")
# outputs of `prepare` and inputs of `frame`: float32 N x C x H/k x W/k, with k = 1 for unsharp,
# 4 for f4 and so on
PREPARED_TENSORS = ("unsharp", *FEATURES)


def name_tensor(name: str, reference: int) -> str:
    """Return a tensor's name for reference 0, 1, 2 and so on: `f4`, `f4_2`, `f4_3` and so on."""
    return name if reference == 0 else f"{name}_{reference + 1}"


@dataclass(frozen=True)
class GraphSpec:
    """The options of an exported graph; each combination of options yields its own graph."""

    part: Part
    scale: int
    pixels: PixelType = "uint8"
    precision: Precision = "fp32"
    target: Target = "any"
    references: int = 1
    """Number of references per frame, for the part `frame`."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in the order in which its module receives them."""
        if self.part == "prepare":
            return "ref", "taps"
        if self.part == "whole":
            return "lr", "ref"
        each = ("ref", *PREPARED_TENSORS)
        names = [name_tensor(name, k) for k in range(self.references) for name in each]
        weights = ("weights",) if self.references > 1 else ()
        return "lr", *names, "taps", *weights

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        return PREPARED_TENSORS if self.part == "prepare" else ("sr",)

    @property
    def name(self) -> str:
        """The graph's name, such as `frame_x4_uint8_fp32` or `frame2_x4_uint8_fp32_tensorrt`."""
        part = self.part if self.references == 1 else f"{self.part}{self.references}"
        name = f"{part}_x{self.scale}_{self.pixels}_{self.precision}"
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
        # convert to float before the transpose, because TensorRT cannot transpose uint8
        return frames.to(torch.float32).permute(0, 3, 1, 2) * (1 / self._levels)

    def _pixels(self, planes: Tensor) -> Tensor:
        """Return `planes` (N x 3 x H x W, in 0..1) as clamped and rounded N x H x W x 3 pixels."""
        levels = (planes.float().clamp(0, 1) * self._levels).round()
        return levels.permute(0, 2, 3, 1).to(getattr(torch, self.spec.pixels))


class _Prepare(_Graph):
    def forward(self, ref: Tensor, taps: Tensor) -> tuple[Tensor, ...]:
        assert isinstance(self.network, CrossNetFast)
        prepared = self.network.prepare(self._planes(ref), self.spec.scale, taps)
        return prepared.unsharp, *prepared.features


class _Frame(_Graph):
    def forward(self, lr: Tensor, *tensors: Tensor) -> Tensor:
        assert isinstance(self.network, CrossNetFast)
        each = 1 + len(PREPARED_TENSORS)
        count = self.spec.references
        taps = tensors[count * each]
        weights = tensors[-1] if count > 1 else None

        prepared = []
        for start in range(0, count * each, each):
            ref, unsharp, *features = tensors[start : start + each]
            planes = self._planes(ref)
            luma = rgb_to_luma(planes)
            prepared.append(Prepared(planes, luma, unsharp, tuple(features), self.spec.scale, taps))
        sr = self.network.enhance(self._planes(lr), *prepared, weights=weights).sr
        return self._pixels(sr)


class _Whole(_Graph):
    def forward(self, lr: Tensor, ref: Tensor) -> Tensor:
        return self._pixels(self.network(self._planes(lr), self._planes(ref)).sr)


def build_graph(network: Network, spec: GraphSpec) -> nn.Module:
    """Return the module to export for `spec`; `network` is rewritten in place by `lower_network`.

    The module's input and output pixels are N x H x W x 3 of dtype `spec.pixels`. The output's
    height and width must be multiples of `network.multiple`.
    """
    kinds: dict[Part, type[_Graph]] = {"prepare": _Prepare, "frame": _Frame, "whole": _Whole}
    return kinds[spec.part](network, spec).eval()


def make_example_inputs(
    network: Network, spec: GraphSpec, batch: int, height: int, width: int
) -> Sequence[Tensor]:
    """Return random inputs of the graph for `batch` output frames of `height` x `width` pixels."""
    generator = torch.Generator().manual_seed(height * width)
    dtype = getattr(torch, spec.pixels)

    def pixels(size: tuple[int, int]) -> Tensor:
        shape = (batch, *size, 3)
        levels = torch.randint(0, LEVELS[spec.pixels] + 1, shape, generator=generator)
        return levels.to(dtype)

    lr = pixels((height // spec.scale, width // spec.scale))
    if spec.part == "whole":
        return lr, pixels((height, width))
    # an arbitrary kernel, neither symmetric nor separable
    shape = (4 * spec.scale, 4 * spec.scale)
    taps = torch.from_numpy(separate_kernel(torch.rand(shape, generator=generator).numpy()))
    if spec.part == "prepare":
        return pixels((height, width)), taps

    assert isinstance(network, CrossNetFast)
    prepare = build_graph(network, GraphSpec("prepare", spec.scale, spec.pixels))
    tensors: list[Tensor] = []
    for _ in range(spec.references):
        ref = pixels((height, width))
        with torch.inference_mode():
            prepared = prepare(ref, taps)
        # cloned, because tensors created in inference mode cannot be traced
        tensors += [ref, *(tensor.clone() for tensor in prepared)]
    if spec.references == 1:
        return lr, *tensors, taps
    return lr, *tensors, taps, torch.rand((batch, spec.references), generator=generator) + 0.1

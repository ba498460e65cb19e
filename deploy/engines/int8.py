"""8-bit convolutions, for processors that compute them faster than float32 ones.

Instructions such as AVX-512 VNNI multiply and add four bytes in the time of one float. Weights are
quantised with one scale per output channel. Inputs are quantised with a single scale and zero
point, which each call computes from the range of the inputs. Before that, each input channel is
divided by a factor and its weights are multiplied by the same factor, so that a few channels with
large values do not cost all others precision (Xiao et al., "SmoothQuant", 2022). Products
are added up exactly, in integers, and outputs are float32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import cv2
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from crossnetpp.networks.fast import CrossNetFast
from crossnetpp.networks.layers import MOST_COORDINATE_CHANNELS
from deploy.device import has_processor_feature
from deploy.photograph import load_photograph, move_photograph
from deploy.protocol import Pixels

_LARGEST_WEIGHT = 127
_LEVELS = 255
_SMALLEST = 1e-12  # avoids divisions by zero
# Limit of a channel's factor relative to the median factor; unused channels would exceed it.
_MOST_UNEVEN = 16.0

# Processor features that compute 8-bit dot products
_DOT_PRODUCTS = ("avx512_vnni", "avx_vnni")

_PARTS = ("fusion.", "refinement.", "votes.")  # parts of the network whose layers are quantised
_CROP = (128, 192)  # height and width of the part of the photograph used for calibration
# the angle (radians), dx and dy (pixels) by which each of the two references is moved
_MOTIONS = ((0.01, 3.3, -2.6), (-0.02, -9.4, 5.2))


class Int8Convolution(nn.Module):
    """A convolution that quantises its weights and activations to 8 bits, and returns float32."""

    def __init__(self, convolution: nn.Conv2d, largest: Tensor) -> None:
        """Quantise the weights of `convolution`.

        `largest` (C) contains the typical peak magnitude of each input channel.
        """
        super().__init__()
        weight = convolution.weight.detach().float().contiguous()
        factors = choose_factors(largest, weight.abs().amax((0, 2, 3)))
        self.reciprocals = 1 / factors
        weight = weight * factors.view(1, -1, 1, 1)
        scales = weight.abs().amax((1, 2, 3)) / _LARGEST_WEIGHT
        self.scales = scales.clamp(min=_SMALLEST)
        rounded = (weight / self.scales.view(-1, 1, 1, 1)).round().to(torch.int8)

        self.zero_points = torch.zeros(len(rounded), dtype=torch.int32)
        self.bias = None if convolution.bias is None else convolution.bias.detach().float()
        self.geometry = (
            [int(each) for each in convolution.stride],
            [int(each) for each in convolution.padding],
            [int(each) for each in convolution.dilation],
            convolution.groups,
        )
        self.packed: Tensor = torch.ops.onednn.qconv_prepack(
            rounded, self.scales, 1.0, _LEVELS // 2, *self.geometry
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the convolution of `inputs`, float32 N x C x H x W in channels-last layout."""
        batch, channels, height, width = inputs.shape
        # multiply whole rows at once, because broadcasting over channels takes three times as long
        rows = inputs.permute(0, 2, 3, 1).reshape(batch * height, width * channels)
        levels = rows * self.reciprocals.repeat(width)
        low, high = torch.aminmax(levels)
        scale, zero_point = choose_scale(float(low), float(high))

        # add half a level because the conversion truncates; the result is within 0..255
        torch.add(levels.new_tensor(zero_point + 0.5), levels, alpha=1 / scale, out=levels)
        pixels = levels.to(torch.uint8).view(batch, height, width, channels)
        output: Tensor = torch.ops.onednn.qconv2d_pointwise(
            pixels.permute(0, 3, 1, 2),
            scale,
            zero_point,
            self.packed,
            self.scales,
            self.zero_points,
            self.bias,
            *self.geometry,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return output


def choose_scale(low: float, high: float) -> tuple[float, int]:
    """Return the scale (the size of a level) and zero point for values from `low` to `high`.

    A level in 1..254 represents zero exactly, because convolutions pad with zeros. If the range is
    not finite, the scale is 1.
    """
    low = min(low, 0.0)
    high = max(high, 0.0)
    span = high - low
    if not math.isfinite(span):
        return 1.0, _LEVELS // 2

    scale = max(span / (_LEVELS - 1), _SMALLEST)
    return scale, min(max(round(-low / scale), 1), _LEVELS - 1)


def choose_factors(largest: Tensor, weights: Tensor) -> Tensor:
    """Return a divisor for each input channel (C), given the peaks of its inputs and weights (C).

    Within limits, dividing the inputs by the divisors and multiplying the weights by them makes
    both vary equally across channels.
    """
    factors = (largest.clamp(min=_SMALLEST) / weights.clamp(min=_SMALLEST)).sqrt()
    return (factors / factors.median()).clamp(1 / _MOST_UNEVEN, _MOST_UNEVEN)


def round_network(network: CrossNetFast) -> None:
    """Replace some convolutions of `network` with 8-bit ones, in place.

    These are the convolutions of the fusion, which takes most of the time, and of the two small
    networks that weight motion and references. The other convolutions find motion, and rounding
    could make them find a different one where several motions fit almost equally well.
    """
    chosen = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
        and name.startswith(_PARTS)
        and layer.out_channels > MOST_COORDINATE_CHANNELS
    }
    largest = _measure_inputs(network, chosen)
    for name, layer in chosen.items():
        parent, _, attribute = name.rpartition(".")
        setattr(network.get_submodule(parent), attribute, Int8Convolution(layer, largest[name]))


@torch.inference_mode()
def _measure_inputs(network: CrossNetFast, layers: Mapping[str, nn.Conv2d]) -> dict[str, Tensor]:
    """Return the peak magnitude of every input channel (C) of each layer, by the layer's name.

    The magnitudes are measured on a moving photograph.
    """
    found: dict[str, Tensor] = {}

    def watch(name: str) -> RemovableHandle:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[name] = inputs[0].abs().amax((0, 2, 3))

        return layers[name].register_forward_pre_hook(keep)

    photograph = load_photograph()[: _CROP[0], : _CROP[1]]
    lr = cv2.resize(photograph, (_CROP[1] // 4, _CROP[0] // 4), interpolation=cv2.INTER_AREA)
    refs = [move_photograph(photograph, *motion) for motion in _MOTIONS]
    handles = [watch(name) for name in layers]
    threads = torch.get_num_threads()
    # the number of threads changes the order of additions, and so the rounding of all outputs
    torch.set_num_threads(1)
    try:
        network(*(_to_planes(cast(Pixels, picture)) for picture in (lr, *refs)))
    finally:
        torch.set_num_threads(threads)
        for handle in handles:
            handle.remove()
    return found


def _to_planes(picture: Pixels) -> Tensor:
    """Return a uint8 H x W x 3 picture as float32 1 x 3 x H x W in 0..1."""
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / _LEVELS


def is_int8_fast() -> bool:
    """Return whether this processor computes 8-bit convolutions faster than float32 ones.

    The result is also False if PyTorch lacks the operations, which are undocumented.
    """
    return has_processor_feature(*_DOT_PRODUCTS) and is_int8_usable()


def is_int8_usable() -> bool:
    """Return whether PyTorch's 8-bit convolution works and is accurate on this machine."""
    generator = torch.Generator().manual_seed(0)
    convolution = nn.Conv2d(8, 16, 3, padding=1)
    nn.init.normal_(convolution.weight, generator=generator)
    inputs = torch.randn(1, 8, 16, 16, generator=generator)
    with torch.inference_mode():
        expected = convolution(inputs)
        try:
            actual = Int8Convolution(convolution, torch.ones(8))(inputs)
        except (AttributeError, RuntimeError, TypeError):
            return False
        return bool((actual - expected).norm() < 0.03 * expected.norm())

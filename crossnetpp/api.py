"""Python interface to the network: `crossnetpp.load("fast")(lr, ref)`."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.checkpoint import load_network
from crossnetpp.networks.blocks import pad_planes
from crossnetpp.networks.build import Network

Images = TypeVar("Images", NDArray[Any], Tensor)
SCALES = (2, 4, 8)


class Enhancer:
    """A trained network that enhances pictures and keeps no state between calls."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self.network = network
        self.device = device

    @torch.inference_mode()
    def __call__(self, lr: Images, ref: Images) -> Images:
        """Return `lr` enlarged to the size of `ref` and enhanced with the detail of `ref`.

        Arrays are uint8, uint16 or floating point in 0..1, H x W x 3 or N x H x W x 3 RGB. Tensors
        are floating point in 0..1, 3 x H x W or N x 3 x H x W. The height and width of `ref` are 2,
        4 or 8 times those of `lr`. The result has the type and shape of `ref`.

        Raises TypeError if one of `lr` and `ref` is an array and the other a tensor, and ValueError
        if their types, shapes or sizes are not supported or do not match.
        """
        if isinstance(lr, Tensor) != isinstance(ref, Tensor):
            raise TypeError(
                f"found {type(lr).__name__} and {type(ref).__name__}, expected two arrays or two "
                "tensors; convert one of them"
            )
        if lr.dtype != ref.dtype or lr.ndim != ref.ndim:
            raise ValueError(
                f"found {lr.dtype} {tuple(lr.shape)} and {ref.dtype} {tuple(ref.shape)}, "
                "expected the same type and number of axes; convert one of them"
            )

        lr_planes = self._to_planes(lr)
        ref_planes = self._to_planes(ref)
        sr = self._run(lr_planes, ref_planes, _find_scale(lr_planes, ref_planes))
        return cast(Images, _convert_like(sr, ref))

    def _to_planes(self, images: NDArray[Any] | Tensor) -> Tensor:
        """Return `images` as a float32 tensor on the device, N x 3 x H x W in 0..1.

        Raises ValueError if their type or shape is not supported.
        """
        if isinstance(images, Tensor):
            planes = images if images.ndim == 4 else images[None]
            if images.ndim not in (3, 4) or planes.shape[1] != 3 or not planes.is_floating_point():
                raise ValueError(
                    f"found a tensor of type {images.dtype} and shape {tuple(images.shape)}, "
                    "expected 3 x H x W or N x 3 x H x W in floating point from 0 to 1"
                )
            return planes.to(self.device, torch.float32)

        array = np.asarray(images)
        is_floating = np.issubdtype(array.dtype, np.floating)
        is_supported = is_floating or array.dtype in (np.uint8, np.uint16)
        if array.ndim not in (3, 4) or array.shape[-1] != 3 or not is_supported:
            raise ValueError(
                f"found an array of type {array.dtype} and shape {array.shape}, expected H x W x 3 "
                "or N x H x W x 3 in uint8, uint16 or floating point from 0 to 1"
            )

        limit = 1.0 if is_floating else np.iinfo(array.dtype).max
        stack = (array if array.ndim == 4 else array[None]).astype(np.float32) / np.float32(limit)
        return torch.from_numpy(np.ascontiguousarray(stack)).permute(0, 3, 1, 2).to(self.device)

    def _run(self, lr: Tensor, ref: Tensor, scale: int) -> Tensor:
        """Return SR (N x 3 x H x W in 0..1), computed on padded pictures and cropped like `ref`."""
        height, width = ref.shape[-2:]
        multiple = self.network.multiple
        padded_lr = pad_planes(lr, multiple // scale)
        padded_ref = pad_planes(ref, multiple)
        sr: Tensor = self.network(padded_lr, padded_ref).sr
        return sr[..., :height, :width].clamp(0, 1)


def load(model: str = "fast", *, device: str | torch.device | None = None) -> Enhancer:
    """Return an Enhancer for `model`: a name, or the path of a safetensors file.

    The names are `fast`, `fast-recorded`, `fast-quick` and `fast-recorded-quick`.

    `device` defaults to CUDA if it is available, else to the CPU. Raises WeightsError if the
    weights are missing or cannot be used.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Enhancer(load_network(model).to(chosen), chosen)


def _find_scale(lr: Tensor, ref: Tensor) -> int:
    """Return the factor by which `ref` is taller and wider than `lr`.

    Raises ValueError unless the factor is 2, 4 or 8 and every picture has a reference.
    """
    height, width = lr.shape[-2:]
    ref_size = tuple(ref.shape[-2:])
    for scale in SCALES:
        if ref_size == (scale * height, scale * width) and len(lr) == len(ref):
            return scale
    raise ValueError(
        f"found pictures of {width}x{height} ({len(lr)} in all) and references of "
        f"{ref_size[1]}x{ref_size[0]} ({len(ref)} in all), expected one reference for each "
        "picture, 2, 4 or 8 times as wide and high; resize or crop the references"
    )


def _convert_like(sr: Tensor, ref: NDArray[Any] | Tensor) -> NDArray[Any] | Tensor:
    """Convert `sr` (N x 3 x H x W in 0..1) to the type and layout of `ref`."""
    if isinstance(ref, Tensor):
        return (sr if ref.ndim == 4 else sr[0]).to(ref.device, ref.dtype)

    array = sr.permute(0, 2, 3, 1).cpu().numpy()
    if not np.issubdtype(ref.dtype, np.floating):
        array = np.rint(array * np.float32(np.iinfo(ref.dtype).max))
    return np.ascontiguousarray(array if ref.ndim == 4 else array[0], ref.dtype)

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
    """A network with weights that enhances pictures and keeps no state between calls."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self.network = network
        self.device = device

    @torch.inference_mode()
    def __call__(self, lr: Images, ref: Images) -> Images:
        """Return `lr` at the size of `ref`, enhanced with its detail.

        Arrays are uint8, uint16 or floating point in 0..1, H x W x 3 or N x H x W x 3 RGB. Tensors
        are floating point in 0..1, 3 x H x W or N x 3 x H x W. `ref` is 2, 4 or 8 times as large as
        `lr`. The result has the type and shape of `ref`.

        Raises TypeError if one is an array and the other a tensor, and ValueError for unsupported
        types, shapes and sizes.
        """
        if isinstance(lr, Tensor) != isinstance(ref, Tensor):
            raise TypeError(f"found {type(lr)} and {type(ref)}, expected two arrays or two tensors")
        if lr.dtype != ref.dtype or lr.ndim != ref.ndim:
            raise ValueError(
                f"found {lr.dtype} {tuple(lr.shape)} and {ref.dtype} {tuple(ref.shape)}, "
                "expected the same type and number of axes"
            )

        lr_planes = self._to_planes(lr)
        ref_planes = self._to_planes(ref)
        sr = self._run(lr_planes, ref_planes, _find_scale(lr_planes, ref_planes))
        return cast(Images, _convert_like(sr, ref))

    def _to_planes(self, images: NDArray[Any] | Tensor) -> Tensor:
        """Return N x 3 x H x W float32 in 0..1 on the device."""
        if isinstance(images, Tensor):
            planes = images if images.ndim == 4 else images[None]
            if images.ndim not in (3, 4) or planes.shape[1] != 3 or not planes.is_floating_point():
                raise ValueError(
                    f"found a {images.dtype} tensor {tuple(images.shape)}, expected floating point "
                    "3 x H x W or N x 3 x H x W in 0..1"
                )
            return planes.to(self.device, torch.float32)

        array = np.asarray(images)
        is_floating = np.issubdtype(array.dtype, np.floating)
        is_supported = is_floating or array.dtype in (np.uint8, np.uint16)
        if array.ndim not in (3, 4) or array.shape[-1] != 3 or not is_supported:
            raise ValueError(
                f"found a {array.dtype} array {array.shape}, expected uint8, uint16 or floating "
                "point H x W x 3 or N x H x W x 3"
            )

        limit = 1.0 if is_floating else np.iinfo(array.dtype).max
        stack = (array if array.ndim == 4 else array[None]).astype(np.float32) / np.float32(limit)
        return torch.from_numpy(np.ascontiguousarray(stack)).permute(0, 3, 1, 2).to(self.device)

    def _run(self, lr: Tensor, ref: Tensor, scale: int) -> Tensor:
        """Return SR in 0..1, without the padding to the network's multiple."""
        height, width = ref.shape[-2:]
        multiple = self.network.multiple
        padded_lr = pad_planes(lr, multiple // scale)
        padded_ref = pad_planes(ref, multiple)
        sr: Tensor = self.network(padded_lr, padded_ref).sr
        return sr[..., :height, :width].clamp(0, 1)


def load(model: str = "fast", *, device: str | torch.device | None = None) -> Enhancer:
    """Load the weights of `model`: the preset `fast`, or the path of a safetensors file.

    `device` defaults to CUDA if available. Raises WeightsError for weights that cannot be used.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Enhancer(load_network(model).to(chosen), chosen)


def _find_scale(lr: Tensor, ref: Tensor) -> int:
    """Return how many times larger `ref` is; raise ValueError unless it is 2, 4 or 8."""
    height, width = lr.shape[-2:]
    ref_size = tuple(ref.shape[-2:])
    for scale in SCALES:
        if ref_size == (scale * height, scale * width) and len(lr) == len(ref):
            return scale
    raise ValueError(
        f"found {len(lr)} pictures of {width}x{height} and {len(ref)} references of "
        f"{ref_size[1]}x{ref_size[0]}, expected as many references, 2, 4 or 8 times as large"
    )


def _convert_like(sr: Tensor, ref: NDArray[Any] | Tensor) -> NDArray[Any] | Tensor:
    """Convert N x 3 x H x W in 0..1 to the type and layout of `ref`."""
    if isinstance(ref, Tensor):
        return (sr if ref.ndim == 4 else sr[0]).to(ref.device, ref.dtype)

    array = sr.permute(0, 2, 3, 1).cpu().numpy()
    if not np.issubdtype(ref.dtype, np.floating):
        array = np.rint(array * np.float32(np.iinfo(ref.dtype).max))
    return np.ascontiguousarray(array if ref.ndim == 4 else array[0], ref.dtype)

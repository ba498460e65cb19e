"""The network on arrays or tensors: `crossnetpp.load("fast")(lr, ref)`."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossnetpp.checkpoint import load_network
from crossnetpp.networks.build import Network

Images = TypeVar("Images", NDArray[Any], Tensor)
SCALES = (2, 4, 8)


class Enhancer:
    """A network with weights, called on pictures; keeps no state between calls."""

    def __init__(self, network: Network, device: torch.device) -> None:
        self.network = network
        self.device = device

    @torch.inference_mode()
    def __call__(self, lr: Images, ref: Images) -> Images:
        """Return `lr` enlarged to the size of `ref`, with its detail; kind and shape of `ref`.

        Arrays are uint8, uint16 or floating 0..1, H x W x 3 or N x H x W x 3 RGB; tensors floating
        0..1, 3 x H x W or N x 3 x H x W. `ref` is 2, 4 or 8 times as large as `lr`. Raises
        ValueError for anything else, TypeError for an array beside a tensor.
        """
        if isinstance(lr, Tensor) != isinstance(ref, Tensor):
            raise TypeError(f"found {type(lr)} and {type(ref)}, expected two arrays or two tensors")
        if lr.dtype != ref.dtype or lr.ndim != ref.ndim:
            raise ValueError(
                f"found {lr.dtype} {tuple(lr.shape)} and {ref.dtype} {tuple(ref.shape)}, "
                "expected the same type and number of axes"
            )
        small, large = self._planes(lr), self._planes(ref)
        sr = self._run(small, large, _scale(small, large))
        return cast(Images, _like(sr, ref))

    def _planes(self, images: NDArray[Any] | Tensor) -> Tensor:
        """Return N x 3 x H x W float32 in 0..1 on the device."""
        if isinstance(images, Tensor):
            planes = images if images.ndim == 4 else images[None]
            if images.ndim not in (3, 4) or planes.shape[1] != 3 or not planes.is_floating_point():
                raise ValueError(
                    f"found a {images.dtype} tensor {tuple(images.shape)}, expected floating "
                    "3 x H x W or N x 3 x H x W in 0..1"
                )
            return planes.to(self.device, torch.float32)
        array = np.asarray(images)
        known = array.dtype in (np.uint8, np.uint16) or np.issubdtype(array.dtype, np.floating)
        if array.ndim not in (3, 4) or array.shape[-1] != 3 or not known:
            raise ValueError(
                f"found a {array.dtype} array {array.shape}, expected uint8, uint16 or floating "
                "H x W x 3 or N x H x W x 3"
            )
        limit = 1.0 if np.issubdtype(array.dtype, np.floating) else np.iinfo(array.dtype).max
        stack = (array if array.ndim == 4 else array[None]).astype(np.float32) / np.float32(limit)
        return torch.from_numpy(np.ascontiguousarray(stack)).permute(0, 3, 1, 2).to(self.device)

    def _run(self, lr: Tensor, ref: Tensor, scale: int) -> Tensor:
        height, width = ref.shape[-2:]
        multiple = self.network.multiple
        padded = [_padded(lr, multiple // scale), _padded(ref, multiple)]
        sr: Tensor = self.network(*padded).sr
        return sr[..., :height, :width].clamp(0, 1)


def load(model: str = "fast", *, device: str | torch.device | None = None) -> Enhancer:
    """Return the network named `model` (`fast`, or a file of weights), ready to be called.

    `device` is CUDA where there is one. Raises WeightsError for weights that cannot be used.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Enhancer(load_network(model).to(chosen), chosen)


def _scale(lr: Tensor, ref: Tensor) -> int:
    (height, width), large = lr.shape[-2:], tuple(ref.shape[-2:])
    for scale in SCALES:
        if large == (scale * height, scale * width) and len(lr) == len(ref):
            return scale
    raise ValueError(
        f"found {len(lr)} pictures of {width}x{height} and {len(ref)} references of "
        f"{large[1]}x{large[0]}, expected as many references, 2, 4 or 8 times as large"
    )


def _padded(planes: Tensor, multiple: int) -> Tensor:
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _like(sr: Tensor, ref: NDArray[Any] | Tensor) -> NDArray[Any] | Tensor:
    """Return N x 3 x H x W in 0..1 as the kind of `ref`."""
    if isinstance(ref, Tensor):
        return (sr if ref.ndim == 4 else sr[0]).to(ref.device, ref.dtype)
    array = sr.permute(0, 2, 3, 1).cpu().numpy()
    if not np.issubdtype(ref.dtype, np.floating):
        array = np.rint(array * np.float32(np.iinfo(ref.dtype).max))
    return np.ascontiguousarray(array if ref.ndim == 4 else array[0], ref.dtype)

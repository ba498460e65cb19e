"""The network in PyTorch: the engine every other engine is held against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.checkpoint import load_network
from crossnetpp.fast import CrossNetFast, Prepared
from deploy.protocol import EngineError, EngineInfo, Pixels, scale_of

MEASURED_BYTES_PER_PIXEL = 700
"""Growth of the process per output pixel of a batch, `fast` on a CPU."""


class _Kept(NamedTuple):
    """The last reference and what was computed from it."""

    pixels: Pixels
    scale: int
    prepared: Prepared


def device_name(device: torch.device) -> str:
    """Return `cpu`, or the CUDA device with the name of the card."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return str(device)


class TorchEngine:
    """Run CrossNet++ eagerly, channels last, in float32."""

    def __init__(
        self, model: str = "fast", *, threads: int | None = None, reason: str = "asked for"
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = load_network(model).to(self.device)
        # NHWC is the layout the convolution kernels of both CPU and tensor cores work in
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._kept: _Kept | None = None
        self.info = EngineInfo(
            name="torch",
            device=device_name(self.device),
            model=model,
            precision="fp32",
            multiple=self.network.multiple,
            bytes_per_pixel=MEASURED_BYTES_PER_PIXEL,
            reason=reason,
        )

    def _planes(self, frames: Pixels, multiple: int) -> Tensor:
        """Return N x 3 x H x W float32 in 0..1, padded, of uint8 or uint16 N x H x W x 3."""
        limit = float(np.iinfo(frames.dtype).max)
        on_device = torch.from_numpy(frames).to(self.device)
        planes = on_device.permute(0, 3, 1, 2).float().mul_(1 / limit)
        height, width = planes.shape[-2:]
        return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    def _prepare(self, network: CrossNetFast, ref: Pixels, scale: int) -> Prepared:
        """Prepare one H x W x 3 reference, or take the last one's if it is the same.

        Always one at a time, so that the bits do not depend on what was kept.
        """
        kept = self._kept
        if kept is not None and kept.scale == scale and np.array_equal(kept.pixels, ref):
            return kept.prepared
        prepared = network.prepare(self._planes(ref[None], network.multiple), scale)
        self._kept = _Kept(ref.copy(), scale, prepared)
        return prepared

    def _infer(self, lr: Pixels, ref: Pixels, scale: int) -> Tensor:
        network = self.network
        planes = self._planes(lr, network.multiple // scale)
        if not isinstance(network, CrossNetFast):
            return network(planes, self._planes(ref, network.multiple)).sr  # type: ignore[no-any-return]
        each = [self._prepare(network, frame, scale) for frame in ref]
        return network.enhance(planes, each[0] if len(each) == 1 else _stack(each)).sr

    @torch.inference_mode()
    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames, shape and dtype of `ref`; see Engine.enhance."""
        scale = scale_of(lr, ref)
        height, width = ref.shape[1:3]
        try:
            sr = self._infer(lr, ref, scale)
        except torch.OutOfMemoryError as error:
            raise EngineError(
                f"found too little memory on {self.info.device} for {len(lr)} frames of "
                f"{width}x{height}; try a smaller --batch"
            ) from error
        limit = float(np.iinfo(ref.dtype).max)
        pixels = sr[..., :height, :width].clamp_(0, 1).mul_(limit).round_().permute(0, 2, 3, 1)
        # torch has no arithmetic on uint16 but converts to it
        dtype = torch.uint8 if ref.dtype == np.uint8 else torch.uint16
        result: Pixels = pixels.to(dtype).contiguous().cpu().numpy()
        return result


def _stack(each: list[Prepared]) -> Prepared:
    """Join prepared references of one frame each into a batch."""
    return Prepared(
        torch.cat([p.ref for p in each]),
        torch.cat([p.unsharp for p in each]),
        tuple(torch.cat(level) for level in zip(*(p.features for p in each), strict=True)),
    )

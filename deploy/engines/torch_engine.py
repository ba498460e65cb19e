"""The network in PyTorch: the engine every other engine is held against."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.checkpoint import load_network
from deploy.protocol import EngineError, EngineInfo, Pixels, scale_of

MEASURED_BYTES_PER_PIXEL = 700
"""Peak growth of the process per output pixel, `fast`, CPU, 1280 x 720 x4 (jobs/results)."""


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
        network = load_network(model)
        self.network = network.to(self.device)
        # NHWC is the layout the convolution kernels of both CPU and tensor cores work in
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.info = EngineInfo(
            name="torch",
            device=device_name(self.device),
            model=model,
            precision="fp32",
            multiple=network.multiple,
            bytes_per_pixel=MEASURED_BYTES_PER_PIXEL,
            reason=reason,
        )

    def _planes(self, frames: Pixels) -> Tensor:
        """Return N x 3 x H x W float32 in 0..1 of uint8 or uint16 N x H x W x 3."""
        limit = float(np.iinfo(frames.dtype).max)
        on_device = torch.from_numpy(frames).to(self.device)
        return on_device.permute(0, 3, 1, 2).float().mul_(1 / limit)

    def _pad(self, planes: Tensor, multiple: int) -> Tensor:
        height, width = planes.shape[-2:]
        return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")

    @torch.inference_mode()
    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames, shape and dtype of `ref`; see Engine.enhance."""
        scale = scale_of(lr, ref)
        height, width = ref.shape[1:3]
        multiple = self.network.multiple
        try:
            sr = self.network(
                self._pad(self._planes(lr), multiple // scale),
                self._pad(self._planes(ref), multiple),
            ).sr
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

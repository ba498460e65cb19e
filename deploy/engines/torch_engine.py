"""The network in PyTorch: the engine every other engine is held against."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossnetpp.checkpoint import load_network
from crossnetpp.networks.fast import CrossNetFast, Prepared
from deploy.engines.cuda_graph import CudaGraphCache
from deploy.export.lowering import Precision, lower_network
from deploy.memory import is_out_of_memory
from deploy.protocol import CONTEXT, EngineInfo, OutOfMemory, Pixels, find_scale

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
    """Run CrossNet++ eagerly, channels last; on a GPU with convolutions in float16.

    On a CPU the frames of a batch run side by side, each on its share of the threads: fewer threads
    wait for each other than when all of them work on one frame.
    """

    def __init__(
        self,
        model: str = "fast",
        *,
        threads: int | None = None,
        reason: str = "requested",
        precision: Precision | None = None,
    ) -> None:
        on_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda" if on_gpu else "cpu")
        precision = precision or ("fp16" if on_gpu else "fp32")
        network = load_network(model)
        if precision == "fp16":
            # coordinates, warps and sums stay float32
            lower_network(network, precision)
        elif on_gpu:
            # what judges others is not to be rounded to 10 bits itself
            torch.backends.cudnn.allow_tf32 = False
        self.network = network.to(self.device)
        # NHWC is the layout the convolution kernels of both CPU and tensor cores work in
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._threads = threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="torch-engine")
        self._kept: _Kept | None = None
        self.recordings = CudaGraphCache() if on_gpu else None
        """None: every kernel is handed over by itself."""
        self.info = EngineInfo(
            name="torch",
            device=device_name(self.device),
            model=model,
            precision=precision,
            multiple=self.network.multiple,
            bytes_per_pixel=MEASURED_BYTES_PER_PIXEL,
            reason=reason,
            context=CONTEXT,
        )

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames, shape and dtype of `ref`; see Engine.enhance."""
        scale = find_scale(lr, ref)
        height, width = ref.shape[1:3]
        try:
            return self._enhance(lr, ref, scale)
        except RuntimeError as error:  # torch.OutOfMemoryError is one, a CPU's has no class
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"found too little memory on {self.info.device} for {len(lr)} frames of "
                f"{width}x{height}"
            ) from error

    def _enhance(self, lr: Pixels, ref: Pixels, scale: int) -> Pixels:
        torch.set_num_threads(self._threads)
        references = self._references(ref, scale)
        if self.device.type != "cpu" or len(lr) == 1:
            return self._run(lr, references, scale, ref.shape, self._threads)
        share = max(1, self._threads // len(lr))
        each = [
            self._pool.submit(
                self._run, lr[i : i + 1], references[i : i + 1], scale, ref.shape, share
            )
            for i in range(len(lr))
        ]
        return cast(Pixels, np.concatenate([frame.result() for frame in each]))

    @torch.inference_mode()
    def _references(self, ref: Pixels, scale: int) -> list[Prepared] | list[Tensor]:
        """Return what each frame needs of its reference, made by all threads."""
        network = self.network
        if isinstance(network, CrossNetFast):
            return [self._prepare(network, frame, scale) for frame in ref]
        return [self._on_device(frame[None]) for frame in ref]

    def _prepare(self, network: CrossNetFast, ref: Pixels, scale: int) -> Prepared:
        """Prepare one H x W x 3 reference, or take the last one's if it is the same.

        Always one at a time, so that the bits do not depend on what was kept.
        """
        kept = self._kept
        if kept is not None and kept.scale == scale and np.array_equal(kept.pixels, ref):
            return kept.prepared
        prepared = network.prepare(self._on_device(ref[None]), scale)
        self._kept = _Kept(ref.copy(), scale, prepared)
        return prepared

    def _on_device(self, frames: Pixels) -> Tensor:
        return _planes(torch.from_numpy(frames).to(self.device), self.network.multiple)

    @torch.inference_mode()
    def _run(
        self,
        lr: Pixels,
        references: list[Prepared] | list[Tensor],
        scale: int,
        shape: tuple[int, ...],
        threads: int,
    ) -> Pixels:
        """Return SR frames for `lr` on `threads` of the CPU, cut to the size of `shape`."""
        torch.set_num_threads(threads)

        def work(pixels: Tensor, *tensors: Tensor) -> Tensor:
            return self._pixels(pixels, tensors, scale, shape)

        inputs = (torch.from_numpy(lr).to(self.device), *_tensors(references))
        if self.recordings is None:
            sr = work(*inputs)
        else:
            sr = self.recordings.play((lr.shape, lr.dtype.str, scale, shape), work, inputs)
        if not sr.is_cuda:
            return cast(Pixels, sr.numpy())
        # page-locked: a copy into ordinary memory goes through a buffer of the driver's
        return cast(Pixels, torch.empty_like(sr, device="cpu", pin_memory=True).copy_(sr).numpy())

    def _pixels(
        self, lr: Tensor, references: tuple[Tensor, ...], scale: int, shape: tuple[int, ...]
    ) -> Tensor:
        """Return SR frames as `lr` is, on its device, from what `_tensors` made of references."""
        network = self.network
        planes = _planes(lr, network.multiple // scale)
        if isinstance(network, CrossNetFast):
            ref, luma, unsharp, *features = references
            prepared = Prepared(ref, luma, unsharp, tuple(features), scale)
            sr = network.enhance(planes, prepared).sr
        else:
            sr = network(planes, *references).sr
        sr = sr[..., : shape[1], : shape[2]].clamp_(0, 1).mul_(torch.iinfo(lr.dtype).max).round_()
        # torch has no arithmetic on uint16 but converts to it
        return sr.permute(0, 2, 3, 1).to(lr.dtype).contiguous()


def _planes(frames: Tensor, multiple: int) -> Tensor:
    """Return N x 3 x H x W float32 in 0..1, padded, of uint8 or uint16 N x H x W x 3."""
    planes = frames.permute(0, 3, 1, 2).float().mul_(1 / torch.iinfo(frames.dtype).max)
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def _tensors(references: list[Prepared] | list[Tensor]) -> list[Tensor]:
    """Return the references of a batch, joined, as tensors alone: fields of Prepared in order."""
    flat = [
        [one.ref, one.luma, one.unsharp, *one.features] if isinstance(one, Prepared) else [one]
        for one in references
    ]
    return [torch.cat(same) if len(same) > 1 else same[0] for same in zip(*flat, strict=True)]

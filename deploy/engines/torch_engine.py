"""The engine that uses PyTorch, which is also the baseline for testing all other engines."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import torch
from torch import Tensor

from crossnetpp.machine import is_out_of_memory
from crossnetpp.networks.blocks import pad_planes
from crossnetpp.networks.build import Network
from crossnetpp.networks.fast import CrossNetFast, Prepared
from crossnetpp.networks.taps import Taps
from deploy.device import BASELINE_DEVICES, choose_device
from deploy.engines.cuda_graph import CudaGraphCache
from deploy.engines.kept_references import KeptReferences
from deploy.export.lowering import Precision, lower_network
from deploy.export.stored import load_model_network
from deploy.protocol import (
    CONTEXT,
    EngineError,
    EngineInfo,
    Pixels,
    Weights,
    complete_weights,
    find_scale,
    make_memory_error,
)

UINT16_DEVICES = ("cuda", "cpu")
MEASURED_BYTES_PER_PIXEL = 700  # growth in memory per output pixel of a batch, for `fast` on a CPU


_References = list[Prepared] | list[Tensor]
"""The K references of a frame: prepared, if the network supports that, or as 1 x 3 x H x W."""


def device_name(device: torch.device) -> str:
    """Return the name of a device: `cpu`, `mps`, or for example `cuda:0 NVIDIA H100`."""
    if device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return str(device)


class TorchEngine:
    """An engine that runs the network in eager PyTorch.

    On NVIDIA GPUs, convolutions run in float16. On a CPU, the frames of a batch are enhanced in
    parallel, each on its share of the threads, because threads that work on the same frame wait for
    each other.
    """

    def __init__(
        self,
        model: str = "fast",
        *,
        threads: int | None = None,
        reason: str = "requested",
        precision: Precision | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or choose_device()
        on_gpu = self.device.type == "cuda"
        network = load_model_network(model)
        precision = precision or ("fp16" if on_gpu else "fp32")
        if precision in ("fp16", "bf16"):
            # coordinates, warps and additions of layers' outputs stay in float32
            lower_network(network, precision)
        elif on_gpu:
            # the baseline of the self-tests must not round to TF32, which has a 10-bit mantissa
            torch.backends.cudnn.allow_tf32 = False
        self.network = network.to(self.device)
        # channels last is the native layout of convolutions on CPUs and tensor cores
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._threads = threads or torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="torch-engine")
        self._kept = KeptReferences[Prepared]()
        self.cuda_graphs = CudaGraphCache() if on_gpu else None
        """The CUDA graphs; None means that every kernel is launched separately."""
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

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        """Return SR frames, with the shape and dtype of a reference; see Engine.enhance."""
        scale = find_scale(lr, *refs)
        weights = complete_weights(weights, len(lr), len(refs))
        try:
            return self._enhance(lr, refs, weights, kernel, scale)
        except RuntimeError as error:  # only GPUs raise torch.OutOfMemoryError
            if not is_out_of_memory(error):
                if self.device.type in BASELINE_DEVICES:
                    raise
                # PyTorch lacks some operations on other devices
                raise EngineError(
                    f"PyTorch cannot run the network on {self.info.device} "
                    f"({str(error).splitlines()[0]}); try --engine onnx"
                ) from error
            raise make_memory_error(self.info.device, refs[0].shape) from error

    def _enhance(
        self,
        lr: Pixels,
        refs: tuple[Pixels, ...],
        weights: Weights,
        kernel: Taps | None,
        scale: int,
    ) -> Pixels:
        torch.set_num_threads(self._threads)
        references = self._references(refs, scale, kernel)
        if self.device.type != "cpu" or len(lr) == 1:
            return self._run(lr, references, weights, scale, refs[0].shape, self._threads)
        share = max(1, self._threads // len(lr))
        each = [
            self._pool.submit(
                self._run,
                lr[i : i + 1],
                references[i : i + 1],
                weights[i : i + 1],
                scale,
                refs[0].shape,
                share,
            )
            for i in range(len(lr))
        ]
        return cast(Pixels, np.concatenate([frame.result() for frame in each]))

    @torch.inference_mode()
    def _references(
        self, refs: tuple[Pixels, ...], scale: int, kernel: Taps | None
    ) -> list[_References]:
        """Return the K references of each frame, prepared if the network supports that.

        For a network that supports only one reference, return only the nearest one.
        """
        network = self._network_for(refs[0])
        if not isinstance(network, CrossNetFast):
            return [[self._on_device(frame[None])] for frame in refs[0]]

        self._kept.make_room(len(refs))
        # prepare the k-th references of all frames in turn, because neighbouring frames share them
        prepared = [[self._prepare(network, frame, scale, kernel) for frame in ref] for ref in refs]
        return [list(several) for several in zip(*prepared, strict=True)]

    def _prepare(
        self, network: CrossNetFast, ref: Pixels, scale: int, kernel: Taps | None
    ) -> Prepared:
        """Return the tensors computed from one reference (H x W x 3), reusing stored ones.

        References are prepared one by one, so that reusing them does not change the output.
        """

        def compute() -> Prepared:
            taps = None if kernel is None else torch.from_numpy(kernel.copy()).to(self.device)
            return network.prepare(self._on_device(ref[None]), scale, taps)

        return self._kept.get_or_compute(ref, scale, kernel, compute)

    def _network_for(self, frames: Pixels | Tensor) -> Network:
        """Return the network that enhances frames of this dtype; subclasses may have several."""
        return self.network

    def _on_device(self, frames: Pixels) -> Tensor:
        largest = np.iinfo(frames.dtype).max
        return _planes(self._move(frames), self.network.multiple, largest)

    def _move(self, frames: Pixels) -> Tensor:
        """Return frames as a tensor on the device; uint16 becomes int32 if the device lacks it."""
        if frames.dtype == np.uint16 and self.device.type not in UINT16_DEVICES:
            return torch.from_numpy(frames.astype(np.int32)).to(self.device)
        return torch.from_numpy(frames).to(self.device)

    @torch.inference_mode()
    def _run(
        self,
        lr: Pixels,
        references: list[_References],
        weights: Weights,
        scale: int,
        shape: tuple[int, ...],
        threads: int,
    ) -> Pixels:
        """Return SR frames for `lr`, computed on `threads` threads.

        `references` contains the K references of each frame, and `weights` is N x K. `shape` is the
        references' shape without padding, N x H x W x 3; the frames are cropped to its H x W.
        """
        torch.set_num_threads(threads)
        count = len(references[0])
        first = references[0][0]
        has_taps = isinstance(first, Prepared) and first.taps is not None

        def work(pixels: Tensor, prior: Tensor, *tensors: Tensor) -> Tensor:
            found = _from_tensors(tensors, count, scale, has_taps=has_taps)
            return self._pixels(pixels, found, prior, shape, np.iinfo(lr.dtype).max)

        prior = torch.from_numpy(np.ascontiguousarray(weights)).to(self.device)
        inputs = (self._move(lr), prior, *_to_tensors(references))
        if self.cuda_graphs is None:
            sr = work(*inputs)
        else:
            key = (lr.shape, lr.dtype.str, scale, shape, count, has_taps)
            sr = self.cuda_graphs.run(key, work, inputs)
        if not sr.is_cuda:
            return cast(Pixels, sr.cpu().numpy().astype(lr.dtype, copy=False))
        # copy to page-locked memory, because other copies take a detour through a driver buffer
        return cast(Pixels, torch.empty_like(sr, device="cpu", pin_memory=True).copy_(sr).numpy())

    def _pixels(
        self,
        lr: Tensor,
        references: list[Prepared] | list[Tensor],
        weights: Tensor,
        shape: tuple[int, ...],
        largest: int,
    ) -> Tensor:
        """Return SR frames, cropped to the H x W of `shape`, with the dtype and device of `lr`.

        `references` contains, for each k, the k-th references of all frames. `largest` is the pixel
        value of white.
        """
        network = self._network_for(lr)
        scale = shape[1] // lr.shape[1]
        planes = _planes(lr, network.multiple // scale, largest)
        if isinstance(network, CrossNetFast):
            prepared = [each for each in references if isinstance(each, Prepared)]
            sr = network.compute_sr(planes, *prepared, weights=weights)
        else:
            sr = network(planes, *references).sr
        sr = sr[..., : shape[1], : shape[2]].clamp_(0, 1).mul_(largest).round_()
        # PyTorch can convert tensors to uint16, but cannot do arithmetic on them
        return sr.permute(0, 2, 3, 1).to(lr.dtype).contiguous()


def _planes(frames: Tensor, multiple: int, largest: int) -> Tensor:
    """Return `frames` (N x H x W x 3 in 0..largest) as padded float32 N x 3 x H x W in 0..1."""
    planes = frames.permute(0, 3, 1, 2).contiguous().float().mul_(1 / largest)
    return pad_planes(planes, multiple)


def _to_tensors(references: list[_References]) -> list[Tensor]:
    """Return the references of a batch as a flat list of tensors; `_from_tensors` reverses this.

    There is one tensor for each field of each of the K references, batched over the frames, and one
    for the kernel, if any, which all references share. A reference that is not prepared has a
    single field.
    """
    tensors: list[Tensor] = []
    for several in zip(*references, strict=True):
        fields = [
            [one.ref, one.luma, one.unsharp, *one.features] if isinstance(one, Prepared) else [one]
            for one in several
        ]
        tensors += [
            torch.cat(field) if len(field) > 1 else field[0] for field in zip(*fields, strict=True)
        ]
    first = references[0][0]
    if isinstance(first, Prepared) and first.taps is not None:
        tensors.append(first.taps)
    return tensors


def _from_tensors(
    tensors: tuple[Tensor, ...], count: int, scale: int, *, has_taps: bool
) -> list[Prepared] | list[Tensor]:
    """Return the `count` references that `_to_tensors` flattened into `tensors`."""
    taps = tensors[-1] if has_taps else None
    fields = tensors[:-1] if has_taps else tensors
    each = len(fields) // count
    if each == 1:
        return list(fields)

    prepared = []
    for start in range(0, len(fields), each):
        ref, luma, unsharp, *features = fields[start : start + each]
        prepared.append(Prepared(ref, luma, unsharp, tuple(features), scale, taps))
    return prepared

"""The engine that uses TensorRT, or TensorRT for RTX, on this machine's GPU."""

from __future__ import annotations

import itertools
import logging
import threading
import traceback
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossnetpp.networks.taps import Taps, is_same_kernel, make_bicubic_taps
from deploy.engines.kept_references import KeptReferences
from deploy.export.graphs import (
    PREPARED_TENSORS,
    GraphSpec,
    Part,
    PixelType,
    list_parts,
    name_tensor,
)
from deploy.export.lowering import Precision
from deploy.export.stored import load_model_network
from deploy.protocol import (
    CONTEXT,
    EngineInfo,
    OutOfMemoryError,
    Pixels,
    Weights,
    complete_weights,
    find_scale,
    make_memory_error,
    pad_to_multiple,
)
from deploy.registry import Registry
from deploy.trt.building import Progress
from deploy.trt.device import Cuda, Device
from deploy.trt.library import TensorrtLibrary, find_library
from deploy.trt.profiles import Shape, SizeRange, frames_at_once, input_shape
from deploy.trt.program import Program, ProgramRun
from deploy.trt.stored_plans import get_or_build_plan
from deploy.trt.transfers import TransferRing

BYTES_PER_PIXEL = 700  # working memory per output pixel of a batch, as for PyTorch on a CPU
# Number of sizes that stay ready, each of which occupies GPU memory. The tiles of a 2 x 2 grid have
# up to four sizes. Tiles of finer grids may have more sizes than this, and are then prepared again
# for every frame.
MOST_SIZES = 6
_log = logging.getLogger(__name__)


@dataclass
class _PreparedSize:
    """The buffers and programs for one number of frames, height, width, scale and pixel type."""

    scale: int
    ring: TransferRing
    prepare: ProgramRun | None
    frame: ProgramRun
    loaded: list[list[int | None]]
    """For each frame of a batch, the numbers of the loaded references; see `_reference_number`."""
    prepared: int | None = None
    """The number of the reference on which `prepare` last ran; None if it has not run."""
    taps: Taps | None = None
    """The downscaling kernel that was copied to the device; None if none was."""


class _SizeKey(NamedTuple):
    shape: Shape
    scale: int
    pixels: str
    references: int


def _log_progress(phase: str, done: int, total: int) -> None:
    if done == 0:
        _log.info("TensorRT: %s", phase)


class TensorrtEngine:
    """An engine that runs plans built for this GPU, copying some frames while it computes others.

    The constructor, which reads no plans, raises EngineError if the driver, the GPU or TensorRT is
    missing or broken, or if the weights cannot be used.
    """

    def __init__(
        self,
        model: str = "fast",
        *,
        threads: int | None = None,
        reason: str = "requested",
        precision: Precision = "fp16",
        device: Device | None = None,
        library: TensorrtLibrary | None = None,
        registry: Registry | None = None,
        progress: Progress = _log_progress,
    ) -> None:
        self._device = device or Cuda()
        self._library = library or find_library()
        network = load_model_network(model)
        self._model = model
        self._precision = precision
        self._progress = progress
        self._parts = list_parts(network)
        self._registry = registry or Registry()
        self._programs: dict[tuple[str, SizeRange], Program] = {}
        self._sizes: OrderedDict[_SizeKey, _PreparedSize] = OrderedDict()
        self._references = KeptReferences[int]()
        """The numbers of the most recently used references."""
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.info = EngineInfo(
            name="tensorrt",
            device=self._device.name,
            model=model,
            precision=precision,
            multiple=network.multiple,
            bytes_per_pixel=BYTES_PER_PIXEL,
            reason=f"{reason}; {self._library.name}",
            context=CONTEXT,
        )

    def enhance(
        self,
        lr: Pixels,
        *refs: Pixels,
        weights: Weights | None = None,
        kernel: Taps | None = None,
    ) -> Pixels:
        """Return SR frames, with the shape and dtype of a reference; see Engine.enhance.

        Raises OutOfMemoryError, after releasing the engine's memory, if the GPU has too little
        memory for the batch.
        """
        scale = find_scale(lr, *refs)
        weights = complete_weights(weights, len(lr), len(refs))
        taps = make_bicubic_taps(scale) if kernel is None else kernel
        if len(self._parts) == 1:
            # the network supports only one reference
            refs = refs[:1]
        multiple = self.info.multiple
        padded_lr = pad_to_multiple(lr, multiple // scale)
        padded_refs = [pad_to_multiple(ref, multiple) for ref in refs]
        sr = np.empty_like(refs[0])
        with self._lock:
            try:
                self._enhance(padded_lr, padded_refs, weights, taps, sr)
            except (torch.OutOfMemoryError, OutOfMemoryError) as error:
                # the traceback's stack frames still hold the buffers of the failed attempt
                traceback.clear_frames(error.__traceback__)
                self._sizes.clear()
                self._programs.clear()
                self._device.release_memory()
                raise make_memory_error(self.info.device, sr.shape) from error
        return sr

    def _enhance(
        self, lr: Pixels, refs: list[Pixels], weights: Weights, taps: Taps, sr: Pixels
    ) -> None:
        height, width = refs[0].shape[1:3]
        scale = height // lr.shape[1]
        at_once = min(frames_at_once(height, width), len(lr))
        full = len(lr) // at_once * at_once

        # full batches, then a smaller batch of the remaining frames
        for start, stop in ((0, full), (full, len(lr))):
            if start == stop:
                continue
            count = min(at_once, stop - start)
            key = _SizeKey((count, height, width), scale, str(lr.dtype), len(refs))
            ready = self._prepare_size(key)
            self._set_kernel(ready, taps)

            def chunks(start: int = start, stop: int = stop, count: int = count) -> Iterator[slice]:
                yield from (slice(i, i + count) for i in range(start, stop, count))

            def work(frames: slice, lr: Tensor, sr: Tensor, ready: _PreparedSize = ready) -> None:
                self._set_references(ready, [ref[frames] for ref in refs])
                if "weights" in ready.frame.tensors:
                    prior = torch.from_numpy(weights[frames])
                    ready.frame.tensors["weights"].copy_(prior)
                ready.frame.tensors["lr"].copy_(lr)
                ready.frame(ready.ring.stream)
                sr.copy_(ready.frame.tensors["sr"])

            ready.ring.run(lr, sr, chunks(), work)

    def _set_kernel(self, ready: _PreparedSize, taps: Taps) -> None:
        """If the kernel has changed, copy it to the device and forget the loaded references."""
        if is_same_kernel(ready.taps, taps):
            return
        ready.taps = taps.copy()
        ready.prepared = None
        ready.loaded = [[None] * len(numbers) for numbers in ready.loaded]
        for run in (ready.prepare, ready.frame):
            if run is not None and "taps" in run.tensors:
                run.tensors["taps"].copy_(torch.from_numpy(ready.taps))

    def _set_references(self, ready: _PreparedSize, refs: list[Pixels]) -> None:
        """Copy the references that have changed to the device, and prepare them if possible.

        Each array in `refs` (N x H x W x 3) contains one reference for every frame of the batch.
        """
        for k, ref in enumerate(refs):
            for position, pixels in enumerate(ref):
                number = self._reference_number(ready, pixels, len(refs))
                if ready.loaded[position][k] != number:
                    self._set_reference(ready, k, position, pixels, number)
                    ready.loaded[position][k] = number

    def _set_reference(
        self, ready: _PreparedSize, k: int, position: int, pixels: Pixels, number: int
    ) -> None:
        """Set the k-th reference of the frame at `position` in the batch."""
        # not in pinned memory, so that copies have finished when `copy_` returns
        reference = torch.from_numpy(np.ascontiguousarray(pixels))
        tensors = ready.frame.tensors
        if (name := name_tensor("ref", k)) in tensors:
            tensors[name][position].copy_(reference)
        if ready.prepare is None:
            return

        if ready.prepared != number:
            ready.prepare.tensors["ref"][0].copy_(reference)
            ready.prepare(ready.ring.stream)
            ready.prepared = number
        for source in PREPARED_TENSORS:
            if (name := name_tensor(source, k)) in tensors:
                tensors[name][position].copy_(ready.prepare.tensors[source][0])

    def _reference_number(self, ready: _PreparedSize, pixels: Pixels, references: int) -> int:
        """Return the number that identifies a reference (H x W x 3).

        If its pixels are not those of a recently used reference, the number is new.
        """
        self._references.make_room(references)
        return self._references.get_or_compute(
            pixels, ready.scale, ready.taps, lambda: next(self._numbers)
        )

    def _prepare_size(self, key: _SizeKey) -> _PreparedSize:
        """Return the buffers and programs for a size.

        If MOST_SIZES sizes are already prepared, a new one replaces the least recently used.
        """
        if key in self._sizes:
            self._sizes.move_to_end(key)
            return self._sizes[key]
        while len(self._sizes) >= MOST_SIZES:
            self._sizes.popitem(last=False)

        count, height, width = key.shape
        runs = [self._run(part, key) for part in self._parts]

        dtype = torch.uint8 if key.pixels == "uint8" else torch.uint16
        lr_shape = (count, height // key.scale, width // key.scale, 3)
        ring = TransferRing(self._device, lr_shape, (count, height, width, 3), dtype)
        prepare = runs[0] if len(runs) > 1 else None
        loaded: list[list[int | None]] = [[None] * key.references for _ in range(count)]
        ready = _PreparedSize(key.scale, ring, prepare, runs[-1], loaded)

        self._sizes[key] = ready
        return ready

    def _run(self, part: Part, key: _SizeKey) -> ProgramRun:
        count, height, width = key.shape
        # TensorRT does not support uint16
        pixels: PixelType = "uint8" if key.pixels == "uint8" else "int32"
        references = key.references if part == "frame" else 1
        spec = GraphSpec(part, key.scale, pixels, self._precision, "tensorrt", references)
        program = self._program(spec, SizeRange.for_frames(height, width))
        shape = ((1 if part == "prepare" else count), height, width)
        shapes = {
            name: input_shape(name, program.declared_shape(name), shape, key.scale)
            for name in program.inputs
        }
        return ProgramRun(program, shapes)

    def _program(self, spec: GraphSpec, sizes: SizeRange) -> Program:
        if (spec.name, sizes) not in self._programs:
            entry = get_or_build_plan(
                self._model,
                spec,
                sizes,
                self._library,
                self._device.gpu,
                self._registry,
                self._progress,
            )
            self._programs[spec.name, sizes] = Program(entry.read(), self._library, self._device)
        return self._programs[spec.name, sizes]

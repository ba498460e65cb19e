"""The engine for TensorRT, or TensorRT for RTX, on this machine's GPU."""

from __future__ import annotations

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

from deploy.export.graphs import GraphSpec, PixelType, list_parts
from deploy.export.lowering import Precision
from deploy.export.stored import load_model_network
from deploy.protocol import (
    CONTEXT,
    EngineInfo,
    OutOfMemoryError,
    Pixels,
    find_scale,
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

BYTES_PER_PIXEL = 700  # working memory per output pixel, measured for PyTorch on a CPU
# Number of sizes that stay ready; each holds memory. A grid of 2 x 2 tiles has up to four sizes;
# finer grids have more, and then sizes are prepared again in every frame.
MOST_SIZES = 4
_log = logging.getLogger(__name__)


@dataclass
class _PreparedSize:
    """The buffers and programs for one number of frames, height, width, scale and pixel type."""

    ring: TransferRing
    prepare: ProgramRun | None
    frame: ProgramRun
    loaded: list[int | None]
    """The number of the reference at each position of the batch, as `_reference_number` counts."""
    prepared: int | None = None
    """The number of the reference with which `prepare` ran last."""


class _SizeKey(NamedTuple):
    shape: Shape
    scale: int
    pixels: str


def _log_progress(phase: str, done: int, total: int) -> None:
    if done == 0:
        _log.info("TensorRT: %s", phase)


class TensorrtEngine:
    """Run plans built for this GPU, and copy some frames while computing others.

    Raises EngineError, in one line and before it reads a plan, if the driver, the GPU or TensorRT
    is missing or broken, or if the weights cannot be used.
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
        self._reference: tuple[int, Pixels] | None = None
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

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames, with the shape and dtype of `ref`; see Engine.enhance.

        Raises OutOfMemoryError, after releasing all memory, if the GPU has too little.
        """
        scale = find_scale(lr, ref)
        multiple = self.info.multiple
        padded_lr = pad_to_multiple(lr, multiple // scale)
        padded_ref = pad_to_multiple(ref, multiple)
        sr = np.empty_like(ref)
        with self._lock:
            try:
                self._enhance(padded_lr, padded_ref, sr, scale)
            except (torch.OutOfMemoryError, OutOfMemoryError) as error:
                # the traceback's frames still hold the buffers of the attempt
                traceback.clear_frames(error.__traceback__)
                self._sizes.clear()
                self._programs.clear()
                self._device.release_memory()
                raise OutOfMemoryError(
                    f"found too little memory on {self.info.device} for {len(lr)} frames of "
                    f"{ref.shape[2]}x{ref.shape[1]}; try a smaller --batch"
                ) from error
        return sr

    def _enhance(self, lr: Pixels, ref: Pixels, sr: Pixels, scale: int) -> None:
        height, width = ref.shape[1:3]
        at_once = min(frames_at_once(height, width), len(lr))
        full = len(lr) // at_once * at_once

        # full batches, then a smaller one for the rest
        for start, stop in ((0, full), (full, len(lr))):
            if start == stop:
                continue
            count = min(at_once, stop - start)
            ready = self._prepare_size(_SizeKey((count, height, width), scale, str(ref.dtype)))

            def chunks(start: int = start, stop: int = stop, count: int = count) -> Iterator[slice]:
                yield from (slice(i, i + count) for i in range(start, stop, count))

            def work(frames: slice, lr: Tensor, sr: Tensor, ready: _PreparedSize = ready) -> None:
                self._set_references(ready, ref[frames])
                ready.frame.tensors["lr"].copy_(lr)
                ready.frame(ready.ring.stream)
                sr.copy_(ready.frame.tensors["sr"])

            ready.ring.run(lr, sr, chunks(), work)

    def _set_references(self, ready: _PreparedSize, ref: Pixels) -> None:
        """Copy references that changed to the device, and compute what depends on them alone."""
        for position, pixels in enumerate(ref):
            number = self._reference_number(pixels)
            if ready.loaded[position] == number:
                continue

            # not pinned, so that the copies are complete when `copy_` returns
            reference = torch.from_numpy(np.ascontiguousarray(pixels))
            if "ref" in ready.frame.tensors:
                ready.frame.tensors["ref"][position].copy_(reference)
            if ready.prepare is not None:
                if ready.prepared != number:
                    ready.prepare.tensors["ref"][0].copy_(reference)
                    ready.prepare(ready.ring.stream)
                    ready.prepared = number
                for name, tensor in ready.frame.tensors.items():
                    if name in ready.prepare.tensors and name != "ref":
                        tensor[position].copy_(ready.prepare.tensors[name][0])
            ready.loaded[position] = number

    def _reference_number(self, pixels: Pixels) -> int:
        """Return the number of a reference, which is a new one unless `pixels` have not changed."""
        if self._reference is None or not np.array_equal(self._reference[1], pixels):
            number = 0 if self._reference is None else self._reference[0] + 1
            self._reference = (number, pixels.copy())
        return self._reference[0]

    def _prepare_size(self, key: _SizeKey) -> _PreparedSize:
        """Return the buffers and programs for a size.

        A new size displaces the least recently used one if there are already enough.
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
        ready = _PreparedSize(ring, prepare, runs[-1], [None] * count)

        self._sizes[key] = ready
        return ready

    def _run(self, part: str, key: _SizeKey) -> ProgramRun:
        count, height, width = key.shape
        # TensorRT does not support uint16
        pixels: PixelType = "uint8" if key.pixels == "uint8" else "int32"
        spec = GraphSpec(part, key.scale, pixels, self._precision, "tensorrt")  # type: ignore[arg-type]
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

"""TensorRT, or TensorRT for RTX, on the GPU at hand."""

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
from deploy.protocol import CONTEXT, EngineInfo, OutOfMemory, Pixels, find_scale, pad_to_multiple
from deploy.registry import Registry
from deploy.trt.building import Progress
from deploy.trt.device import Cuda, Device
from deploy.trt.library import TensorrtLibrary, find_library
from deploy.trt.profiles import Shape, SizeRange, frames_at_once, input_shape
from deploy.trt.program import Program, ProgramRun
from deploy.trt.stored_plans import get_or_build_plan
from deploy.trt.transfers import TransferRing

BYTES_PER_PIXEL = 700
"""Working memory for each output pixel: PyTorch's on a CPU, as no GPU has been measured."""
MOST_SIZES = 4
"""Sizes that stay ready; a tile grid has no more, and each holds memory."""
_log = logging.getLogger(__name__)


@dataclass
class _Station:
    """All that is ready for one size: frames, height, width, scale and type."""

    ring: TransferRing
    prepare: ProgramRun | None
    frame: ProgramRun
    held: list[int | None]
    """Which reference each place of the batch holds."""
    prepared: int | None = None
    """Which reference `prepare` has seen last."""


class _Key(NamedTuple):
    shape: Shape
    scale: int
    pixels: str


def _log_progress(phase: str, done: int, total: int) -> None:
    if done == 0:
        _log.info("TensorRT: %s", phase)


class TensorrtEngine:
    """Run plans built for this GPU; frames are copied while others are worked on.

    Raises EngineError, in one line and before a plan is touched, without a driver, a GPU or a
    TensorRT that works.
    """

    def __init__(
        self,
        model: str = "fast",
        *,
        threads: int | None = None,
        reason: str = "requested",
        precision: Precision = "fp16",
        device: Device | None = None,
        flavour: TensorrtLibrary | None = None,
        registry: Registry | None = None,
        progress: Progress = _log_progress,
    ) -> None:
        self._device = device or Cuda()
        self._flavour = flavour or find_library()
        network = load_model_network(model)
        self._model, self._precision, self._progress = model, precision, progress
        self._parts = list_parts(network)
        self._registry = registry or Registry()
        self._programs: dict[tuple[str, SizeRange], Program] = {}
        self._stations: OrderedDict[_Key, _Station] = OrderedDict()
        self._reference: tuple[int, Pixels] | None = None
        self._lock = threading.Lock()
        self.info = EngineInfo(
            name="tensorrt",
            device=self._device.name,
            model=model,
            precision=precision,
            multiple=network.multiple,
            bytes_per_pixel=BYTES_PER_PIXEL,
            reason=f"{reason}; {self._flavour.name}",
            context=CONTEXT,
        )

    def enhance(self, lr: Pixels, ref: Pixels) -> Pixels:
        """Return SR frames, shape and dtype of `ref`; see Engine.enhance.

        Raises OutOfMemory, after giving all memory back, when the GPU has too little.
        """
        scale = find_scale(lr, ref)
        multiple = self.info.multiple
        whole_lr, whole_ref = pad_to_multiple(lr, multiple // scale), pad_to_multiple(ref, multiple)
        sr = np.empty_like(ref)
        with self._lock:
            try:
                self._enhance(whole_lr, whole_ref, sr, scale)
            except (torch.OutOfMemoryError, OutOfMemory) as error:
                # or the buffers of the attempt would live as long as the error
                traceback.clear_frames(error.__traceback__)
                self._stations.clear()
                self._programs.clear()
                self._device.forget()
                raise OutOfMemory(
                    f"found too little memory on {self.info.device} for {len(lr)} frames of "
                    f"{ref.shape[2]}x{ref.shape[1]}; try a smaller --batch"
                ) from error
        return sr

    def _enhance(self, lr: Pixels, ref: Pixels, sr: Pixels, scale: int) -> None:
        height, width = ref.shape[1:3]
        at_once = min(frames_at_once(height, width), len(lr))
        full = len(lr) // at_once * at_once
        for start, stop in ((0, full), (full, len(lr))):
            if start == stop:
                continue
            count = min(at_once, stop - start)
            station = self._station(_Key((count, height, width), scale, str(ref.dtype)))

            def chunks(start: int = start, stop: int = stop, count: int = count) -> Iterator[slice]:
                yield from (slice(i, i + count) for i in range(start, stop, count))

            def work(frames: slice, lr: Tensor, sr: Tensor, station: _Station = station) -> None:
                self._set_references(station, ref[frames])
                station.frame.tensors["lr"].copy_(lr)
                station.frame(station.ring.work)
                sr.copy_(station.frame.tensors["sr"])

            station.ring.run(lr, sr, chunks(), work)

    def _set_references(self, station: _Station, ref: Pixels) -> None:
        """Bring references to the device, and what depends on them alone, where they changed."""
        for place, pixels in enumerate(ref):
            token = self._token(pixels)
            if station.held[place] == token:
                continue
            # from memory that is not pinned, so that it is there when this returns
            on_device = torch.from_numpy(np.ascontiguousarray(pixels))
            if "ref" in station.frame.tensors:
                station.frame.tensors["ref"][place].copy_(on_device)
            if station.prepare is not None:
                if station.prepared != token:
                    station.prepare.tensors["ref"][0].copy_(on_device)
                    station.prepare(station.ring.work)
                    station.prepared = token
                for name, tensor in station.frame.tensors.items():
                    if name in station.prepare.tensors and name != "ref":
                        tensor[place].copy_(station.prepare.tensors[name][0])
            station.held[place] = token

    def _token(self, pixels: Pixels) -> int:
        """Return a number that is the same for the same reference as the last."""
        if self._reference is None or not np.array_equal(self._reference[1], pixels):
            number = 0 if self._reference is None else self._reference[0] + 1
            self._reference = number, pixels.copy()
        return self._reference[0]

    def _station(self, key: _Key) -> _Station:
        if key in self._stations:
            self._stations.move_to_end(key)
            return self._stations[key]
        while len(self._stations) >= MOST_SIZES:
            self._stations.popitem(last=False)
        count, height, width = key.shape
        runs = [self._run(part, key) for part in self._parts]
        dtype = torch.uint8 if key.pixels == "uint8" else torch.uint16
        small = count, height // key.scale, width // key.scale, 3
        ring = TransferRing(self._device, small, (count, height, width, 3), dtype)
        prepare = runs[0] if len(runs) > 1 else None
        station = _Station(ring, prepare, runs[-1], [None] * count)
        self._stations[key] = station
        return station

    def _run(self, part: str, key: _Key) -> ProgramRun:
        count, height, width = key.shape
        # TensorRT knows no uint16
        pixels: PixelType = "uint8" if key.pixels == "uint8" else "int32"
        spec = GraphSpec(part, key.scale, pixels, self._precision, "tensorrt")  # type: ignore[arg-type]
        program = self._program(spec, SizeRange.of(height, width))
        shape = (1 if part == "prepare" else count), height, width
        shapes = {
            name: input_shape(name, program.declared(name), shape, key.scale)
            for name in program.inputs
        }
        return ProgramRun(program, shapes)

    def _program(self, spec: GraphSpec, sizes: SizeRange) -> Program:
        if (spec.name, sizes) not in self._programs:
            entry = get_or_build_plan(
                self._model,
                spec,
                sizes,
                self._flavour,
                self._device.gpu,
                self._registry,
                self._progress,
            )
            self._programs[spec.name, sizes] = Program(entry.read(), self._flavour, self._device)
        return self._programs[spec.name, sizes]

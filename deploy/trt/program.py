"""Plans in memory, and their execution at fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deploy.protocol import OutOfMemoryError
from deploy.trt.building import ErrorLog
from deploy.trt.device import Device, Stream
from deploy.trt.library import TensorrtError, TensorrtLibrary


def _torch_types(api: Any) -> dict[Any, torch.dtype]:
    kinds = api.DataType
    return {
        kinds.FLOAT: torch.float32,
        kinds.HALF: torch.float16,
        kinds.UINT8: torch.uint8,
        kinds.INT32: torch.int32,
    }


class Program:
    """A deserialised plan. Plans are executable code and must come only from the registry.

    Raises TensorrtError if TensorRT rejects the plan.
    """

    def __init__(self, plan: bytes, library: TensorrtLibrary, device: Device) -> None:
        api = library.api
        self.library = library
        self._log = ErrorLog(api)
        self._runtime = api.Runtime(self._log.logger)
        self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise TensorrtError(
                f"{library.name} rejects its own plan: {self._log.first_error()}; "
                "try `pipeline engines build`, or --engine torch"
            )
        self.device = device

        types = _torch_types(api)
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        self.types = {name: types[self.engine.get_tensor_dtype(name)] for name in names}
        mode = api.TensorIOMode
        self.inputs = [n for n in names if self.engine.get_tensor_mode(n) == mode.INPUT]
        self.outputs = [n for n in names if n not in self.inputs]

    def declared_shape(self, name: str) -> tuple[int, ...]:
        """Return the declared shape of the tensor `name`, with -1 for each dynamic axis."""
        return tuple(self.engine.get_tensor_shape(name))

    def first_error(self) -> str:
        """Return TensorRT's first error message, or text that says that there is none."""
        return self._log.first_error()


class ProgramRun:
    """A program at one size: an execution context, buffers at fixed addresses, and a CUDA graph.

    Raises OutOfMemoryError if the GPU has too little memory, and TensorrtError if the plan does not
    support the size or fails.
    """

    def __init__(self, program: Program, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._program = program
        device = program.device
        context = program.engine.create_execution_context()
        if context is None:
            raise OutOfMemoryError(f"there is too little memory on {device.name} for TensorRT")
        self._context = context

        for name in program.inputs:
            if not context.set_input_shape(name, shapes[name]):
                raise TensorrtError(
                    f"the plan does not support the shape {shapes[name]} for {name}: "
                    f"{program.first_error()}; try --engine torch"
                )
        if missing := context.infer_shapes():
            raise TensorrtError(
                f"the plan does not determine the shapes of {', '.join(missing)}; "
                "try --engine torch"
            )

        self.tensors: dict[str, Tensor] = {}
        for name in (*program.inputs, *program.outputs):
            shape = tuple(context.get_tensor_shape(name))
            self.tensors[name] = device.allocate(shape, program.types[name])
            context.set_tensor_address(name, self.tensors[name].data_ptr())
        self._replay: Any = None

    def __call__(self, stream: Stream) -> None:
        """Queue the work on `stream`: directly in the first call, as a CUDA graph afterwards."""
        device = self._program.device
        if self._replay is None:
            # run once before the capture, because lazily loaded kernels cannot be captured
            self._work(stream.cuda_stream)
            self._replay = device.capture(stream, self._work)
        else:
            with device.use_stream(stream):
                self._replay()

    def _work(self, queue: int) -> None:
        if not self._context.execute_async_v3(queue):
            library, reason = self._program.library.name, self._program.first_error()
            raise TensorrtError(f"{library} failed: {reason}; try --engine torch")

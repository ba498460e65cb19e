"""A plan in memory, and its runs at one size each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from deploy.protocol import OutOfMemory
from deploy.trt.building import ErrorLog
from deploy.trt.device import Device, Stream
from deploy.trt.library import TensorrtError, TensorrtLibrary


def _types(api: Any) -> dict[Any, torch.dtype]:
    kinds = api.DataType
    return {
        kinds.FLOAT: torch.float32,
        kinds.HALF: torch.float16,
        kinds.UINT8: torch.uint8,
        kinds.INT32: torch.int32,
    }


class Program:
    """A plan that was deserialised; its bytes come from the registry and from nowhere else."""

    def __init__(self, plan: bytes, flavour: TensorrtLibrary, device: Device) -> None:
        api = flavour.api
        self._said = ErrorLog(api)
        self._runtime = api.Runtime(self._said.logger)
        self.engine = self._runtime.deserialize_cuda_engine(plan)
        if self.engine is None:
            raise TensorrtError(f"{flavour.name} refuses its own plan: {self._said.why()}")
        self.device = device
        types = _types(api)
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        self.types = {name: types[self.engine.get_tensor_dtype(name)] for name in names}
        mode = api.TensorIOMode
        self.inputs = [n for n in names if self.engine.get_tensor_mode(n) == mode.INPUT]
        self.outputs = [n for n in names if n not in self.inputs]

    def declared(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, -1 where it is free."""
        return tuple(self.engine.get_tensor_shape(name))

    def why(self) -> str:
        """Return what TensorRT complained of."""
        return self._said.why()


class ProgramRun:
    """One size of a program: a context, buffers that stay where they are, and its recorded work."""

    def __init__(self, program: Program, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._program = program
        device = program.device
        context = program.engine.create_execution_context()
        if context is None:
            raise OutOfMemory(f"found too little memory on {device.name} for TensorRT")
        self._context = context
        self.tensors: dict[str, Tensor] = {}
        for name in program.inputs:
            if not context.set_input_shape(name, shapes[name]):
                raise TensorrtError(
                    f"the plan does not take {name} of {shapes[name]}: {program.why()}"
                )
        if missing := context.infer_shapes():
            raise TensorrtError(f"the plan does not know the sizes of {', '.join(missing)}")
        for name in (*program.inputs, *program.outputs):
            shape = tuple(context.get_tensor_shape(name))
            self.tensors[name] = device.buffer(shape, program.types[name])
            context.set_tensor_address(name, self.tensors[name].data_ptr())
        self._replay: Any = None

    def __call__(self, stream: Stream) -> None:
        """Queue the work on `stream`; the first time as it is, from the second on recorded."""
        device = self._program.device
        if self._replay is None:
            # lazily loaded kernels cannot be recorded, so everything runs once before
            self._work(stream.cuda_stream)
            self._replay = device.recorded(stream, self._work)
        else:
            with device.on(stream):
                self._replay()

    def _work(self, queue: int) -> None:
        if not self._context.execute_async_v3(queue):
            raise TensorrtError(f"TensorRT failed: {self._program.why()}")

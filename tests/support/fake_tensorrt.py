"""A fake of the module `tensorrt` 10.x and 11.x, which tests copy onto sys.path.

It has only the names of its version and logs every call. Its plans contain the ONNX graph, which
onnxruntime runs on the tensor addresses. Three environment variables control it: FAKE_TENSORRT (the
version), FAKE_TENSORRT_CALLS (the log file) and FAKE_TENSORRT_DOES (the fault).
"""

import ctypes
import enum
import json
import os
import time

import numpy as np
import onnx
import onnxruntime

__version__ = os.environ.get("FAKE_TENSORRT", "11.4.0.5")
_MAJOR = int(__version__.split(".")[0])
_DOES = os.environ.get("FAKE_TENSORRT_DOES", "")
_PLAN = b"a plan of " + __version__.encode() + b"\n"

if _DOES == "crash":
    os.abort()
if _DOES == "oserror":
    raise OSError("libnvinfer.so.11: cannot open shared object file")


def _call(name, *values):
    if path := os.environ.get("FAKE_TENSORRT_CALLS"):
        with open(path, "a") as file:  # noqa: PTH123
            file.write(json.dumps([name, *values], default=str) + "\n")


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1


class ILogger:
    INTERNAL_ERROR, ERROR = Severity.INTERNAL_ERROR, Severity.ERROR

    def __init__(self):
        pass


class Logger(ILogger):
    def __init__(self, severity):
        pass

    def log(self, severity, message):
        pass


class IProgressMonitor:
    def __init__(self):
        pass


DataType = enum.Enum("DataType", "FLOAT HALF UINT8 INT32")
TensorIOMode = enum.Enum("TensorIOMode", "NONE INPUT OUTPUT")
InterpolationMode = enum.Enum("InterpolationMode", "NEAREST LINEAR CUBIC")
LayerType = enum.Enum("LayerType", "GRID_SAMPLE CONVOLUTION")
MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
if _MAJOR < 11:
    BuilderFlag = enum.Enum("BuilderFlag", "FP16 BF16 INT8 TF32 REFIT")
    NetworkDefinitionCreationFlag = enum.IntEnum(
        "NetworkDefinitionCreationFlag", "EXPLICIT_BATCH STRONGLY_TYPED", start=0
    )
else:
    BuilderFlag = enum.Enum("BuilderFlag", "TF32 REFIT")
    NetworkDefinitionCreationFlag = enum.IntEnum(
        "NetworkDefinitionCreationFlag", "STRONGLY_TYPED", start=0
    )
_TYPES = {1: DataType.FLOAT, 2: DataType.UINT8, 6: DataType.INT32, 10: DataType.HALF}
_NUMPY = {1: np.float32, 2: np.uint8, 6: np.int32, 10: np.float16}


class ILayer:
    def __init__(self, type_, mode):
        self.type, self._mode = type_, mode


class IGridSampleLayer(ILayer):
    @property
    def interpolation_mode(self):
        return self._mode


def _shape(value):
    return tuple(d.dim_value or -1 for d in value.type.tensor_type.shape.dim)


class _Tensor:
    __slots__ = ("dtype", "name", "shape")

    def __init__(self, value):
        self.name, self.shape = value.name, _shape(value)
        self.dtype = _TYPES[value.type.tensor_type.elem_type]


class _Network:
    __slots__ = ("_graph", "_inputs", "_layers")

    def __init__(self):
        self._graph, self._layers, self._inputs = b"", [], []

    def _take(self, graph):
        model = onnx.load_from_string(graph).graph
        for node in model.node:
            if node.op_type == "GridSample":
                modes = {a.name: a.s for a in node.attribute}
                linear = modes["mode"] == b"bilinear"
                mode = InterpolationMode.LINEAR if linear else InterpolationMode.CUBIC
                mode = InterpolationMode.NEAREST if _DOES == "nearest" else mode
                self._layers.append(ILayer(LayerType.GRID_SAMPLE, mode))
        self._graph, self._inputs = graph, [_Tensor(value) for value in model.input]

    num_layers = property(lambda self: len(self._layers))
    num_inputs = property(lambda self: len(self._inputs))

    def get_layer(self, i):
        return self._layers[i]

    def get_input(self, i):
        return self._inputs[i]


class _ParserError:
    def desc(self):
        return "no importer\nfor CumSum"


class OnnxParser:
    __slots__ = ("_network", "num_errors")

    def __init__(self, network, logger):
        self._network, self.num_errors = network, 0

    def parse(self, graph):
        if _DOES == "refuse":
            self.num_errors = 1
            return False
        self._network._take(graph)
        return True

    def get_error(self, i):
        return _ParserError()


class _Profile:
    __slots__ = ()

    def set_shape(self, name, least, usual, most):
        _call("set_shape", name, least, usual, most)


class _TimingCache:
    def __init__(self, blob):
        self._blob = blob

    def serialize(self):
        return self._blob + b"timed;"


class _Config:
    __slots__ = ("_timing", "builder_optimization_level", "max_aux_streams", "progress_monitor")

    def clear_flag(self, flag):
        _call("clear_flag", flag.name)

    def set_memory_pool_limit(self, pool, limit):
        _call("set_memory_pool_limit", pool.name, limit)

    def add_optimization_profile(self, profile):
        return 0

    def create_timing_cache(self, blob):
        return _TimingCache(blob)

    def set_timing_cache(self, cache, ignore_mismatch):
        _call("set_timing_cache", cache._blob.decode())
        self._timing = cache

    def get_timing_cache(self):
        return self._timing


class Builder:
    __slots__ = ("_logger",)

    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags=0):
        if _MAJOR < 11:
            assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        _call("create_network", flags)
        return _Network()

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        _call("build")
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        for step in range(2):
            if not monitor.step_complete("Building", step):
                return None
            time.sleep(60 if _DOES == "hang" else 0)
        monitor.phase_finish("Building")
        if _DOES == "crash while building":
            os.abort()
        if _DOES == "nothing":
            self._logger.log(ILogger.ERROR, "no tactic\nfor node 7")
            return None
        return _PLAN + network._graph


class Runtime:
    __slots__ = ("_logger",)

    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, plan):
        _call("deserialize")
        if not plan.startswith(_PLAN):
            self._logger.log(ILogger.ERROR, "version tag does not match")
            return None
        return _Engine(plan[len(_PLAN) :])


class _Engine:
    __slots__ = ("_outputs", "_session", "_values")

    def __init__(self, graph):
        model = onnx.load_from_string(graph).graph
        self._values = {v.name: v for v in (*model.input, *model.output)}
        self._outputs = [v.name for v in model.output]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )

    num_io_tensors = property(lambda self: len(self._values))

    def get_tensor_name(self, i):
        return list(self._values)[i]

    def get_tensor_mode(self, name):
        return TensorIOMode.OUTPUT if name in self._outputs else TensorIOMode.INPUT

    def get_tensor_dtype(self, name):
        return _TYPES[self._values[name].type.tensor_type.elem_type]

    def get_tensor_shape(self, name):
        return _shape(self._values[name])

    def create_execution_context(self):
        return None if _DOES == "no memory" else _Context(self)


class _Context:
    __slots__ = ("_addresses", "_engine", "_shapes")

    def __init__(self, engine):
        self._engine, self._shapes, self._addresses = engine, {}, {}

    def set_input_shape(self, name, shape):
        self._shapes[name] = shape
        return True

    def _type(self, name):
        return _NUMPY[self._engine._values[name].type.tensor_type.elem_type]

    def _run(self, inputs):
        return self._engine._session.run(self._engine._outputs, inputs)

    def infer_shapes(self):
        inputs = {name: np.zeros(s, self._type(name)) for name, s in self._shapes.items()}
        for name, array in zip(self._engine._outputs, self._run(inputs), strict=True):
            self._shapes[name] = array.shape
        return []

    def get_tensor_shape(self, name):
        return self._shapes[name]

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def _at(self, name):
        count = int(np.prod(self._shapes[name])) * np.dtype(self._type(name)).itemsize
        memory = (ctypes.c_uint8 * count).from_address(self._addresses[name])
        return np.frombuffer(memory, self._type(name)).reshape(self._shapes[name])

    def execute_async_v3(self, stream):
        _call("execute", stream)
        assert stream != 0, "the default stream"
        inputs = [name for name in self._shapes if name not in self._engine._outputs]
        made = self._run({name: self._at(name) for name in inputs})
        for name, array in zip(self._engine._outputs, made, strict=True):
            self._at(name)[...] = array
        return True

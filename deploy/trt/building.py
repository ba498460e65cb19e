"""Build a plan from a graph, in a child process: `python -m deploy.trt.building FOLDER`."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.trt.library import TensorrtError, TensorrtLibrary
from deploy.trt.profiles import SizeRange, input_shape

# a function that receives a phase's name, its number of finished steps and its number of steps
Progress = Callable[[str, int, int], None]

# files in the folder shared by parent and child
GRAPH = "graph.onnx"
PLAN = "plan"
TIMING = "timing"
REQUEST = "request.json"
FAILED = "failed.txt"

DEFAULT_WORKSPACE = 1 << 37  # bytes that a kernel may use if the GPU's memory is unknown


@dataclass(frozen=True)
class BuildRequest:
    """Everything that determines a plan, apart from the graph."""

    module: str
    version: str
    scale: int
    sizes: tuple[SizeRange, ...]
    targets: tuple[str, ...] = ()
    """Compute capabilities such as `sm89`; if empty, the plan is built for this machine's GPU."""
    workspace: int = DEFAULT_WORKSPACE
    """Bytes of GPU memory that a kernel may use."""
    level: int = 3
    """TensorRT's optimisation level, from 0 to 5."""

    @property
    def library(self) -> TensorrtLibrary:
        """The installed TensorRT that builds the plan."""
        return TensorrtLibrary(self.module, self.version)

    def to_json(self) -> dict[str, Any]:
        """Return the request as a JSON object."""
        return {**asdict(self), "sizes": [sizes.to_json() for sizes in self.sizes]}

    @classmethod
    def from_file(cls, path: Path) -> BuildRequest:
        """Return the request that the parent process wrote to `path`."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        sizes = tuple(SizeRange.from_json(values) for values in fields.pop("sizes"))
        targets = tuple(fields.pop("targets"))
        return cls(sizes=sizes, targets=targets, **fields)


class ErrorLog:
    """A logger for TensorRT that collects error messages and drops all other messages."""

    def __init__(self, api: Any) -> None:
        messages: list[str] = []

        class Log(api.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                api.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (api.ILogger.ERROR, api.ILogger.INTERNAL_ERROR):
                    messages.append(" ".join(message.split()))

        self.logger = Log()
        self.messages = messages

    def first_error(self) -> str:
        """Return up to 300 characters of the first error message, which usually explains the rest.

        If there is none, return text that says so.
        """
        return self.messages[0][:300] if self.messages else "TensorRT gave no reason"


def _create_monitor(api: Any, progress: Progress) -> Any:
    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps
            progress(phase, 0, steps)

        def step_complete(self, phase: str, step: int) -> bool:
            progress(phase, step + 1, self._steps.get(phase, step + 1))
            return True

        def phase_finish(self, phase: str) -> None:
            steps = self._steps.pop(phase, 0)
            progress(phase, steps, steps)

    return Monitor()


def parse_graph(
    library: TensorrtLibrary, graph: bytes, log: ErrorLog | None = None
) -> tuple[Any, Any, Any]:
    """Return a builder, the network in an ONNX file, and the parser, which owns its weights.

    Raises TensorrtError if the parser rejects the graph or misreads its warps.
    """
    api = library.api
    log = log or ErrorLog(api)
    builder = api.Builder(log.logger)
    network = builder.create_network(library.network_flags())
    parser = api.OnnxParser(network, log.logger)

    if not parser.parse(graph):
        errors = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        reason = " ".join((errors[0] if errors else log.first_error()).split())
        raise TensorrtError(f"{library.name} rejects the graph: {reason[:300]}; try --engine torch")

    check_warps(library, network, list_warp_modes(graph))
    return builder, network, parser


def list_warp_modes(graph: bytes) -> list[str]:
    """Return the mode, `bilinear` or `bicubic`, of every GridSample node in an ONNX file."""
    import onnx

    nodes = onnx.load_from_string(graph).graph.node
    return [
        attribute.s.decode()
        for node in nodes
        if node.op_type == "GridSample"
        for attribute in node.attribute
        if attribute.name == "mode"
    ]


def check_warps(library: TensorrtLibrary, network: Any, modes: list[str]) -> list[str]:
    """Return the interpolation mode of each warp in the library's network.

    Raises TensorrtError if the modes differ from `modes`, which are those in the graph. Some
    parsers replace modes that they do not know with NEAREST (NVIDIA/TensorRT#4646).
    """
    api = library.api
    known = {"bilinear": api.InterpolationMode.LINEAR, "bicubic": api.InterpolationMode.CUBIC}
    found = []
    for i in range(network.num_layers):
        layer = network.get_layer(i)
        if layer.type == api.LayerType.GRID_SAMPLE:
            layer.__class__ = api.IGridSampleLayer
            found.append(layer.interpolation_mode)

    expected = [known[mode] for mode in modes]
    if sorted(map(str, found)) != sorted(map(str, expected)):
        raise TensorrtError(
            f"{library.name} reads the graph's warps as {', '.join(map(str, found)) or 'nothing'}, "
            f"but they are {', '.join(modes)}; try another version of it, or --engine torch"
        )
    return [str(mode) for mode in found]


def _create_config(request: BuildRequest, builder: Any, network: Any, timing: bytes | None) -> Any:
    api = request.library.api
    config = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, request.workspace)
    config.builder_optimization_level = request.level

    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    for sizes in request.sizes:
        profile = builder.create_optimization_profile()
        for tensor in inputs:
            declared = tuple(tensor.shape)
            shapes = (
                input_shape(tensor.name, declared, shape, request.scale)
                for shape in (sizes.least, sizes.usual, sizes.most)
            )
            profile.set_shape(tensor.name, *shapes)
        config.add_optimization_profile(profile)

    if request.targets:
        config.num_compute_capabilities = len(request.targets)
        for i, target in enumerate(request.targets):
            capability = getattr(api.ComputeCapability, target.upper())
            config.set_compute_capability(capability, i)

    if timing is not None:
        config.set_timing_cache(config.create_timing_cache(timing), False)
    return config


def build_in_this_process(
    request: BuildRequest, graph: bytes, progress: Progress, timing: bytes | None = None
) -> tuple[bytes, bytes]:
    """Return a plan and the updated timing cache; TensorRT may crash this process.

    `timing` is the timing cache of earlier builds, which may be empty; None means to use no cache,
    and then the returned cache is empty. Raises TensorrtError if TensorRT rejects the graph or
    cannot build a plan.
    """
    log = ErrorLog(request.library.api)
    builder, network, _parser = parse_graph(request.library, graph, log)
    config = _create_config(request, builder, network, timing)
    config.progress_monitor = _create_monitor(request.library.api, progress)

    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorrtError(
            f"{request.library.name} could not build an engine: {log.first_error()}; "
            "try --engine torch"
        )
    cache = b"" if timing is None else bytes(config.get_timing_cache().serialize())
    return bytes(plan), cache


def main(folder: Path) -> int:
    """Build the plan requested in `folder`, and return the exit status.

    Progress is printed as one JSON list per line.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = BuildRequest.from_file(folder / REQUEST)
    timing = folder / TIMING

    def progress(phase: str, done: int, total: int) -> None:
        sys.stdout.write(json.dumps([phase, done, total]) + "\n")
        sys.stdout.flush()

    try:
        earlier = timing.read_bytes() if timing.exists() else None
        graph = (folder / GRAPH).read_bytes()
        plan, cache = build_in_this_process(request, graph, progress, earlier)
    except TensorrtError as error:
        (folder / FAILED).write_text(str(error), encoding="utf-8")
        return 1

    (folder / PLAN).write_bytes(plan)
    if cache:
        timing.write_bytes(cache)
    return 0


def _end_with_parent() -> None:
    # the parent keeps the pipe open without writing to it, so this returns when the parent ends
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

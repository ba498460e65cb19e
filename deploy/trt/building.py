"""Make a plan of a graph; `python -m deploy.trt.building FOLDER` is the child that does it."""

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

Progress = Callable[[str, int, int], None]
"""Told the phase, and how many of its steps are done, of how many."""
GRAPH, PLAN, TIMING, REQUEST, FAILED = "graph.onnx", "plan", "timing", "request.json", "failed.txt"
DEFAULT_WORKSPACE = 1 << 37
"""Bytes that a kernel may ask for where no GPU says how much there is; nothing is taken here."""


@dataclass(frozen=True)
class BuildRequest:
    """All that decides a plan besides its graph."""

    module: str
    version: str
    scale: int
    sizes: tuple[SizeRange, ...]
    targets: tuple[str, ...] = ()
    """Compute capabilities, `sm89`; none: that of the GPU at hand."""
    workspace: int = DEFAULT_WORKSPACE
    level: int = 3
    """TensorRT's optimisation level, 0..5."""

    @property
    def flavour(self) -> TensorrtLibrary:
        """Which TensorRT."""
        return TensorrtLibrary(self.module, self.version)

    def facts(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return {**asdict(self), "sizes": [sizes.facts() for sizes in self.sizes]}

    @classmethod
    def read(cls, path: Path) -> BuildRequest:
        """Return the request that a parent process has written."""
        facts = json.loads(path.read_text())
        sizes = tuple(SizeRange(*(_shape(each) for each in three)) for three in facts.pop("sizes"))
        targets = tuple(facts.pop("targets"))
        return cls(sizes=sizes, targets=targets, **facts)


def _shape(values: list[int]) -> tuple[int, int, int]:
    batch, height, width = values
    return batch, height, width


class ErrorLog:
    """What TensorRT says went wrong."""

    def __init__(self, api: Any) -> None:
        said: list[str] = []

        class Log(api.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                api.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in (api.ILogger.ERROR, api.ILogger.INTERNAL_ERROR):
                    said.append(" ".join(message.split()))

        self.logger = Log()
        self.lines = said

    def why(self) -> str:
        """Return the first complaint; what follows are its consequences."""
        return self.lines[0][:300] if self.lines else "TensorRT gives no reason"


def _monitor(api: Any, progress: Progress) -> Any:
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
    flavour: TensorrtLibrary, graph: bytes, said: ErrorLog | None = None
) -> tuple[Any, Any, Any]:
    """Return builder, network and parser (which owns weights) of an ONNX file.

    Raises TensorrtError for what the parser refuses, and for warps it would do wrongly.
    """
    api = flavour.api
    said = said or ErrorLog(api)
    builder = api.Builder(said.logger)
    network = builder.create_network(flavour.network_flags())
    parser = api.OnnxParser(network, said.logger)
    if not parser.parse(graph):
        errors = [str(parser.get_error(i).desc()) for i in range(parser.num_errors)]
        why = " ".join((errors[0] if errors else said.why()).split())
        raise TensorrtError(f"{flavour.name} refuses the graph: {why[:300]}; try --engine torch")
    check_warps(api, network, list_warp_modes(graph))
    return builder, network, parser


def list_warp_modes(graph: bytes) -> list[str]:
    """Return the mode of every GridSample of an ONNX file: bilinear or bicubic."""
    import onnx

    nodes = onnx.load_from_string(graph).graph.node
    return [
        attribute.s.decode()
        for node in nodes
        if node.op_type == "GridSample"
        for attribute in node.attribute
        if attribute.name == "mode"
    ]


def check_warps(api: Any, network: Any, modes: list[str]) -> list[str]:
    """Return how each warp interpolates; TensorrtError when that is not what the graph says.

    Some parsers take what they do not know for NEAREST (NVIDIA/TensorRT#4646).
    """
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
            f"TensorRT reads the warps of the graph as {', '.join(map(str, found)) or 'nothing'}, "
            f"expected {', '.join(modes)}; try another version, or --engine torch"
        )
    return [str(mode) for mode in found]


def _configured(request: BuildRequest, builder: Any, network: Any, timing: bytes | None) -> Any:
    api = request.flavour.api
    config = builder.create_builder_config()
    config.clear_flag(api.BuilderFlag.TF32)
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, request.workspace)
    config.builder_optimization_level = request.level
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    for sizes in request.sizes:
        profile = builder.create_optimization_profile()
        for each in inputs:
            three = (sizes.least, sizes.usual, sizes.most)
            declared = tuple(each.shape)
            shapes = (input_shape(each.name, declared, shape, request.scale) for shape in three)
            profile.set_shape(each.name, *shapes)
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
    """Return a plan and the timing cache, built in this process: it may crash or be killed.

    `timing` is None where nothing is timed. Raises TensorrtError.
    """
    said = ErrorLog(request.flavour.api)
    builder, network, _parser = parse_graph(request.flavour, graph, said)
    config = _configured(request, builder, network, timing)
    config.progress_monitor = _monitor(request.flavour.api, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorrtError(f"{request.flavour.name} built nothing: {said.why()}")
    cache = b"" if timing is None else bytes(config.get_timing_cache().serialize())
    return bytes(plan), cache


def main(folder: Path) -> int:
    """Build what is asked for in `folder`; progress goes to stdout, a JSON list a line."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = BuildRequest.read(folder / REQUEST)
    timing = folder / TIMING

    def progress(phase: str, done: int, total: int) -> None:
        sys.stdout.write(json.dumps([phase, done, total]) + "\n")
        sys.stdout.flush()

    try:
        known = timing.read_bytes() if timing.exists() else None
        plan, cache = build_in_this_process(request, (folder / GRAPH).read_bytes(), progress, known)
    except TensorrtError as error:
        (folder / FAILED).write_text(str(error))
        return 1
    (folder / PLAN).write_bytes(plan)
    if cache:
        timing.write_bytes(cache)
    return 0


def _end_with_parent() -> None:
    # the parent holds the other end, and never writes
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

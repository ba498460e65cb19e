"""Networks to ONNX, opset 18, for any batch, height and width; checked before they are used.

Opset 18, because from 20 on GridSample says `linear`, which TensorRT's parser took for nearest
(NVIDIA/TensorRT#4646). The exporter that traces is used: torch.export reasons about every height
and width by symbols, which for the solver inside `fast` takes 170 s of CPU time where tracing takes
6; a trace holds no shape, because the networks ask for sizes nowhere but in tensor operations.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossnetpp.networks.build import Network
from deploy.export.fold_constants import fold_constants
from deploy.export.graphs import GraphSpec, build_graph, make_example_inputs
from deploy.export.session import create_session
from deploy.protocol import EngineError

OPSET = 18
EXPORT_VERSION = 2
"""Counts changes of this file, graphs.py or lowering.py that change what is exported."""
EXAMPLE_SIZE = 2, 64, 128
"""Batch, height and width of the traced example: all different, none 1."""
PARITY_SIZES = ((1, 64, 192), (2, 64, 128), (1, 192, 64))
LARGEST_DIFFERENCE = {"fp32": 1, "fp16": 6}
"""Levels of 8 bits by which a pixel may differ from PyTorch."""


class ExportError(EngineError):
    """Report a graph that cannot be exported, or is not what PyTorch computes."""


def _axes(spec: GraphSpec) -> dict[str, dict[int, str]]:
    """Return which axes of inputs and outputs vary; one name means one size."""
    axes = {"lr": {0: "n", 1: "h", 2: "w"}}
    axes |= {name: {0: "n", 1: "height", 2: "width"} for name in ("ref", "sr")}
    axes["unsharp"] = {0: "n", 2: "height", 3: "width"}
    for size in (4, 8, 16, 32):
        axes[f"f{size}"] = {0: "n", 2: f"height{size}", 3: f"width{size}"}
    return {name: axes[name] for name in (*spec.inputs, *spec.outputs)}


def export_graph(network: Network, spec: GraphSpec) -> bytes:
    """Return the ONNX file of `network` as `spec` says; pixels in and out.

    Raises ExportError for weights that are not finite and for packages that are missing.
    """
    onnx = _onnx()
    broken = [k for k, v in network.state_dict().items() if not bool(torch.isfinite(v).all())]
    if broken:
        raise ExportError(
            f"found weights that are not finite ({broken[0]} and {len(broken) - 1} more), "
            "expected numbers; train again or take another file"
        )
    network = copy.deepcopy(network).cpu().float().eval()
    # the tracer knows no uint16: int32 in its place, until the file is written
    traced = replace(spec, pixels="int32") if spec.pixels == "uint16" else spec
    inputs = tuple(make_example_inputs(copy.deepcopy(network), traced, *EXAMPLE_SIZE))
    file = io.BytesIO()
    with (
        torch.no_grad(),
        warnings.catch_warnings(),
    ):
        # the tracer's are many, and parity with PyTorch at several sizes is the better judge
        warnings.simplefilter("ignore")
        torch.onnx.export(
            build_graph(network, traced),
            inputs,
            file,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            dynamic_axes=_axes(spec),
        )
    model = onnx.load_from_string(file.getvalue())
    if traced is not spec:
        _say_uint16(model, onnx.TensorProto)
    onnx.checker.check_model(model, full_check=True)
    if spec.target == "tensorrt":
        model = onnx.load_from_string(fold_constants(bytes(model.SerializeToString())))
        onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _say_uint16(model: Any, types: Any) -> None:
    """Let pixels, which are cast to and from float32 at once, be uint16 and not int32."""
    pixels = {"lr", "ref", "sr"}
    for value in (*model.graph.input, *model.graph.output):
        if value.name in pixels:
            value.type.tensor_type.elem_type = types.UINT16
    for node in model.graph.node:
        if node.op_type == "Cast" and set(node.output) & pixels:
            node.attribute[0].i = types.UINT16
    # what was inferred from the old types
    del model.graph.value_info[:]


def _onnx() -> Any:
    try:
        import onnx
    except (ImportError, OSError) as error:
        raise ExportError(
            f"cannot export: {error}; try pip install 'crossnetpp-pipeline[onnx]'"
        ) from error
    return onnx


def check_parity(network: Network, spec: GraphSpec, model: bytes) -> dict[str, float]:
    """Run an exported graph on onnxruntime and hold it against `network` at three sizes.

    Returns the largest difference: in levels of 8 bits (`sr`), else relative to the largest value.
    Raises ExportError where it is larger than `LARGEST_DIFFERENCE` allows.
    """
    run = create_session(model, threads=1)
    reference = build_graph(copy.deepcopy(network), GraphSpec(spec.part, spec.scale, spec.pixels))
    worst: dict[str, float] = {}
    for size in PARITY_SIZES:
        inputs = make_example_inputs(copy.deepcopy(network), spec, *size)
        with torch.inference_mode():
            answer = reference(*inputs)
        expected = answer if isinstance(answer, tuple) else (answer,)
        fed = dict(zip(spec.inputs, (tensor.numpy() for tensor in inputs), strict=True))
        for name, want, got in zip(spec.outputs, expected, run(fed), strict=True):
            worst[name] = max(worst.get(name, 0.0), _difference(want.numpy(), got, spec))
    _judge(worst, spec)
    return worst


def _difference(want: NDArray[Any], got: NDArray[Any], spec: GraphSpec) -> float:
    miss = float(np.abs(want.astype(np.float64) - got).max())
    if spec.part == "prepare":
        return miss / float(np.abs(want).max())
    return miss if spec.pixels == "uint8" else miss / 257


def _judge(worst: Mapping[str, float], spec: GraphSpec) -> None:
    allowed = LARGEST_DIFFERENCE[spec.precision]
    limit = allowed if spec.part != "prepare" else allowed * 1e-3
    wrong = {name: value for name, value in worst.items() if value > limit}
    if wrong:
        name, value = max(wrong.items(), key=lambda item: item[1])
        raise ExportError(
            f"the exported graph {spec.name} differs from PyTorch by {value:.3g} in {name}, "
            f"expected at most {limit:g}; it is not used"
        )


def export_checked_graph(network: Network, spec: GraphSpec) -> tuple[bytes, dict[str, float]]:
    """Return an ONNX file that agrees with `network`, and by how much it differs."""
    model = export_graph(network, spec)
    return model, check_parity(network, spec, model)


def write_graphs(
    network: Network, specs: list[GraphSpec], folder: Path
) -> dict[Path, dict[str, float]]:
    """Write one checked ONNX file for each spec into `folder`; returns path -> differences."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for spec in specs:
        model, differences = export_checked_graph(network, spec)
        path = folder / f"{spec.name}.onnx"
        partial = path.with_suffix(".part")
        partial.write_bytes(model)
        partial.replace(path)
        written[path] = differences
    return written

"""Export networks to ONNX for any batch, height and width, and compare them with PyTorch.

The opset is 18, because opset 20 renamed GridSample's mode `bilinear` to `linear`, which TensorRT's
parser mistook for `nearest` (NVIDIA/TensorRT#4646). Graphs are traced, because torch.export treats
height and width as symbols, which takes far longer for the solver inside `fast`. Traced graphs
still accept any size, because the networks use sizes only inside tensor operations.
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
from deploy.distribution import describe_install
from deploy.export.fold_constants import fold_constants
from deploy.export.graphs import GraphSpec, build_graph, make_example_inputs
from deploy.export.session import create_session
from deploy.protocol import EngineError

OPSET = 18
EXPORT_VERSION = 4  # increase when a change here or in the networks changes exported graphs
EXAMPLE_SIZE = (2, 64, 128)  # batch, height, width when tracing: different sizes, all above 1
PARITY_SIZES = ((1, 64, 192), (2, 64, 128), (1, 192, 64))  # batch, height and width
LARGEST_DIFFERENCE = {"fp32": 1, "fp16": 6}  # allowed difference from PyTorch, in 8-bit levels


class ExportError(EngineError):
    """Raised if a graph cannot be exported, or if its results differ from PyTorch's."""


def _dynamic_axes(spec: GraphSpec) -> dict[str, dict[int, str]]:
    """Return the names of each tensor's dynamic axes; axes with the same name have equal sizes."""
    axes = {"lr": {0: "n", 1: "h", 2: "w"}, "weights": {0: "n"}, "taps": {}}
    axes |= {name: {0: "n", 1: "height", 2: "width"} for name in ("ref", "sr")}
    axes["unsharp"] = {0: "n", 2: "height", 3: "width"}
    for size in (4, 8, 16, 32):
        axes[f"f{size}"] = {0: "n", 2: f"height{size}", 3: f"width{size}"}
    # the tensors of further references are named ref_2, unsharp_2 and so on
    return {name: axes[name.partition("_")[0]] for name in (*spec.inputs, *spec.outputs)}


def export_graph(network: Network, spec: GraphSpec) -> bytes:
    """Return `network` exported for `spec`, as the bytes of an ONNX file.

    Raises ExportError if some weights are not finite or `onnx` is missing, and EngineError if
    onnxruntime, which is needed only for the target TensorRT, is missing.
    """
    onnx = _import_onnx()

    broken = [k for k, v in network.state_dict().items() if not bool(torch.isfinite(v).all())]
    if broken:
        raise ExportError(
            f"some weights are not finite (in {len(broken)} of {len(network.state_dict())} "
            f"tensors, the first of which is {broken[0]}); train again or use another file"
        )

    network = copy.deepcopy(network).cpu().float().eval()
    # the tracer does not support uint16, so trace int32, which is replaced afterwards
    traced = replace(spec, pixels="int32") if spec.pixels == "uint16" else spec
    inputs = tuple(make_example_inputs(copy.deepcopy(network), traced, *EXAMPLE_SIZE))
    file = io.BytesIO()

    with torch.no_grad(), warnings.catch_warnings():
        # ignore the tracer's many warnings, because the comparison with PyTorch finds real errors
        warnings.simplefilter("ignore")
        torch.onnx.export(
            build_graph(network, traced),
            inputs,
            file,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=list(spec.inputs),
            output_names=list(spec.outputs),
            dynamic_axes=_dynamic_axes(spec),
        )

    model = onnx.load_from_string(file.getvalue())
    if traced is not spec:
        _declare_uint16(model, onnx.TensorProto)
    onnx.checker.check_model(model, full_check=True)
    if spec.target == "tensorrt":
        model = onnx.load_from_string(fold_constants(bytes(model.SerializeToString())))
        onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _declare_uint16(model: Any, types: Any) -> None:
    """Change the declared type of all pixels in an ONNX model from int32 to uint16.

    The graph needs no other change, because it begins by casting pixels to float32.
    """
    values = (*model.graph.input, *model.graph.output)
    pixels = {v.name for v in values if v.name.partition("_")[0] in ("lr", "ref", "sr")}
    for value in values:
        if value.name in pixels:
            value.type.tensor_type.elem_type = types.UINT16
    for node in model.graph.node:
        if node.op_type == "Cast" and set(node.output) & pixels:
            node.attribute[0].i = types.UINT16
    # the types in here were inferred from int32
    del model.graph.value_info[:]


def _import_onnx() -> Any:
    try:
        import onnx
    except (ImportError, OSError) as error:
        raise ExportError(
            f"cannot load onnx ({error}), which is needed to export graphs; "
            f"try {describe_install('onnx')}, or --engine torch"
        ) from error
    return onnx


def check_parity(network: Network, spec: GraphSpec, model: bytes) -> dict[str, float]:
    """Compare an exported graph, run by onnxruntime, with `network` at three sizes.

    Return the largest difference in each output: in 8-bit levels for `sr`, and as a fraction of the
    output's largest value for the part `prepare`. Raises ExportError if a difference exceeds
    LARGEST_DIFFERENCE (in levels, or in thousandths), and EngineError if onnxruntime is missing or
    rejects the graph.
    """
    run = create_session(model, threads=1)
    plain = GraphSpec(spec.part, spec.scale, spec.pixels, references=spec.references)
    reference = build_graph(copy.deepcopy(network), plain)
    worst: dict[str, float] = {}
    for size in PARITY_SIZES:
        inputs = make_example_inputs(copy.deepcopy(network), spec, *size)
        with torch.inference_mode():
            answer = reference(*inputs)
        expected = answer if isinstance(answer, tuple) else (answer,)

        arrays = dict(zip(spec.inputs, (tensor.numpy() for tensor in inputs), strict=True))
        for name, want, got in zip(spec.outputs, expected, run(arrays), strict=True):
            worst[name] = max(worst.get(name, 0.0), _difference(want.numpy(), got, spec))

    _check_differences(worst, spec)
    return worst


def _difference(want: NDArray[Any], got: NDArray[Any], spec: GraphSpec) -> float:
    largest = float(np.abs(want.astype(np.float64) - got).max())
    if spec.part == "prepare":
        return largest / float(np.abs(want).max())
    return largest if spec.pixels == "uint8" else largest / 257


def _check_differences(worst: Mapping[str, float], spec: GraphSpec) -> None:
    allowed = LARGEST_DIFFERENCE[spec.precision]
    limit = allowed if spec.part != "prepare" else allowed * 1e-3
    wrong = {name: value for name, value in worst.items() if value > limit}
    if wrong:
        name, value = max(wrong.items(), key=lambda item: item[1])
        raise ExportError(
            f"the output {name} of the exported graph {spec.name} differs from PyTorch's by "
            f"{value:.3g}, expected at most {limit:g}; try --engine torch"
        )


def export_checked_graph(network: Network, spec: GraphSpec) -> tuple[bytes, dict[str, float]]:
    """Return an ONNX file of `network`, and each output's largest difference from PyTorch.

    Raises ExportError if the export fails or a difference exceeds its limit; see `check_parity`.
    """
    model = export_graph(network, spec)
    return model, check_parity(network, spec, model)


def write_graphs(
    network: Network, specs: list[GraphSpec], folder: Path
) -> dict[Path, dict[str, float]]:
    """Write a checked ONNX file for each of `specs` into `folder`.

    Return a map from each file's path to the largest difference in each output; see `check_parity`.
    Raises ExportError if an export fails or a difference exceeds its limit.
    """
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

"""Exported graphs: their results, and the mistakes that engines make with them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from crossnetpp.checkpoint import load_network
from crossnetpp.networks.build import Network, build_network
from deploy.export import write as export
from deploy.export.graphs import GraphSpec, list_parts
from deploy.export.lowering import RepackedDeconv, is_repackable, lower_network
from deploy.export.write import ExportError, check_parity, write_graphs


@pytest.fixture(scope="module")
def fast() -> Network:
    return load_network("fast")


@pytest.fixture(scope="module")
def files(fast: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, onnx.ModelProto]:
    folder = tmp_path_factory.mktemp("onnx")
    specs = [
        GraphSpec("prepare", 4),
        GraphSpec("frame", 4),
        GraphSpec("frame", 2, "uint16", "fp16"),
    ]
    # every graph is compared with PyTorch at three sizes when it is written
    for path, differences in write_graphs(fast, specs, folder).items():
        assert all(value <= 1 for value in differences.values()), path
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{s.name}.onnx" for s in specs)
    return {path.stem: onnx.load(path) for path in folder.iterdir()}


def sizes(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def test_batch_height_and_width_are_dynamic_and_pixels_go_in_and_out(
    files: dict[str, onnx.ModelProto],
) -> None:
    frame = files["frame_x4_uint8_fp32"].graph
    lr, ref = frame.input[:2]
    assert (lr.name, sizes(lr)) == ("lr", ["n", "h", "w", 3])
    assert (ref.name, sizes(ref)) == ("ref", ["n", "height", "width", 3])
    assert lr.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    (sr,) = frame.output
    assert sizes(sr)[0] == "n"
    assert sr.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    (wide,) = files["frame_x2_uint16_fp16"].graph.output
    assert wide.type.tensor_type.elem_type == onnx.TensorProto.UINT16


def test_opset_18_names_interpolation_as_tensorrt_reads_it(
    files: dict[str, onnx.ModelProto],
) -> None:
    for model in files.values():
        assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
    modes = [
        attribute.s
        for node in files["frame_x4_uint8_fp32"].graph.node
        if node.op_type == "GridSample"
        for attribute in node.attribute
        if attribute.name == "mode"
    ]
    assert len(modes) >= 5
    assert set(modes) <= {b"bilinear", b"bicubic"}


def test_in_half_precision_coordinates_stay_float32(files: dict[str, onnx.ModelProto]) -> None:
    graph = onnx.shape_inference.infer_shapes(files["frame_x2_uint16_fp16"]).graph
    types = {v.name: v.type.tensor_type.elem_type for v in [*graph.value_info, *graph.input]}
    weights = {w.name: w.data_type for w in graph.initializer}
    for node in graph.node:
        if node.op_type == "GridSample":
            assert [types[name] for name in node.input] == [onnx.TensorProto.FLOAT] * 2
    convs = [weights.get(n.input[1]) for n in graph.node if n.op_type == "Conv"]
    assert convs.count(onnx.TensorProto.FLOAT16) > 20


def test_no_graph_contains_a_deconvolution() -> None:
    network = build_network("paper")
    before = sum(is_repackable(m) for m in network.modules())
    assert before > 5
    after = lower_network(copy.deepcopy(network))
    assert not any(isinstance(m, nn.ConvTranspose2d) for m in after.modules())
    assert sum(isinstance(m, RepackedDeconv) for m in after.modules()) == before


def test_a_repacked_deconvolution_computes_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    deconv = nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1)
    inputs = torch.randn(2, 5, 7, 6, generator=generator)
    expected = F.conv_transpose2d(inputs, deconv.weight, deconv.bias, stride=2, padding=1)
    torch.testing.assert_close(RepackedDeconv(deconv)(inputs), expected)


def test_the_paper_network_is_exported_as_one_graph(tmp_path: Path) -> None:
    network = build_network("paper")
    assert list_parts(network) == ("whole",)
    ((path, differences),) = write_graphs(network, [GraphSpec("whole", 4)], tmp_path).items()
    assert differences["sr"] <= 1
    assert {n.op_type for n in onnx.load(path).graph.node}.isdisjoint({"ConvTranspose", "Loop"})


def test_weights_that_are_not_finite_are_refused() -> None:
    network = build_network("fast")
    with torch.no_grad():
        next(network.parameters())[0] = np.nan
    with pytest.raises(ExportError, match=r"some weights are not finite \(in 1 of \d+ .* encoder"):
        export.export_graph(network, GraphSpec("prepare", 4))


def test_a_graph_that_differs_from_pytorch_is_refused(fast: Network) -> None:
    other = copy.deepcopy(fast)
    with torch.no_grad():
        for weights in other.fusion.parameters():  # type: ignore[union-attr]
            weights.add_(0.05)
    model = export.export_graph(other, GraphSpec("frame", 4))
    with pytest.raises(
        ExportError, match=r"output sr .* differs from PyTorch's by .*, expected at most 1"
    ):
        check_parity(fast, GraphSpec("frame", 4), model)

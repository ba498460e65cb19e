"""TensorRT for RTX parses the graphs and builds plans for GPUs of other machines."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from crossnetpp.checkpoint import save_weights
from crossnetpp.networks.build import build_network
from deploy.export.graphs import GraphSpec
from deploy.export.stored import get_or_export_graph
from deploy.registry import Registry
from deploy.trt.building import check_warps, list_warp_modes, parse_graph
from deploy.trt.gpu import Gpu
from deploy.trt.library import TensorrtError, find_library
from deploy.trt.profiles import ANY_SIZE, SizeRange
from deploy.trt.stored_plans import cross_build_plans, get_or_build_plan

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is optional")
TARGETS = ("sm86", "sm89", "sm120")
FIXED = SizeRange.for_frames(320, 512)


def read_warps(graph: bytes) -> list[str]:
    """Return the interpolation of each warp as TensorRT reads it."""
    found = find_library(rtx=True)
    _builder, network, _parser = parse_graph(found, graph)
    modes = check_warps(found, network, list_warp_modes(graph))
    return [mode.rpartition(".")[2] for mode in modes]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_fast_for_three_generations(precision: str, tmp_path: Path, one_step_model: str) -> None:
    # the smaller model has the same kinds of layers in half precision
    model = "fast" if precision == "fp32" else one_step_model
    count = 1 if precision == "fp32" else 2
    specs = [
        GraphSpec("prepare", 4, "uint8", precision, "tensorrt"),  # type: ignore[arg-type]
        GraphSpec("frame", 4, "uint8", precision, "tensorrt", count),  # type: ignore[arg-type]
    ]
    # The second reference is searched for motion only once, so it has two linear warps less, and
    # one flow less to compare. Its warps come before those of the first one
    first = ["LINEAR"] * 4 + ["CUBIC"] * (7 if model == "fast" else 6)
    second = ["LINEAR"] * 2 + ["CUBIC"] * 5
    warps = read_warps(get_or_export_graph(model, specs[1]).read())
    assert warps == (count - 1) * second + first
    phases: set[str] = set()
    # a plan for any size takes twice as long to build
    entries = cross_build_plans(
        model,
        specs,
        TARGETS,
        tmp_path,
        sizes=FIXED,
        progress=lambda phase, *_: phases.add(phase),
    )
    assert phases
    lengths = [entry.path.stat().st_size for entry in entries]
    assert lengths[0] > 100_000
    # 500 MB if TensorRT fuses the solver into kernels that repeat their common parts
    assert 1_000_000 < lengths[1] < 60_000_000
    # built once, and found for the GPUs in its targets
    again = cross_build_plans(model, specs, TARGETS[::-1], tmp_path, sizes=FIXED)
    assert [entry.path for entry in again] == [entry.path for entry in entries]
    ada = Gpu("NVIDIA L40S", "sm89", 13, 1 << 35)
    found = get_or_build_plan(
        model, specs[1], FIXED, find_library(rtx=True), ada, Registry(tmp_path)
    )
    assert found.path == entries[1].path


@pytest.mark.soak
def test_paper_for_three_generations(tmp_path: Path) -> None:
    weights = tmp_path / "paper.safetensors"
    save_weights(build_network("paper"), "paper", weights)
    spec = GraphSpec("whole", 4, target="tensorrt")
    assert read_warps(get_or_export_graph(str(weights), spec).read()) == ["LINEAR"] * 5
    (entry,) = cross_build_plans(str(weights), [spec], TARGETS, tmp_path / "plans", sizes=ANY_SIZE)
    # float32 weights of 69 million parameters
    assert entry.path.stat().st_size > 270_000_000
    assert tuple(entry.key["targets"]) == TARGETS
    assert entry.key["sizes"] == [ANY_SIZE.to_json()]


def test_sixteen_bits_are_read_as_int32() -> None:
    graph = get_or_export_graph("fast", GraphSpec("prepare", 4, "int32", target="tensorrt")).read()
    found = find_library(rtx=True)
    _builder, network, _parser = parse_graph(found, graph)
    assert network.get_input(0).dtype == found.api.DataType.INT32


def test_targets_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    spec = GraphSpec("prepare", 4, target="tensorrt")
    with pytest.raises(TensorrtError, match=r"unknown target sm90, expected some of sm75, sm80"):
        cross_build_plans("fast", [spec], ["sm_89", "SM90"], tmp_path)
    with pytest.raises(TensorrtError, match=r"no target is given, expected"):
        cross_build_plans("fast", [spec], [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unreadable_graph_is_an_error_of_one_line() -> None:
    for graph in (b"not a graph", helper_model("NoSuchOperator")):
        with pytest.raises(
            TensorrtError, match=r"TensorRT for RTX \S+ rejects the graph: "
        ) as info:
            parse_graph(find_library(rtx=True), graph)
        assert "\n" not in str(info.value)


def helper_model(operator: str) -> bytes:
    """Return a graph of one node."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in ("ref", "sr")]
    graph = helper.make_graph(
        [helper.make_node(operator, ["ref"], ["sr"])], "one", *[[v] for v in values]
    )
    return bytes(helper.make_model(graph).SerializeToString())

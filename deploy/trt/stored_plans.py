"""Plans in the registry: found, or built once for this GPU, or built here for others."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.export.graphs import GraphSpec
from deploy.export.stored import get_or_export_graph
from deploy.export.write import EXPORT_VERSION
from deploy.machine import driver_version
from deploy.registry import Entry, Facts, Registry
from deploy.trt.build_process import build_plan, ignore_progress
from deploy.trt.building import BuildRequest, Progress
from deploy.trt.gpu import Gpu
from deploy.trt.library import TensorrtError, TensorrtLibrary, find_library
from deploy.trt.profiles import ANY_SIZE, Shape, SizeRange

DEFAULT_TARGETS = ("sm86", "sm89", "sm120")
"""Ampere, Ada and Blackwell cards for RTX."""


def _key(spec: GraphSpec, graph: bytes, request: BuildRequest) -> dict[str, object]:
    """Return what decides a plan, apart from the GPU."""
    return {
        "kind": "plan",
        "onnx": hashlib.sha256(graph).hexdigest(),
        "export": EXPORT_VERSION,
        "graph": spec.name,
        "precision": spec.precision,
        "tf32": False,
        **request.facts(),
    }


def plan_key(spec: GraphSpec, graph: bytes, request: BuildRequest, gpu: Gpu) -> Facts:
    """Return what decides a plan for the GPU at hand: another GPU means another plan."""
    here = {"gpu": gpu.name, "capability": gpu.capability, "cuda": gpu.cuda}
    return {**_key(spec, graph, request), **here}


def get_or_build_plan(
    model: str,
    spec: GraphSpec,
    sizes: SizeRange,
    flavour: TensorrtLibrary,
    gpu: Gpu,
    registry: Registry,
    progress: Progress = ignore_progress,
) -> Entry:
    """Return a plan for the GPU at hand, building it where the registry has none.

    A plan of TensorRT for RTX that was built for this kind of GPU on another day is taken, too.
    Raises EngineError.
    """
    graph = get_or_export_graph(model, spec, registry).read()
    request = BuildRequest(
        flavour.module, flavour.version, spec.scale, (sizes,), workspace=gpu.memory
    )
    key = plan_key(spec, graph, request, gpu)
    found = registry.get(key)
    if found is None and flavour.is_rtx:
        found = _made_before(registry, key, gpu, sizes.most)
    if found is not None:
        return found
    timed = None if flavour.is_rtx else _timing_key(flavour, gpu)

    def make() -> tuple[bytes, Facts]:
        known = registry.get(timed) if timed is not None else None
        cache = b"" if known is None else known.read()
        start = time.perf_counter()
        built = build_plan(
            request, graph, timing=None if timed is None else cache, progress=progress
        )
        if timed is not None and built.timing:
            registry.put(timed, built.timing, "timing", {})
        return built.plan, _facts(model, start)

    return registry.get_or_make(key, "plan", make)


def _facts(model: str, start: float) -> Facts:
    seconds = round(time.perf_counter() - start, 1)
    return {"model": model, "driver": driver_version(), "build_seconds": seconds}


def _timing_key(flavour: TensorrtLibrary, gpu: Gpu) -> Facts:
    return {
        "kind": "timing",
        "module": flavour.module,
        "version": flavour.version,
        "gpu": gpu.name,
        "capability": gpu.capability,
        "cuda": gpu.cuda,
    }


def _made_before(registry: Registry, key: Facts, gpu: Gpu, shape: Shape) -> Entry | None:
    """Return a cross-built plan that runs on `gpu`, holds `shape` and is otherwise of `key`."""
    free = ("gpu", "capability", "cuda", "targets", "sizes", "workspace")
    wanted = {name: value for name, value in key.items() if name not in free}
    for entry in registry.entries():
        found = entry["key"]
        if entry["state"] != "ok" or gpu.capability not in found.get("targets", ()):
            continue
        if {name: value for name, value in found.items() if name not in free} != wanted:
            continue
        if any(SizeRange(*(tuple(each) for each in three)).hold(shape) for three in found["sizes"]):
            return registry.get(found)
    return None


def check_targets(targets: Sequence[str], flavour: TensorrtLibrary) -> tuple[str, ...]:
    """Return `targets` as TensorRT for RTX names them, sorted; TensorrtError for others."""
    known = flavour.targets()
    asked = {target.strip().lower().replace("sm_", "sm").replace(".", "") for target in targets}
    strange = sorted(asked - set(known))
    if strange or not asked:
        raise TensorrtError(
            f"found the target {', '.join(strange) or '(none)'}, expected some of "
            f"{', '.join(known)}; others are built on the GPU itself by pipeline engines build"
        )
    return tuple(sorted(asked, key=known.index))


def cross_build_plans(
    model: str,
    specs: Sequence[GraphSpec],
    targets: Sequence[str] = DEFAULT_TARGETS,
    folder: Path | None = None,
    *,
    sizes: SizeRange = ANY_SIZE,
    progress: Progress = ignore_progress,
) -> list[Entry]:
    """Build TensorRT for RTX plans of `model` for GPUs that are not here, one for all `targets`.

    They go to a registry in `folder`, by default that of this user. Raises EngineError.
    """
    flavour = find_library(rtx=True)
    checked = check_targets(targets, flavour)
    graphs, plans = Registry(), Registry(folder)
    made = []
    for spec in specs:
        graph = get_or_export_graph(model, spec, graphs).read()
        request = BuildRequest(flavour.module, flavour.version, spec.scale, (sizes,), checked)
        key = _key(spec, graph, request)

        def make(graph: bytes = graph, request: BuildRequest = request) -> tuple[bytes, Facts]:
            start = time.perf_counter()
            return build_plan(request, graph, progress=progress).plan, _facts(model, start)

        made.append(plans.get_or_make(key, "plan", make))
    return made

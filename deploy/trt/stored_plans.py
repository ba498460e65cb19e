"""Build plans into the registry: once for this GPU, or for the GPUs of other machines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.export.graphs import GraphSpec
from deploy.export.stored import get_or_export_graph
from deploy.export.write import EXPORT_VERSION
from deploy.machine import driver_version
from deploy.registry import Entry, JsonObject, Registry
from deploy.trt.build_process import build_plan, ignore_progress
from deploy.trt.building import BuildRequest, Progress
from deploy.trt.gpu import Gpu
from deploy.trt.library import TensorrtError, TensorrtLibrary, find_library
from deploy.trt.profiles import ANY_SIZE, Shape, SizeRange

DEFAULT_TARGETS = ("sm86", "sm89", "sm120")  # Ampere, Ada and Blackwell RTX cards


def _base_key(spec: GraphSpec, graph: bytes, request: BuildRequest) -> dict[str, object]:
    """Return the part of a plan's registry key that does not depend on the GPU."""
    return {
        "kind": "plan",
        "onnx": hashlib.sha256(graph).hexdigest(),
        "export": EXPORT_VERSION,
        "graph": spec.name,
        "precision": spec.precision,
        "tf32": False,
        **request.to_json(),
    }


def plan_key(spec: GraphSpec, graph: bytes, request: BuildRequest, gpu: Gpu) -> JsonObject:
    """Return the registry key of a plan for `gpu`; other GPUs need other plans."""
    return {
        **_base_key(spec, graph, request),
        "gpu": gpu.name,
        "capability": gpu.capability,
        "cuda": gpu.cuda,
    }


def get_or_build_plan(
    model: str,
    spec: GraphSpec,
    sizes: SizeRange,
    library: TensorrtLibrary,
    gpu: Gpu,
    registry: Registry,
    progress: Progress = ignore_progress,
) -> Entry:
    """Return the registry's plan for `gpu`, building it if it is missing.

    With TensorRT for RTX, a plan that was cross-built for the GPU's compute capability also counts.
    Raises EngineError if the weights, the registry or TensorRT cannot be used, or if the build
    fails.
    """
    graph = get_or_export_graph(model, spec, registry).read()
    request = BuildRequest(
        module=library.module,
        version=library.version,
        scale=spec.scale,
        sizes=(sizes,),
        workspace=gpu.memory,
    )
    key = plan_key(spec, graph, request, gpu)

    found = registry.get(key)
    if found is None and library.is_rtx:
        found = _find_cross_built_plan(registry, key, gpu, sizes.most)
    if found is not None:
        return found

    # TensorRT for RTX has no timing cache, because it does not time kernels
    timing_key = None if library.is_rtx else _timing_key(library, gpu)

    def make() -> tuple[bytes, JsonObject]:
        timing = None
        if timing_key is not None:
            earlier = registry.get(timing_key)
            timing = b"" if earlier is None else earlier.read()

        start = time.perf_counter()
        built = build_plan(request, graph, timing=timing, progress=progress)
        if timing_key is not None and built.timing:
            registry.put(timing_key, built.timing, "timing", {})
        return built.plan, _build_facts(model, start)

    return registry.get_or_make(key, "plan", make)


def _build_facts(model: str, start: float) -> JsonObject:
    seconds = round(time.perf_counter() - start, 1)
    return {"model": model, "driver": driver_version(), "build_seconds": seconds}


def _timing_key(library: TensorrtLibrary, gpu: Gpu) -> JsonObject:
    return {
        "kind": "timing",
        "module": library.module,
        "version": library.version,
        "gpu": gpu.name,
        "capability": gpu.capability,
        "cuda": gpu.cuda,
    }


def _find_cross_built_plan(
    registry: Registry, key: JsonObject, gpu: Gpu, shape: Shape
) -> Entry | None:
    """Return a cross-built plan that supports `gpu` and `shape` and otherwise matches `key`.

    The result is None if there is no such plan.
    """
    expected = _without_gpu(key)
    for entry in registry.entries():
        found = entry["key"]
        if entry["state"] != "ok" or gpu.capability not in found.get("targets", ()):
            continue
        if _without_gpu(found) != expected:
            continue
        if any(SizeRange.from_json(values).contains(shape) for values in found["sizes"]):
            return registry.get(found)
    return None


def _without_gpu(key: JsonObject) -> JsonObject:
    ignored = ("gpu", "capability", "cuda", "targets", "sizes", "workspace")
    return {name: value for name, value in key.items() if name not in ignored}


def check_targets(targets: Sequence[str], library: TensorrtLibrary) -> tuple[str, ...]:
    """Return `targets` in the spelling and order of TensorRT for RTX, without duplicates.

    Raises TensorrtError if `targets` is empty or contains an unknown target.
    """
    known = library.targets()
    requested = {target.strip().lower().replace("sm_", "sm").replace(".", "") for target in targets}
    unknown = sorted(requested - set(known))
    if unknown or not requested:
        noun = "target" if len(unknown) == 1 else "targets"
        fault = f"unknown {noun} {', '.join(unknown)}" if unknown else "no target is given"
        raise TensorrtError(
            f"{fault}, expected some of {', '.join(known)}; for other GPUs, run `pipeline "
            "engines build` on the machine with the GPU"
        )
    return tuple(sorted(requested, key=known.index))


def cross_build_plans(
    model: str,
    specs: Sequence[GraphSpec],
    targets: Sequence[str] = DEFAULT_TARGETS,
    folder: Path | None = None,
    *,
    sizes: SizeRange = ANY_SIZE,
    progress: Progress = ignore_progress,
) -> list[Entry]:
    """Return plans of `model` for the GPUs of other machines, built with TensorRT for RTX.

    There is one plan for each of `specs`, and each plan runs on all `targets`. The plans are stored
    in a registry in `folder`, by default the user's own registry. Raises EngineError if the
    weights, the targets, the registry or TensorRT cannot be used, or if a build fails.
    """
    library = find_library(rtx=True)
    checked_targets = check_targets(targets, library)
    graphs = Registry()
    plans = Registry(folder)

    entries = []
    for spec in specs:
        graph = get_or_export_graph(model, spec, graphs).read()
        request = BuildRequest(
            module=library.module,
            version=library.version,
            scale=spec.scale,
            sizes=(sizes,),
            targets=checked_targets,
        )
        key = _base_key(spec, graph, request)

        def make(graph: bytes = graph, request: BuildRequest = request) -> tuple[bytes, JsonObject]:
            start = time.perf_counter()
            plan = build_plan(request, graph, progress=progress).plan
            return plan, _build_facts(model, start)

        entries.append(plans.get_or_make(key, "plan", make))
    return entries

"""Build, test and time engines, build TensorRT plans for other GPUs, and export graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossnetpp.output_folder import find_obstacle
from deploy.choice import measure_fps
from deploy.export.graphs import GraphSpec, PixelType, list_parts
from deploy.export.lowering import Precision
from deploy.export.stored import load_model_network
from deploy.export.write import write_graphs
from deploy.load import create_engine, load_engine, load_tested_engine
from deploy.machine import device_facts
from deploy.protocol import Engine, EngineError
from deploy.registry import Registry
from deploy.selftest import LOWEST_PSNR, SelfTestError, load_baseline_engine, require_selftest
from deploy.trt.library import find_library
from deploy.trt.stored_plans import check_targets, cross_build_plans
from pipeline.errors import InputError, count_items
from pipeline.progress import SILENT, Reporter

LONGEST_SIDE = 8192  # pixels; that of an 8K frame is 7680


@dataclass(frozen=True)
class Outcome:
    """The outcome of one test, build or export, as text."""

    text: str
    failed: bool = False


def _check_model(model: str) -> None:
    """Raise InputError if the weights of `model` cannot be used."""
    try:
        load_model_network(model)
    except EngineError as error:
        raise InputError(str(error)) from error


def open_registry() -> Registry:
    """Return the registry of this machine; raises InputError if it cannot be used."""
    try:
        return Registry()
    except EngineError as error:
        raise InputError(str(error)) from error


def retest_engines(
    model: str, names: Sequence[str], registry: Registry, *, optional: bool
) -> Iterator[Outcome]:
    """Test engines against PyTorch again, and yield an outcome for each.

    Engines that pass are released from quarantine. If an engine cannot be loaded, its outcome says
    so if the engines are `optional`; otherwise, InputError is raised. InputError is also raised if
    the model is unusable.
    """
    _check_model(model)
    for name in names:
        try:
            engine = create_engine(name, model, None)
            if name == "torch":
                yield Outcome(f"torch on {engine.info.device}: the baseline for the others")
                continue

            facts = require_selftest(
                engine, registry, lambda: load_baseline_engine(model), retest=True
            )
            yield Outcome(
                f"{name} on {engine.info.device}: PSNR {facts['psnr']:.1f} dB against PyTorch "
                f"({LOWEST_PSNR[engine.info.precision]:g} needed), differs by at most "
                f"{facts['largest_difference']:.0f} levels"
            )
        except SelfTestError as error:
            yield Outcome(f"{name} FAILED and is not used: {error}", failed=True)
        except EngineError as error:
            if not optional:
                raise InputError(str(error)) from error
            yield Outcome(f"{name} is not available: {error}")


def choose_again(model: str, registry: Registry, notify: Callable[[str], None]) -> Outcome:
    """Measure all engines again, and report which one `auto` chooses.

    Raises InputError if no engine works, or if the model is unusable.
    """
    try:
        chosen = load_engine(
            "auto",
            model=model,
            # as many as in a run, because measurements are stored by number of threads
            threads=device_facts()["cores"],
            registry=registry,
            notify=notify,
            remeasure=True,
        ).info
    except EngineError as error:
        raise InputError(str(error)) from error
    return Outcome(f"auto is {chosen.name} on {chosen.device} ({chosen.reason})")


def build_on_every_kind(model: str, address: str | None) -> Iterator[Outcome]:
    """Build and choose engines on one node per kind of GPU in a Ray cluster; yield the outcomes."""
    from pipeline.execution.cluster.engines import build_on_cluster  # imports ray

    for built in build_on_cluster(model, address):
        node = f"{built.kind} ({count_items(built.nodes, 'node')}, built on {built.host})"
        if isinstance(built.info, str):
            yield Outcome(f"{node}: FAILED: {built.info}", failed=True)
        else:
            yield Outcome(f"{node}: auto is {built.info.name}, {built.info.reason}")


def export_network(
    model: str, out: Path, scale: int, precision: Precision, pixels: PixelType
) -> Iterator[Outcome]:
    """Write a network's ONNX files into the folder `out`, and yield how they differ from PyTorch.

    Raises InputError if the model cannot be exported, or if the folder cannot be written.
    """
    if find_obstacle(out):
        raise InputError(f"-o {out} is a file or below one, but must be a folder; try another -o")
    try:
        network = load_model_network(model)
        specs = [GraphSpec(part, scale, pixels, precision) for part in list_parts(network)]
        written = write_graphs(network, specs, out)
    except (EngineError, OSError) as error:
        raise InputError(str(error)) from error

    for path, differences in written.items():
        worst = max(differences.values())
        unit = "levels" if "sr" in differences else "of the largest value"
        yield Outcome(f"{path} differs from PyTorch by at most {worst:.2g} {unit}")


def cross_build(
    model: str, targets: Sequence[str], out: Path | None, progress: Callable[[str, int, int], None]
) -> Iterator[Outcome]:
    """Build TensorRT plans for the RTX GPUs of other machines, and yield the outcomes.

    `targets` are compute capabilities such as sm89 and sm120; `out` is the registry's folder, by
    default the user's own. `progress` receives the name of a phase, the number of its finished
    steps, and the number of all its steps. Raises InputError if a target or the model is unknown,
    or if TensorRT for RTX is not installed.
    """
    try:
        check_targets(targets, find_library(rtx=True))
        parts = list_parts(load_model_network(model))
    except EngineError as error:
        raise InputError(str(error)) from error

    for scale in (2, 4, 8):
        for part in parts:
            spec = GraphSpec(part, scale, "uint8", "fp16", target="tensorrt")
            try:
                (entry,) = cross_build_plans(model, [spec], targets, out, progress=progress)
            except EngineError as error:
                # a compiler that fails at one scale may succeed at the others
                yield Outcome(f"{spec.name} FAILED: {error}", failed=True)
                continue

            size = entry.path.stat().st_size / 1e6
            yield Outcome(f"{entry.path} {spec.name} for {', '.join(targets)}: {size:.1f} MB")


def parse_size(text: str) -> tuple[int, int]:
    """Return the height and width in text such as "320x512".

    Raises InputError for other text, and for a size at which engines cannot be timed.
    """
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        height = width = 0
    if min(height, width) < 32 or max(height, width) > LONGEST_SIDE or height % 8 or width % 8:
        raise InputError(
            f"--size is {text}, but must be HEIGHTxWIDTH, both multiples of 8 from 32 to "
            f"{LONGEST_SIDE}, such as 320x512"
        )
    return height, width


def time_engines(
    model: str,
    names: Sequence[str],
    size: tuple[int, int],
    *,
    frames: int,
    turns: int,
    progress: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Return a row for each engine, with its best speed in frames per second, or why it failed.

    `size` is the height and width of the output. The engines take turns, so that other work on
    the machine affects all of them. Raises InputError if the model is unusable, or if no engine
    can be timed.
    """
    registry = open_registry()
    _check_model(model)
    engines: dict[str, Engine] = {}
    rows: dict[str, dict[str, Any]] = {name: {"engine": name} for name in names}
    with progress.step("loading engines", len(names)) as count:
        for done, name in enumerate(names, start=1):
            try:
                engines[name] = load_tested_engine(name, model, None, registry)
            except EngineError as error:
                rows[name]["failed"] = str(error)
            count(done)

    if not engines:
        raise InputError(f"no engine can be timed: {rows[names[0]]['failed']}")

    height, width = size
    best = dict.fromkeys(engines, 0.0)
    with progress.step("timing engines", turns * len(engines)) as count:
        for turn in range(turns):
            for number, (name, engine) in enumerate(engines.items(), start=1):
                fps = measure_fps(engine, height=height, width=width, frames=frames, turns=1)
                best[name] = max(best[name], fps)
                count(turn * len(engines) + number, name)

    for name, engine in engines.items():
        info = engine.info
        rows[name] |= {"device": info.device, "precision": info.precision, "fps": best[name]}
    return list(rows.values())


def format_timings(rows: list[dict[str, Any]]) -> str:
    """Return the rows from `time_engines` as a Markdown table."""
    torch = next((row["fps"] for row in rows if row["engine"] == "torch" and "fps" in row), None)
    lines = [
        "| engine | device | precision | frames per second | ms per frame | speed / torch |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "fps" not in row:
            lines.append(f"| {row['engine']} | - | - | {row['failed']} | - | - |")
            continue

        fps = row["fps"]
        ratio = f"{fps / torch:.2f}" if torch else "-"
        cells = (row["engine"], row["device"], row["precision"], f"{fps:.2f}", f"{1000 / fps:.1f}")
        lines.append(f"| {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def describe_entry(entry: dict[str, Any]) -> str:
    """Return a registry entry (a sidecar with its state) as one line of text."""
    key = entry["key"]
    facts = entry["facts"]
    kind = key.get("kind", "?")
    match kind:
        case "onnx":
            text = f"graph {key['graph']} of {facts.get('model', '?')}"
        case "selftest":
            text = f"self-test of {key['engine']}: {facts.get('psnr', 0):.1f} dB"
        case "speed":
            text = "speeds: " + ", ".join(f"{k} {v:.3g} fps" for k, v in facts["fps"].items())
        case _:
            text = kind
    return f"{entry['file'] or '-':42} {entry['state']:10} {text}"

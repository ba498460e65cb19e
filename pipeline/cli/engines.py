"""The commands `pipeline engines ...`: make, list, test and time what runs the network here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deploy.protocol import ENGINES, EngineError
from pipeline.errors import InputError

if TYPE_CHECKING:
    from deploy.protocol import Engine
    from deploy.registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])
REAL = tuple(name for name in ENGINES if name not in ("auto", "bicubic"))
_MODEL = click.option(
    "--model", default="fast", show_default=True, help="fast, paper, or a file of weights."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
_ENGINE = click.option(
    "--engine",
    "names",
    multiple=True,
    type=click.Choice(REAL),
    help="May be given several times; default: all that can be had here.",
)


@click.group()
def command() -> None:
    """Make, list, test and time what runs the network on this device.

    `pipeline run` does by itself what is needed; these commands do it beforehand, or show it.
    """


@command.command()
@_MODEL
@click.option("--scale", type=click.Choice(["2", "4", "8"]), default="4", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True)
@click.option("--pixels", type=click.Choice(["uint8", "uint16"]), default="uint8")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path(), help="A folder.")
def export(model: str, scale: str, precision: Any, pixels: Any, out: Path) -> None:
    """Write the network as ONNX files (opset 18, any size), held against PyTorch.

    Pixels go in, pixels come out. `fast` is two graphs: what is done once for a reference, and
    what is done for every frame.
    """
    from deploy.export.graphs import GraphSpec, list_parts
    from deploy.export.stored import load_model_network
    from deploy.export.write import write_graphs

    try:
        network = load_model_network(model)
        specs = [GraphSpec(part, int(scale), pixels, precision) for part in list_parts(network)]
        written = write_graphs(network, specs, out)
    except (EngineError, OSError) as error:
        raise InputError(str(error)) from error
    for path, differences in written.items():
        worst = max(differences.values())
        unit = "of the largest value" if "sr" not in differences else "levels"
        click.echo(f"{path} differs from PyTorch by at most {worst:.2g} {unit}")


@command.command()
@_MODEL
@_ENGINE
@click.option(
    "--target",
    "targets",
    metavar="SM,SM",
    help="Plans for RTX cards that are not here, say sm89,sm120 (needs TensorRT for RTX).",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), help="With --target: a folder.")
@click.option("--cluster", is_flag=True, help="On one node of each kind of GPU of a Ray cluster.")
@click.option("--address", metavar="ADDR", help="Of that cluster; default: RAY_ADDRESS.")
@click.pass_context
def build(
    ctx: click.Context,
    model: str,
    names: tuple[str, ...],
    targets: str | None,
    out: Path | None,
    cluster: bool,
    address: str | None,
) -> None:
    """Make, test and time what runs here, as a first run would; what auto is, is measured anew."""
    if targets is not None:
        ctx.exit(_cross_build(model, targets.split(","), out))
    if cluster or address:
        ctx.exit(_build_on_cluster(model, address))
    from deploy.load import load_engine

    registry = _registry()
    _say_tests(model, names, registry)
    try:
        chosen = load_engine("auto", model=model, registry=registry, notify=_note, remeasure=True)
    except EngineError as error:
        raise InputError(str(error)) from error
    click.echo(f"auto is {chosen.info.name} on {chosen.info.device} ({chosen.info.reason})")


def _cross_build(model: str, targets: list[str], out: Path | None) -> int:
    from deploy.export.graphs import GraphSpec, list_parts
    from deploy.export.stored import load_model_network
    from deploy.trt.library import find_library
    from deploy.trt.stored_plans import check_targets, cross_build_plans

    try:
        check_targets(targets, find_library(rtx=True))
        graphs = list_parts(load_model_network(model))
    except EngineError as error:
        raise InputError(str(error)) from error
    failed = 0
    for scale in (2, 4, 8):
        for part in graphs:
            spec = GraphSpec(part, scale, "uint8", "fp16", target="tensorrt")
            try:
                (entry,) = cross_build_plans(model, [spec], targets, out, progress=_phase)
            except EngineError as error:
                # a compiler that gives up on one scale may manage the others
                failed = 1
                click.echo(f"{spec.name} FAILED: {error}")
                continue
            size = entry.path.stat().st_size / 1e6
            click.echo(f"{entry.path} {spec.name} for {', '.join(targets)}: {size:.1f} MB")
    return failed


def _phase(phase: str, done: int, total: int) -> None:
    if done == 0:
        _note(f"TensorRT: {phase}")


def _build_on_cluster(model: str, address: str | None) -> int:
    from pipeline.execution.cluster.engines import build_everywhere

    failed = 0
    for built in build_everywhere(model, address):
        where = f"{built.kind} ({built.nodes} nodes, built on {built.host})"
        if isinstance(built.info, str):
            failed = 1
            click.echo(f"{where}: FAILED: {built.info}")
        else:
            click.echo(f"{where}: auto is {built.info.name}, {built.info.reason}")
    return failed


@command.command()
@_MODEL
@_ENGINE
@click.pass_context
def verify(ctx: click.Context, model: str, names: tuple[str, ...]) -> None:
    """Hold engines against PyTorch again, and free those that pass from quarantine.

    The exit status is 1 when one fails.
    """
    ctx.exit(0 if _say_tests(model, names, _registry()) else 1)


def _say_tests(model: str, names: tuple[str, ...], registry: Registry) -> bool:
    from deploy.load import create_engine
    from deploy.selftest import LOWEST_PSNR, SelfTestError, load_baseline_engine, require_selftest

    sound = True
    for name in names or REAL:
        try:
            engine = create_engine(name, model, None)
            if name == "torch":
                click.echo(f"torch on {engine.info.device}: the judge of the others")
                continue
            facts = require_selftest(
                engine, registry, lambda: load_baseline_engine(model), retest=True
            )
            click.echo(
                f"{name} on {engine.info.device}: PSNR {facts['psnr']:.1f} dB against PyTorch "
                f"({LOWEST_PSNR[engine.info.precision]:g} needed), differs by at most "
                f"{facts['largest_difference']:.0f} levels"
            )
        except SelfTestError as error:
            sound = False
            click.echo(f"{name} FAILED and is not used: {error}")
        except EngineError as error:
            if names:
                raise InputError(str(error)) from error
            click.echo(f"{name} is not there: {error}")
    return sound


@command.command("list")
@_JSON
def listing(as_json: bool) -> None:
    """Show what was made for this machine, and whether it can be trusted."""
    entries = list(_registry().entries())
    if as_json:
        click.echo(json.dumps({"entries": entries}))
        return
    if not entries:
        click.echo("nothing was made here yet; try pipeline engines build")
    for entry in entries:
        click.echo(_described(entry))


def _described(entry: dict[str, Any]) -> str:
    key, facts = entry["key"], entry["facts"]
    kind = what = key.get("kind", "?")
    if kind == "onnx":
        what = f"graph {key['graph']} of {facts.get('model', '?')}"
    elif kind == "selftest":
        what = f"self-test of {key['engine']}: {facts.get('psnr', 0):.1f} dB"
    elif kind == "speed":
        what = "speeds: " + ", ".join(f"{k} {v:.3g} fps" for k, v in facts["fps"].items())
    return f"{entry['file'] or '-':42} {entry['state']:10} {what}"


@command.command()
@_MODEL
@_ENGINE
@click.option("--size", default="320x512", show_default=True, help="HEIGHTxWIDTH of the output.")
@click.option("--frames", type=click.IntRange(1), default=2, show_default=True, help="In a call.")
@click.option("--turns", type=click.IntRange(1), default=5, show_default=True)
@_JSON
def bench(
    model: str, names: tuple[str, ...], size: str, frames: int, turns: int, as_json: bool
) -> None:
    """Time engines side by side: frames per second of the network alone, and as ratios to torch."""
    try:
        height, width = (int(part) for part in size.lower().split("x"))
        if min(height, width) < 32 or height % 8 or width % 8:
            raise ValueError
    except ValueError:
        raise InputError(
            f"found --size {size}, expected HEIGHTxWIDTH, both multiples of 8 from 32 on; "
            "try 320x512"
        ) from None
    rows = list(_timed(model, names or REAL, height, width, frames, turns))
    if as_json:
        click.echo(json.dumps({"model": model, "size": [height, width], "engines": rows}))
        return
    torch = next((row["fps"] for row in rows if row["engine"] == "torch" and "fps" in row), None)
    click.echo("| engine | device | precision | frames per second | ms per frame | of torch |")
    click.echo("|---|---|---|---|---|---|")
    for row in rows:
        if "fps" not in row:
            click.echo(f"| {row['engine']} | - | - | {row['failed']} | - | - |")
            continue
        ratio = f"{row['fps'] / torch:.2f}" if torch else "-"
        cells = row["engine"], row["device"], row["precision"], f"{row['fps']:.2f}"
        click.echo(f"| {' | '.join(cells)} | {1000 / row['fps']:.1f} | {ratio} |")


def _timed(
    model: str, names: tuple[str, ...], height: int, width: int, frames: int, turns: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each engine; they take turns, so that a slow moment meets all of them."""
    from deploy.choice import measure_fps
    from deploy.load import load_tested_engine

    registry = _registry()
    engines: dict[str, Engine] = {}
    rows: dict[str, dict[str, Any]] = {name: {"engine": name} for name in names}
    for name in names:
        try:
            engines[name] = load_tested_engine(name, model, None, registry)
        except EngineError as error:
            rows[name]["failed"] = str(error)
    best = dict.fromkeys(engines, 0.0)
    for _ in range(turns):
        for name, engine in engines.items():
            fps = measure_fps(engine, height=height, width=width, frames=frames, turns=1)
            best[name] = max(best[name], fps)
    for name, engine in engines.items():
        info = engine.info
        rows[name] |= {"device": info.device, "precision": info.precision, "fps": best[name]}
    yield from rows.values()


def _registry() -> Registry:
    from deploy.registry import Registry

    try:
        return Registry()
    except EngineError as error:
        raise InputError(str(error)) from error


def _note(text: str) -> None:
    click.echo(text, err=True)

"""`pipeline engines`: export the network, and build, test, list and time engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deploy.names import NETWORK_ENGINES
from pipeline.cli.options import JSON_OPTION, MODELS, QUIET_OPTION, PathOrWord
from pipeline.cli.words import print_json, print_text

if TYPE_CHECKING:
    from deploy.export.graphs import PixelType
    from deploy.export.lowering import Precision
    from pipeline.tools.engines import Outcome

_MODEL_OPTION = click.option(
    "--model",
    default="fast",
    show_default=True,
    type=PathOrWord(MODELS),
    help=f"{', '.join(MODELS)}, or a weights file.",
)
_ENGINE_OPTION = click.option(
    "--engine",
    "names",
    multiple=True,
    type=click.Choice(NETWORK_ENGINES),
    help="Engine to use; may be repeated. Default: all that run the network.",
)


@click.group()
def engines() -> None:
    """Build, list, test and time the engines that run the network on this machine.

    `pipeline run` builds and tests what it needs. These commands do so in advance, and show what
    has been built.
    """


@engines.command()
@_MODEL_OPTION
@click.option(
    "--scale",
    type=click.Choice(["2", "4", "8"]),
    default="4",
    show_default=True,
    help="Enlargement factor.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16"]),
    default="fp32",
    show_default=True,
    help="Precision of the network.",
)
@click.option(
    "--pixels",
    type=click.Choice(["uint8", "uint16"]),
    default="uint8",
    show_default=True,
    help="Data type of the pixels.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Output folder; default: the current one.",
)
@QUIET_OPTION
def export(
    model: str, scale: str, precision: Precision, pixels: PixelType, out: Path, quiet: bool
) -> None:
    """Export the network as ONNX files (opset 18, any size), and compare them with PyTorch.

    The inputs and outputs of the graphs are pixels. `fast` has two graphs: one to run once per
    reference, and one to run for every frame.
    """
    from pipeline.tools.engines import export_network

    outcomes = export_network(model, out, int(scale), precision, pixels)
    _print_outcomes(outcomes, "exporting", quiet=quiet)


@engines.command()
@_MODEL_OPTION
@_ENGINE_OPTION
@click.option(
    "--target",
    "targets",
    metavar="SM,SM",
    help="Build TensorRT plans for other machines' RTX cards, such as sm89,sm120 "
    "(needs TensorRT for RTX).",
)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="With --target: the output folder."
)
@click.option(
    "--cluster", is_flag=True, help="Build on a Ray cluster: on one node for each kind of GPU."
)
@click.option("--address", metavar="ADDR", help="Address of the Ray cluster; default: RAY_ADDRESS.")
@QUIET_OPTION
@click.pass_context
def build(
    context: click.Context,
    model: str,
    names: tuple[str, ...],
    targets: str | None,
    out: Path | None,
    cluster: bool,
    address: str | None,
    quiet: bool,
) -> None:
    """Build, test and time engines as a first run would, and choose the engine for `auto` again.

    The exit status is 1 if a build with --target, --cluster or --address fails, else 0.
    """
    from pipeline.progress import make_reporter

    if targets is not None and (names or cluster or address):
        raise click.UsageError("--target cannot be combined with --engine, --cluster or --address.")
    if names and (cluster or address):
        raise click.UsageError("--engine cannot be combined with --cluster or --address.")
    if targets is None and out is not None:
        raise click.UsageError("-o needs --target.")

    if targets is not None:
        from pipeline.tools.engines import cross_build

        note = make_reporter(quiet=quiet).note
        outcomes = cross_build(model, targets.split(","), out, partial(_note_phase, note))
        context.exit(0 if _print_outcomes(outcomes, "building", quiet=quiet) else 1)
    if cluster or address:
        from pipeline.tools.engines import build_on_every_kind

        outcomes = build_on_every_kind(model, address)
        context.exit(0 if _print_outcomes(outcomes, "building", quiet=quiet) else 1)

    from pipeline.tools.engines import choose_again, open_registry, retest_engines

    registry = open_registry()
    tested = names or NETWORK_ENGINES
    outcomes = retest_engines(model, tested, registry, optional=not names)
    _print_outcomes(outcomes, "testing engines", quiet=quiet)
    progress = make_reporter(quiet=quiet)
    with progress.step("timing engines"):
        chosen = choose_again(model, registry, progress.note)
    print_text(chosen.text)


@engines.command()
@_MODEL_OPTION
@_ENGINE_OPTION
@QUIET_OPTION
@click.pass_context
def verify(context: click.Context, model: str, names: tuple[str, ...], quiet: bool) -> None:
    """Test engines against PyTorch again, and release those that pass from quarantine.

    The exit status is 1 if an engine fails, else 0.
    """
    from pipeline.tools.engines import open_registry, retest_engines

    tested = names or NETWORK_ENGINES
    outcomes = retest_engines(model, tested, open_registry(), optional=not names)
    context.exit(0 if _print_outcomes(outcomes, "testing engines", quiet=quiet) else 1)


@engines.command("list")
@JSON_OPTION
def list_entries(as_json: bool) -> None:
    """List what has been built for this machine, and whether it can be trusted."""
    from pipeline.tools.engines import describe_entry, open_registry

    entries = list(open_registry().entries())
    if as_json:
        print_json(json.dumps({"entries": entries}))
        return

    if not entries:
        print_text("nothing has been built on this machine; try `pipeline engines build`")
    for entry in entries:
        print_text(describe_entry(entry))


@engines.command()
@_MODEL_OPTION
@_ENGINE_OPTION
@click.option(
    "--size", default="320x512", show_default=True, help="Size of the output, HEIGHTxWIDTH."
)
@click.option(
    "--frames", type=click.IntRange(1), default=2, show_default=True, help="Frames per call."
)
@click.option(
    "--turns",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Number of timed calls; the fastest one is reported.",
)
@QUIET_OPTION
@JSON_OPTION
def bench(
    model: str,
    names: tuple[str, ...],
    size: str,
    frames: int,
    turns: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Time engines side by side: frames per second of the network alone, also relative to torch."""
    from pipeline.progress import make_reporter
    from pipeline.tools.engines import format_timings, parse_size, time_engines

    height, width = parse_size(size)
    rows = time_engines(
        model,
        names or NETWORK_ENGINES,
        (height, width),
        frames=frames,
        turns=turns,
        progress=make_reporter(quiet=quiet),
    )
    if as_json:
        print_json(json.dumps({"model": model, "size": [height, width], "engines": rows}))
    else:
        print_text(format_timings(rows))


def _print_outcomes(outcomes: Iterator[Outcome], step: str, *, quiet: bool) -> bool:
    """Print each outcome as soon as it is known, and return whether all were successful.

    Unless `quiet`, the name of the step is shown on stderr while the next outcome is awaited.
    """
    from pipeline.progress import make_reporter

    progress = make_reporter(quiet=quiet)
    succeeded = True
    while True:
        # open a step for each outcome, because nothing can be printed while a step is shown
        with progress.step(step):
            outcome = next(outcomes, None)
        if outcome is None:
            return succeeded
        print_text(outcome.text)
        succeeded = succeeded and not outcome.failed


def _note_phase(note: Callable[[str], None], phase: str, done: int, _total: int) -> None:
    if done == 0:
        note(f"TensorRT: {phase}")

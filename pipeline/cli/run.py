"""The commands run, plan and probe: options to settings, a library call, the result in words."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli.options import OUTPUTS, grid_options
from pipeline.errors import InputError, PipelineError
from pipeline.schema.encoding import WORDS

if TYPE_CHECKING:
    from pipeline.progress import Reporter
    from pipeline.runs.batch import BatchResult
    from pipeline.runs.run import RunResult
    from pipeline.schema.clip import Clip
    from pipeline.schema.plan import Plan
    from pipeline.schema.settings import RunSettings

Command = TypeVar("Command", bound=Callable[..., Any])

_INPUT = click.argument("input", metavar="INPUT")
_WHAT = (
    click.option("--ref-stream", metavar="REF", help="HR recording to borrow from."),
    click.option(
        "-o",
        "--output",
        metavar="OUT",
        help="Default: <input stem>_x<scale>.<ext>; - is stdout, frames/%06d.png pictures.",
    ),
    click.option(
        "--scale",
        type=click.Choice(["auto", "2", "4", "8"]),
        help="Enlargement; auto (the default) compares REF with INPUT.",
    ),
    click.option("--model", help="fast (the default), paper, or a file of weights."),
    click.option(
        "--engine", help="auto (the default), tensorrt, torch, onnx, openvino or bicubic."
    ),
    click.option(
        "--select",
        type=click.Choice(["auto", "time", "view", "content"]),
        help="How the reference of each frame is chosen.",
    ),
    click.option("--ref-offset", metavar="SECONDS|auto", help="Added to the times of REF."),
    click.option(
        "--max-ref-distance",
        type=float,
        metavar="SECONDS",
        help="Borrow nothing from references farther away; default 2.",
    ),
    click.option("--start", metavar="TIME", help="Begin here (seconds or h:mm:ss)."),
    click.option("--end", metavar="TIME", help="Stop before here (seconds or h:mm:ss)."),
    click.option(
        "--on-error",
        type=click.Choice(["stop", "conceal"]),
        help="At a corrupt frame: stop (the default), or repeat the frame before it.",
    ),
    click.option(
        "--deinterlace",
        type=click.Choice(["auto", "off", "bwdif"]),
        help="Make interlaced frames progressive: where they say so or comb (auto), never, or all.",
    ),
    click.option(
        "--sandbox",
        type=click.Choice(["auto", "on", "off"]),
        help="Open recordings in child processes under limits: those from URLs (auto), all, none.",
    ),
    click.option("--plan", metavar="FILE", help="Take this (edited) plan."),
    click.option("--force", is_flag=True, help="Replace an existing output."),
)
_HOW = (
    click.option("--runner", type=click.Choice(["auto", "inline", "ray"]), help="Default: auto."),
    click.option("--address", metavar="ADDR", help="Ray cluster to run on."),
    click.option(
        "--workers", type=click.IntRange(1), help="Ray actors at most; default: one per GPU."
    ),
    click.option("--accelerator", metavar="TYPE", help="Run on GPUs of this type, say H100."),
    click.option("--batch", type=click.IntRange(1), help="Frames in a call of the network."),
    click.option("--segment", type=float, metavar="SECONDS", help="Length of a segment."),
    click.option(
        "--placement",
        type=click.Choice(["auto", "fused", "split"]),
        help="Decode and encode beside the network (fused, as auto), or in CPU actors (split).",
    ),
)
_VIEWS = (
    click.option(
        "--ref-view", metavar="ROW,COL|center", help="Light field: the view that REF shows."
    ),
    click.option(
        "--ref-position",
        metavar="X,Y",
        help="Where REF's camera stands, in grid steps (columns, rows).",
    ),
    click.option("--ref-count", type=click.IntRange(1, 8), help="References fused for each view."),
    click.option(
        "--consistent/--no-consistent",
        default=None,
        help="A second pass borrows from enhanced neighbours too.",
    ),
    click.option("--to", type=click.Choice(OUTPUTS), help="Layout of the output light field."),
)
_ENCODER = (
    click.option("--codec", help="Encoder: x264, x265, av1, prores, ffv1, or FFmpeg's own name."),
    click.option(
        "--quality", type=click.Choice(WORDS), help="How much the encoder keeps, in a word."
    ),
    click.option("--crf", type=float, help="Constant quality of the encoder; lower is better."),
    click.option("--preset", help="Speed preset of the encoder."),
    click.option("--pix-fmt", help="Pixel format of the output."),
    click.option(
        "--audio", type=click.Choice(["copy", "none"]), help="Copy the sound (the default) or not."
    ),
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


def _settings_options(command: Command) -> Command:
    """Give a command every option that decides a plan."""
    for option in reversed((*_WHAT, *_HOW, *_ENCODER, *_VIEWS)):
        command = option(command)
    return grid_options(command)


def run_options(command: Command) -> Command:
    """Give a command all that `pipeline run` takes."""
    own = (
        click.argument("inputs", metavar="INPUT...", nargs=-1),
        click.option("--manifest", metavar="FILE", help="Inputs in a CSV or JSONL file."),
        click.option("--ground-truth", metavar="HR", help="Measure PSNR and SSIM against this."),
        click.option("-q", "--quiet", is_flag=True, help="No progress on stderr."),
        _JSON,
    )
    command = _settings_options(command)
    for option in reversed(own):
        command = option(command)
    return command


def _settings(values: dict[str, Any]) -> RunSettings:
    """Return the settings; what was not given keeps the default of `RunSettings`."""
    from pipeline.schema.settings import RunSettings, checked

    return checked(RunSettings, values)


@click.command()
@run_options
@click.option("--report", metavar="FILE.html", help="Write pictures and figures there.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, as `pipeline plan` does.")
def run(
    inputs: tuple[str, ...],
    manifest: str | None,
    report: str | None,
    dry_run: bool,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Enhance INPUT with the detail of REF.

    A run that was stopped or killed goes on where it was when the same command is run again.

    Several inputs, a glob of videos or a --manifest (columns or keys input, reference, output and
    any option) run one after the other; then -o is a folder, and REF and -o may contain {stem}.
    What failed is written to a list that --manifest takes.
    """
    from pipeline.progress import reporter

    if not inputs and manifest is None:
        raise click.UsageError("Missing argument 'INPUT...'.")
    progress = reporter(quiet=quiet)
    from pipeline.runs.batch import is_batch

    page = _page(report, batch=is_batch(inputs, manifest), force=values["force"])
    if dry_run:
        _dry_run(inputs, values, batch=is_batch(inputs, manifest), as_json=as_json)
        return
    if is_batch(inputs, manifest):
        _run_batch(inputs, manifest, values, progress, as_json=as_json)
        return
    settings = _settings(values | {"input": inputs[0]})
    if page is not None:
        from pipeline.cli.report import check_run

        check_run(settings)
    from pipeline.runs.run import run as run_job

    if settings.output == "-":
        _run_to_stdout(settings, progress, plain=not as_json and page is None)
        return
    result = run_job(settings, progress)
    if page is not None:
        from pipeline.report.page import write_report

        progress.note(f"writing {page}")
        write_report(Path(result.output), page, ground_truth=settings.ground_truth, asked=settings)
    click.echo(result.model_dump_json() if as_json else _describe_result(result))


def _run_to_stdout(settings: RunSettings, progress: Reporter, *, plain: bool) -> None:
    if not plain:
        raise click.UsageError("-o - leaves no room for --json and no file for --report.")
    from pipeline.runs.run import run as run_job
    from pipeline.runs.to_stdout import run_to

    result = run_to(sys.stdout.buffer, settings, lambda given: run_job(given, progress))
    progress.note(_describe_result(result))


def _dry_run(
    inputs: tuple[str, ...], values: dict[str, Any], *, batch: bool, as_json: bool
) -> None:
    if batch:
        raise click.UsageError("--dry-run is for one input; plan them one by one.")
    _say_plan(_settings(values | {"input": inputs[0]}), save=None, as_json=as_json)


def _say_plan(settings: RunSettings, *, save: str | None, as_json: bool) -> None:
    from pipeline.planning.plan import load_plan, make_plan, save_plan
    from pipeline.planning.size_estimate import expected_bytes

    made = load_plan(settings.plan, settings) if settings.plan else make_plan(settings)
    made = made.model_copy(update={"expected_bytes": expected_bytes(made)})
    if save:
        save_plan(made, Path(save))
    click.echo(made.model_dump_json() if as_json else _describe_plan(made))


def _page(report: str | None, *, batch: bool, force: bool) -> Path | None:
    """Return where the report goes, checked before hours of work."""
    if report is None:
        return None
    if batch:
        raise click.UsageError("--report is for one input; use `pipeline report OUT` afterwards.")
    from pipeline.cli.report import check_page

    check_page(Path(report), force=force)
    return Path(report)


def _run_batch(
    inputs: tuple[str, ...],
    manifest: str | None,
    values: dict[str, Any],
    progress: Reporter,
    *,
    as_json: bool,
) -> None:
    from pipeline.runs.batch import entries, failed_list_place, run_all

    # not a number that equals False: --crf 0 means something
    common = {k: v for k, v in values.items() if v is not None and v is not False}
    settings = _settings(common | {"input": "-"})  # what is wrong for all is said once
    items = entries(inputs, manifest, common)
    failed_list = failed_list_place(manifest, common.get("output"))
    from pipeline.execution.runners import choose_runner

    if choose_runner(settings.runner, settings.address)[0] == "ray":
        from pipeline.runs.pooled_batch import run_pooled

        result, interrupted = run_pooled(items, settings, progress, failed_list)
    else:
        result, interrupted = run_all(items, progress, failed_list)
    click.echo(result.model_dump_json() if as_json else _describe_batch(result))
    if interrupted is not None:
        raise interrupted
    if result.failed:
        listed = result.failed_list
        how = f"run them again by --manifest {listed}" if listed else "their list cannot be written"
        raise PipelineError(f"{result.failed} of {len(result.items)} inputs failed; {how}")


@click.command()
@_INPUT
@_settings_options
@click.option("--save", metavar="FILE", help="Write the plan there, to be edited and run.")
@_JSON
def plan(save: str | None, as_json: bool, **values: Any) -> None:
    """Say what a run with the same arguments would do: references, what is kept, what is lost."""
    _say_plan(_settings(values), save=save, as_json=as_json)


@click.command()
@click.argument("path", metavar="PATH")
@grid_options
@click.option("--contact-sheet", metavar="FILE", help="Light field: all views in one picture.")
@_JSON
def probe(path: str, contact_sheet: str | None, as_json: bool, **grid: Any) -> None:
    """Describe a video, an image, a folder of images or a light field."""
    from pipeline.lightfield.opening import open_light_field
    from pipeline.media.read.probe import probe as probe_clip
    from pipeline.schema.settings import GridSettings, checked
    from pipeline.tools.describe_views import describe, in_words
    from pipeline.tools.look import save_contact_sheet

    views = open_light_field(path, checked(GridSettings, grid))
    if views is not None:
        if contact_sheet:
            save_contact_sheet(views, Path(contact_sheet))
        found = describe(views)
        click.echo(found.model_dump_json() if as_json else in_words(found))
        return
    if contact_sheet:
        raise InputError(
            f"found --contact-sheet for {path}, which is no light field; leave it out, or say how "
            "its views lie by --layout and --grid"
        )
    clip = probe_clip(path)
    click.echo(clip.model_dump_json() if as_json else _describe_clip(clip))


def _describe_result(result: RunResult) -> str:
    lines = [
        f"{result.output}",
        f"  {result.frames} frames x{result.scale} in {result.seconds:.1f} s "
        f"({result.fps:.2f} fps), {result.segments} segments"
        + (f", {result.resumed_segments} of them resumed" if result.resumed_segments else ""),
        f"  engine {result.engine}, model {result.model}, on {result.device}",
        *([f"  reference map: {result.reference_map}"] if result.reference_map else []),
        *(f"  note: {note}" for note in result.notes),
    ]
    if result.psnr is not None and result.ssim is not None:
        lines.append(f"  PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}")
    return "\n".join(lines)


def _describe_batch(result: BatchResult) -> str:
    lines = []
    for item in result.items:
        if item.result is not None:
            said = f"{item.result.frames} frames, {item.result.fps:.2f} fps -> {item.output}"
        else:
            said = " ".join((item.error or "").split())
        lines.append(f"{item.status:8} {item.input}  {said}".rstrip())
    lines.append(
        f"{result.done} done, {result.failed} failed, {result.frames} frames "
        f"in {result.seconds:.1f} s"
    )
    return "\n".join(lines)


def _describe_plan(made: Plan) -> str:
    why = Counter(choice.why for choice in made.reference_map)
    reasons = ", ".join(f"{count} {name}" for name, count in why.most_common())
    lines = [
        f"{made.input.path} -> {Path(made.output) / made.pictures}",
        f"  {made.input.width}x{made.input.height} -> {made.width}x{made.height} (x{made.scale}), "
        f"{len(made.reference_map)} frames in {len(made.segments)} segments",
        f"  engine {made.engine}, model {made.model}, {made.batch} frames a batch",
        f"  {made.encoding.codec} crf {made.encoding.crf} {made.encoding.pix_fmt}",
        f"  references by {made.reference.select}: {reasons}",
    ]
    if made.input.grid is not None:
        from pipeline.tools.describe_views import reference_lines

        lines += [f"  {line}" for line in reference_lines(made)]
    if made.expected_bytes is not None:
        from pipeline.planning.size_estimate import seconds_of

        rate = 8 * made.expected_bytes / float(seconds_of(made))
        lines.append(
            f"  about {made.expected_bytes / 1e6:.3g} MB of video ({rate / 1e6:.3g} Mbit/s), "
            "judged by a few enlarged frames"
        )
    return "\n".join([*lines, *(f"  note: {note}" for note in made.notes)])


def _describe_clip(clip: Clip) -> str:
    rate = f"{float(clip.frame_rate):.3f} fps" if clip.frame_rate else "no constant rate"
    guessed = " (guessed)" if clip.colour.guessed else ""
    lines = [
        clip.path,
        f"  {clip.kind}, {clip.codec} {clip.pix_fmt}, {clip.width}x{clip.height}, "
        f"{clip.bit_depth} bits, {rate}",
        f"  colour {clip.colour.used_matrix} {clip.colour.used_range}{guessed}, "
        f"rotation {clip.rotation}, sample aspect ratio {clip.sample_aspect_ratio}",
    ]
    if clip.files:
        lines.append(f"  {len(clip.files)} files")
    for stream in clip.other_streams:
        lines.append(f"  stream {stream.index}: {stream.type} {stream.codec} {stream.language}")
    return "\n".join(lines)

"""Describe results as plain text, and print everything that commands print."""

from __future__ import annotations

import math
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossnetpp.printable import make_printable, make_printable_json
from pipeline.errors import count_items
from pipeline.paths import redact_text
from pipeline.runs.stdout import write_all

if TYPE_CHECKING:
    from deploy.speed import Speed
    from pipeline.runs.result import BatchResult, PlanResult, RunResult
    from pipeline.schema.clip import Clip
    from pipeline.schema.plan import Plan


def print_text(
    text: object, *, err: bool = False, label: str = "", colour: str = "", end: str = "\n"
) -> None:
    """Print text, without control characters and secrets in URLs, after `label` in `colour`.

    The text goes to stdout, or to stderr if `err` is set. Errors in writing to stderr are ignored.
    Raises OSError if stdout cannot be written.
    """
    start = click.style(make_printable(redact_text(label)), fg=colour) if label else ""
    line = start + make_printable(redact_text(str(text))) + end
    if not err:
        _print_out(line)
        return

    with suppress(OSError):
        click.echo(line, nl=False, err=True)


def _print_out(text: str) -> None:
    """Print text to stdout; raises OSError unless all of it was written.

    This bypasses Python's buffer, whose contents would cause a second error when the interpreter
    exits. Without the buffer (PYTHONUNBUFFERED), Python drops what a full disk or a pipe does not
    accept.
    """
    stream = sys.stdout
    if stream is None:
        return
    try:
        descriptor = stream.fileno()
    except (OSError, AttributeError):  # a stream without a file, such as a buffer in memory
        descriptor = -1
    if descriptor < 0 or sys.platform == "win32":
        click.echo(text, nl=False)
        stream.flush()
        return

    context = click.get_current_context(silent=True)
    if not stream.isatty() or (context is not None and context.color is False):
        text = click.unstyle(text)  # as `click.echo` does
    stream.flush()
    write_all(descriptor, text.encode(stream.encoding, stream.errors or "strict"))


def print_address(text: str) -> None:
    """Print the address of the page, including its token, which `print_text` would remove."""
    _print_out(make_printable(text) + "\n")


def print_json(text: str, *, end: str = "\n") -> None:
    """Print JSON text with control characters escaped, which leaves its value unchanged."""
    _print_out(make_printable_json(text) + end)


def describe_result(result: RunResult) -> str:
    """Return the result of a run as a few lines of text."""
    lines = [
        f"{result.output}",
        f"  {count_items(result.frames, 'frame')} x{result.scale} in {result.seconds:.1f} s "
        f"({result.fps:.2f} fps), {result.width}x{result.height}, "
        f"{count_items(result.segments, 'segment')}"
        + (f", {result.resumed_segments} of them resumed" if result.resumed_segments else ""),
        f"  engine {result.engine}, model {result.model}, on {result.device}",
        *([f"  reference map: {result.reference_map}"] if result.reference_map else []),
        *(f"  note: {note}" for note in result.notes),
    ]
    if result.psnr is not None and result.ssim is not None:
        lines.append(
            f"  PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}{_describe_means(result)}"
        )
    return "\n".join(lines)


def _describe_means(result: RunResult) -> str:
    """Return text about bicubic up-sampling's quality, and about frames left out of the means."""
    quality = result.quality
    if quality is None:
        return ""

    text = ""
    if quality.bicubic is not None:
        text = f" (bicubic {quality.bicubic.psnr:.2f} dB, {quality.bicubic.ssim:.4f})"
    if quality.left_out:
        text += (
            f", means of {count_items(quality.frames, 'frame')} without the {quality.left_out} "
            "that the reference provides"
        )
    return text


def describe_batch(result: BatchResult) -> str:
    """Return one line for each input of a batch, and a line of totals."""
    lines = []
    for item in result.items:
        if item.result is not None:
            frames = count_items(item.result.frames, "frame")
            outcome = f"{frames}, {item.result.fps:.2f} fps -> {item.output}"
        else:
            outcome = " ".join((item.error or item.note or "").split())
        lines.append(f"{item.status:8} {item.input}  {outcome}".rstrip())

    skipped = f"{result.skipped} skipped, " if result.skipped else ""
    lines.append(
        f"{result.done} done, {skipped}{result.failed} failed, "
        f"{count_items(result.frames, 'frame')} in {result.seconds:.1f} s"
    )
    return "\n".join(lines)


def describe_cost(made: Plan, speed: Speed | None, disk: int) -> list[str]:
    """Return lines of text with the estimated time of a run and the disk space that it needs."""
    from pipeline.progress import format_bytes, format_seconds

    if made.engine == "bicubic":
        time = "no network is used: the run takes as long as decoding and encoding"
    elif speed is None or made.expected_seconds is None:
        time = (
            f"the time is unknown, because the speed of engine {made.engine} has not been measured "
            "on this machine; `pipeline engines build` measures it"
        )
    else:
        fps = speed.pixels_per_second / math.prod(made.network_size)
        time = (
            f"about {format_seconds(made.expected_seconds)} with {speed.engine}, which was "
            f"measured here ({fps:.3g} frames per second of this size)"
        )

    folder = Path(made.output).parent
    free = shutil.disk_usage(folder).free
    return [
        time,
        f"about {format_bytes(disk)} of disk space in {folder} until the output is finished; "
        f"{format_bytes(free)} are free",
    ]


def describe_plan(made: Plan, cost: Sequence[str] = ()) -> str:
    """Return a plan as a few lines of text.

    One line counts the frames for each reason in the reference map. `cost` contains further lines,
    about the running time and disk space.
    """
    from pipeline.schema.clip import LightField

    counts = Counter(choice.why for choice in made.reference_map)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    lines = [
        f"{made.input.path} -> {Path(made.output) / made.pictures}",
        f"  {made.input.width}x{made.input.height} -> {made.width}x{made.height} "
        f"({made.describe_enlargement()}), "
        f"{count_items(len(made.reference_map), 'frame')} in "
        f"{count_items(len(made.segments), 'segment')}",
        f"  engine {made.engine}, model {made.model}, {count_items(made.batch, 'frame')} per batch",
        f"  {made.encoding.codec} crf {made.encoding.crf} {made.encoding.pix_fmt}",
        f"  references by {made.reference.select}: {reasons}",
    ]
    several = sum(len(choice.references) > 1 for choice in made.reference_map)
    if several:
        mean = made.reference_map.count_references() / len(made.reference_map)
        lines.append(
            f"  {count_items(several, 'frame')} with several references, {mean:.2f} per frame"
        )

    if isinstance(made.input, LightField):
        from pipeline.tools.describe_views import format_references

        lines += [f"  {line}" for line in format_references(made)]

    if made.expected_bytes is not None:
        from pipeline.planning.size_estimate import find_duration
        from pipeline.progress import format_bytes

        rate = 8 * made.expected_bytes / float(find_duration(made))
        lines.append(
            f"  about {format_bytes(made.expected_bytes)} of video ({rate / 1e6:.3g} Mbit/s), "
            "estimated from a few enlarged frames"
        )

    lines += [f"  {line}" for line in (*cost, *_suggest_size(made))]
    return "\n".join([*lines, *(f"  note: {note}" for note in made.notes)])


def describe_plans(items: Sequence[PlanResult]) -> str:
    """Return a line for each input that has no plan, and a line of totals for all of them."""
    lines = [
        f"{item.status:8} {item.input}  {' '.join((item.error or '').split())}"
        for item in items
        if item.plan is None
    ]
    plans = [item.plan for item in items if item.plan is not None]
    counts = Counter(item.status for item in items)
    skipped = f"{counts['skipped']} skipped, " if counts["skipped"] else ""
    total = (
        f"{len(plans)} planned, {skipped}{counts['failed']} failed, "
        f"{count_items(sum(len(plan.reference_map) for plan in plans), 'frame')}"
    )
    seconds = [plan.expected_seconds for plan in plans]
    if plans and None not in seconds:
        from pipeline.progress import format_seconds

        total += f", about {format_seconds(sum(each or 0.0 for each in seconds))}"
    return "\n".join([*lines, total])


def _suggest_size(made: Plan) -> list[str]:
    """Return a line that suggests an output of the reference's size, or [] if it is not useful."""
    from pipeline.pairing.geometry import count_quarter_turns, swap_size
    from pipeline.schema.clip import LightField
    from pipeline.schema.frame_size import is_possible_size

    if isinstance(made.input, LightField) or made.is_resized:
        return []
    reference = made.reference.clip
    height, width = swap_size(reference, count_quarter_turns(made.input, reference))
    if (width, height) == (made.width, made.height):
        return []
    if made.reference.affine is not None or not is_possible_size(made.input, width, height):
        return []
    return [f"for an output of {width}x{height}, the reference's size, try --size reference"]


def describe_clip(clip: Clip) -> str:
    """Return a description of a recording: format, size, rate, colour and other streams."""
    from pipeline.schema.clip import VideoClip

    rate = f"{float(clip.frame_rate):.3f} fps" if clip.frame_rate else "unknown frame rate"
    guessed = " (guessed)" if clip.colour.guessed else ""
    lines = [
        clip.path,
        f"  {clip.kind}, {clip.codec} {clip.pix_fmt}, {clip.width}x{clip.height}, "
        f"{clip.bit_depth} bits, {rate}",
        f"  colour {clip.colour.used_matrix} {clip.colour.used_range}{guessed}, "
        f"rotation {clip.rotation}, sample aspect ratio {clip.sample_aspect_ratio}",
    ]

    if clip.files:
        lines.append(f"  {count_items(len(clip.files), 'file')}")
    for stream in clip.other_streams if isinstance(clip, VideoClip) else ():
        lines.append(f"  stream {stream.index}: {stream.type} {stream.codec} {stream.language}")
    return "\n".join(lines)

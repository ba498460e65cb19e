"""Render the measurements and pictures of a finished run as one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from crossnetpp.printable import make_printable
from pipeline.adaptation.sentences import describe_adaptation
from pipeline.assembly.record import package_versions
from pipeline.errors import InputError
from pipeline.ledger.durable import staging_folder, write_atomically
from pipeline.ledger.plan_beside import plan_path
from pipeline.media.pictures.numbered import check_comparable
from pipeline.pairing.given import list_left_out
from pipeline.pixels import Picture
from pipeline.progress import SILENT, Reporter, find_bottleneck
from pipeline.report.capture import draw_capture
from pipeline.report.chart import Chart, Curve, draw_chart
from pipeline.report.exhibits import choose_exhibits
from pipeline.report.pictures import BUDGET, Window, choose_window, crop_pictures, encode_jpegs
from pipeline.report.rows import (
    FinishedRun,
    Row,
    average_figures,
    measure_all_frames,
    measure_rows,
)
from pipeline.report.stretches import Stretch, cut_stretches, find_stretches
from pipeline.report.viewer import BUDGET as VIEWER_BUDGET
from pipeline.report.viewer import Viewer, group_by_distance, make_table, make_viewer
from pipeline.schema.clip import LightField
from pipeline.schema.plan import Plan, RunRecord
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import GridSettings

MOST_STRETCHES = 200  # rows in the table of references; the page states how many are left out
MOST_SWITCHES = 120  # more vertical lines would obscure the curves of a chart


@dataclass(frozen=True)
class Image:
    """A picture in the page, as a data URL."""

    kind: str
    caption: str
    address: str


@dataclass(frozen=True)
class Exhibit:
    """A frame that the page shows, with its figures."""

    row: Row
    why: str
    images: list[Image]
    part: str
    """Description of the part of the frame that is shown; "" for the whole frame."""
    height: int
    width: int


@dataclass(frozen=True)
class SummaryRow:
    """A row of the table of means."""

    name: str
    ours: str
    bicubic: str
    meaning: str


@dataclass(frozen=True)
class Highlight:
    """A formatted figure to show above the pictures."""

    value: str
    meaning: str


def write_report(
    output: Path,
    page: Path,
    *,
    plan_file: Path | None = None,
    ground_truth: str | None = None,
    grid_settings: GridSettings | None = None,
    progress: Reporter = SILENT,
) -> None:
    """Write the report about a finished run to `page` atomically.

    `plan_file` defaults to the plan beside the output. `grid_settings` describes the layout of a
    light field's ground truth if its file names do not. Raises InputError if the output, the plan
    and the ground truth do not belong together, or if the page cannot be written.
    """
    check_comparable(output, "a report")
    plan = read_plan(plan_file or plan_path(output))
    with FinishedRun(plan, output, ground_truth, grid_settings) as finished:
        against_truth = measure_all_frames(finished, progress)
        rows = measure_rows(finished, against_truth, progress)
        means = average_figures(rows, against_truth, plan)
        exhibits = _make_exhibits(finished, rows)
        result = finished.result
        viewer = make_viewer(result) if isinstance(result, LightField) else None

    html = render_page(plan, output, rows, means, exhibits, viewer)
    try:
        with staging_folder(page) as folder:
            staged = folder / "page.html"
            write_atomically(staged, html)
            staged.replace(page)
    except OSError as error:
        raise InputError(
            f"cannot write the report {page} ({error.strerror}); try a path in another folder"
        ) from error


def _make_printable_value(value: object) -> object:
    """Return the value of a template expression, with control characters in text made visible."""
    return make_printable(value) if type(value) is str else value


def render_page(
    plan: Plan,
    output: Path,
    rows: list[Row],
    means: Mapping[str, float | None],
    exhibits: list[Exhibit],
    viewer: Viewer | None,
) -> str:
    """Return the HTML of the page."""
    environment = Environment(
        loader=PackageLoader("pipeline.report", "template"),
        autoescape=True,
        finalize=_make_printable_value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader = environment.loader
    assert loader is not None

    def inline(name: str) -> Markup:
        # our own files, which contain no text from users
        return Markup(loader.get_source(environment, name)[0])

    def vendored(name: str, licence: str) -> Markup:
        # drop the banner, because its URL would suggest that the page loads something
        code = re.sub(r"^/\*!.*?\*/", "", inline(name), flags=re.DOTALL)
        return Markup(f"/* {Path(name).name}\n{inline(licence)}*/\n{code}")

    record = plan.record
    grid = plan.input.grid if isinstance(plan.input, LightField) else None
    is_clip = not isinstance(plan.input, LightField)
    all_stretches = find_stretches(plan) if is_clip else []
    stretches = all_stretches[:MOST_STRETCHES]
    seconds = find_stretches(plan, rank=1) if is_clip else []
    truth = rows[0].psnr is not None
    return environment.get_template("page.html.j2").render(
        inline=inline,
        vendored=vendored,
        name=output.name,
        plan=plan,
        rows=rows,
        truth=truth,
        exhibits=exhibits,
        facts=_highlights(means, record, truth=truth),
        figures=_summary(means),
        measured=len(rows),
        left_out=len(list_left_out(plan)),
        charts=_make_charts(all_stretches, rows, exhibits, truth=truth) if is_clip else [],
        capture=draw_capture(plan.capture),
        adaptation=describe_adaptation(plan.adaptation),
        viewer=viewer,
        viewer_first=(grid.rows[0], grid.cols[0]) if grid is not None else (0, 0),
        table=make_table(grid, rows) if grid is not None else [],
        distances=group_by_distance(rows) if grid is not None else [],
        stretches=stretches,
        second_stretches=cut_stretches(seconds, stretches[-1].last) if stretches else [],
        hidden=len(all_stretches) - len(stretches),
        record=record,
        limit=find_bottleneck(record.busy) if record else "",
        versions=record.versions if record else package_versions(),
    )


def _make_exhibits(finished: FinishedRun, rows: list[Row]) -> list[Exhibit]:
    """Return the frames to show, with pictures at a quality that fits the page's size budget."""
    by_number = {row.number: row for row in rows}
    aspect = finished.result.sample_aspect_ratio
    rotation = finished.result.rotation

    found = []
    pictures: list[Picture] = []
    for number, why in choose_exhibits(rows, finished.plan).items():
        versions = finished.read_pictures(number)
        part = choose_window(versions)
        images = crop_pictures(versions, part, rotation)
        pictures += [image.picture for image in images]
        found.append((by_number[number], why, part, images))

    budget = BUDGET
    if isinstance(finished.plan.input, LightField):
        budget -= VIEWER_BUDGET // 2
    addresses = iter(encode_jpegs(pictures, budget))

    exhibits = []
    for row, why, part, images in found:
        height, width = images[0].picture.shape[:2]
        across = rotation % 180 == 0
        whole = (part.height, part.width) == (finished.plan.height, finished.plan.width)
        exhibits.append(
            Exhibit(
                row=row,
                why=" and ".join(why),
                images=[Image(i.kind, i.caption, next(addresses)) for i in images],
                part="" if whole else _describe_window(part),
                height=height if across else round(height * aspect),
                width=round(width * aspect) if across else width,
            )
        )
    return exhibits


def _describe_window(part: Window) -> str:
    return (
        f"a window of {part.width}x{part.height} pixels at row {part.row}, column {part.col}, "
        "where most was borrowed"
    )


def _summary(means: Mapping[str, float | None]) -> list[SummaryRow]:
    """Return the rows of the table of means, without figures that no frame has."""

    def line(name: str, ours: str, plain: str | None, form: str, meaning: str) -> SummaryRow | None:
        value = means[ours]
        other = means[plain] if plain else None
        if value is None:
            return None
        bicubic = "" if other is None else format(other, form)
        return SummaryRow(name, format(value, form), bicubic, meaning)

    lines = [
        line(
            "PSNR, dB", "psnr", "bicubic_psnr", ".2f", "against the ground truth; higher is better"
        ),
        line(
            "SSIM",
            "ssim",
            "bicubic_ssim",
            ".4f",
            "against the ground truth; higher is better, at most 1",
        ),
        line(
            "VMAF",
            "vmaf",
            "bicubic_vmaf",
            ".2f",
            "against the ground truth; higher is better, at most 100",
        ),
        line(
            "Downscale consistency, dB",
            "consistency",
            None,
            ".2f",
            "the downscaled result against the input; low if the result shows something else",
        ),
        line(
            "Agreement with the reference",
            "agreement",
            "bicubic_agreement",
            ".2f",
            "correlation of fine detail with the warped reference; 1 = the same detail",
        ),
        line(
            "Temporal error, levels",
            "temporal",
            "bicubic_temporal",
            ".2f",
            "change that motion does not explain; a steady result is close to bicubic",
        ),
        line(
            "Borrowed, levels", "borrowed", None, ".2f", "mean difference from bicubic up-sampling"
        ),
    ]
    return [line for line in lines if line is not None]


def _highlights(
    means: Mapping[str, float | None], record: RunRecord | None, *, truth: bool
) -> list[Highlight]:
    """Return the figures to show above the pictures, most important first."""

    def against(name: str, plain: str, form: str, unit: str, what: str) -> Iterator[Highlight]:
        ours = means[name]
        theirs = means[plain]
        if ours is not None and theirs is not None:
            both = f"{format(ours, form)} against {format(theirs, form)}"
            yield Highlight(
                format(ours - theirs, f"+{form}") + unit, f"{what} over bicubic: {both}"
            )

    found: list[Highlight] = []
    if truth:
        found += against("psnr", "bicubic_psnr", ".2f", " dB", "PSNR")
        found += against("ssim", "bicubic_ssim", ".4f", "", "SSIM")
        found += against("vmaf", "bicubic_vmaf", ".2f", "", "VMAF")
    else:
        found.append(Highlight(f"{means['consistency'] or 0:.1f} dB", "downscale consistency"))
        agreement = means["agreement"]
        plain = means["bicubic_agreement"]
        if agreement is not None and plain is not None:
            meaning = f"agreement with the reference (bicubic {plain:.2f})"
            found.append(Highlight(f"{agreement:.2f}", meaning))

    if record is not None and record.seconds > 0:
        speed = record.frames / record.seconds
        found.append(Highlight(f"{speed:.2g} fps", f"{record.engine} on {record.device}"))
    return found


def _make_charts(
    stretches: list[Stretch], rows: list[Row], exhibits: list[Exhibit], *, truth: bool
) -> list[Chart]:
    """Return the charts for a clip: its quality over time, and how much was borrowed."""
    times = [row.seconds for row in rows]
    switches = [stretch.begin for stretch in stretches][1:]
    marks = {exhibit.row.seconds: exhibit.why for exhibit in exhibits}

    def one(title: str, unit: str, ours: str, plain: str | None, digits: int = 2) -> Chart:
        curves = [Curve("result", "ours", [getattr(row, ours) for row in rows])]
        if plain:
            curves.append(Curve("bicubic", "plain", [getattr(row, plain) for row in rows]))
        lines = switches if len(switches) <= MOST_SWITCHES else []
        return draw_chart(
            title,
            unit,
            times,
            curves,
            frames=[row.number for row in rows],
            digits=digits,
            switches=lines,
            marks=marks,
        )

    if truth:
        first = [
            one("PSNR", "dB", "psnr", "bicubic_psnr"),
            one("SSIM", "", "ssim", "bicubic_ssim", 4),
        ]
    else:
        first = [one("Downscale consistency", "dB", "consistency", None)]
    return [*first, one("Borrowed", "8-bit levels", "borrowed", None)]

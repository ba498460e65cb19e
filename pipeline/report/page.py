"""The report: everything gathered and rendered into one HTML file that fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline.assembly.record import package_versions
from pipeline.errors import InputError
from pipeline.ledger.durable import write_atomically
from pipeline.media.pictures.numbered import check_comparable
from pipeline.progress import limiting
from pipeline.report.chart import Chart, Curve, draw_chart
from pipeline.report.pictures import BUDGET, choose_window, crop_pictures, encode_jpegs, turned
from pipeline.report.rows import (
    FinishedRun,
    Row,
    choose_exhibits,
    drop_given,
    mean_figure,
    measure_rows,
)
from pipeline.report.viewer import BUDGET as VIEWER_BUDGET
from pipeline.report.viewer import (
    Viewer,
    group_by_distance,
    make_table,
    make_viewer,
)
from pipeline.schema.clip import LightField
from pipeline.schema.plan import Plan, RunRecord
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import GridSettings

MOST_RUNS = 200
"""Rows of the reference table; more are counted."""
MOST_SWITCHES = 120
"""Lines in a chart beyond which they would cover it."""


@dataclass(frozen=True)
class Image:
    """A picture in the page."""

    kind: str
    caption: str
    address: str


@dataclass(frozen=True)
class Exhibit:
    """One frame shown, with its figures."""

    row: Row
    why: str
    images: list[Image]
    part: str
    """Which part of the frame is shown, in words; "" for all of it."""
    height: int
    width: int


@dataclass(frozen=True)
class Stretch:
    """Neighbouring frames that have the same reference for the same reason."""

    first: int
    last: int
    begin: float
    end: float
    reference: float | None
    """Seconds on the reference's own clock."""
    farthest: float | None
    why: str
    nearness: float
    """1 for no distance, 0 for the largest of all stretches."""


@dataclass(frozen=True)
class SummaryRow:
    """A line of the summary."""

    name: str
    ours: str
    bicubic: str
    meaning: str


@dataclass(frozen=True)
class Highlight:
    """A figure above the pictures, ready to be read."""

    value: str
    meaning: str


def write_report(
    output: Path,
    page: Path,
    *,
    plan_file: Path | None = None,
    ground_truth: str | None = None,
    asked: GridSettings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the report of a finished run to `page`; it appears whole or not at all.

    `asked` says how the ground truth of a light field lies, where its names do not tell.
    Raises InputError where output, plan and ground truth do not belong together.
    """
    check_comparable(output, "a report")
    plan = read_plan(plan_file or output.with_name(f"{output.stem}.plan.json"))
    with FinishedRun(plan, output, ground_truth, asked) as material:
        rows = measure_rows(material, progress)
        exhibits = _exhibits(material, rows)
        result = material.result
        shown = make_viewer(result) if isinstance(result, LightField) else None
    html = render_page(plan, output, rows, exhibits, shown)
    try:
        write_atomically(page, html)
    except OSError as error:
        raise InputError(
            f"found no way to write {page} ({error.strerror}), expected a writable folder; "
            "try another path"
        ) from error


def render_page(
    plan: Plan, output: Path, rows: list[Row], exhibits: list[Exhibit], shown: Viewer | None
) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("pipeline.report", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader, record = environment.loader, plan.record
    assert loader is not None

    def inline(name: str) -> Markup:
        # our own files, which hold nothing of the user's
        return Markup(loader.get_source(environment, name)[0])

    def vendored(name: str, licence: str) -> Markup:
        # without its banner, an address that would look as if the page fetched something
        code = re.sub(r"^/\*!.*?\*/", "", inline(name), flags=re.DOTALL)
        return Markup(f"/* {Path(name).name}\n{inline(licence)}*/\n{code}")

    grid = plan.input.grid if isinstance(plan.input, LightField) else None
    stretches = list(_stretches(plan)) if grid is None else []
    truth = rows[0].psnr is not None
    return environment.get_template("page.html.j2").render(
        inline=inline,
        vendored=vendored,
        name=output.name,
        plan=plan,
        rows=rows,
        truth=truth,
        exhibits=exhibits,
        facts=_facts(drop_given(rows, plan), record, truth=truth),
        figures=_figures(drop_given(rows, plan), truth=truth),
        measured=len(rows),
        charts=_charts(plan, rows, exhibits, truth=truth) if grid is None else [],
        viewer=shown,
        viewer_first=(grid.rows[0], grid.cols[0]) if grid is not None else (0, 0),
        table=make_table(grid, rows) if grid is not None else [],
        distances=group_by_distance(rows) if grid is not None else [],
        stretches=stretches[:MOST_RUNS],
        hidden=max(0, len(stretches) - MOST_RUNS),
        record=record,
        limit=limiting(record.busy) if record else "",
        versions=record.versions if record else package_versions(),
    )


def _exhibits(material: FinishedRun, rows: list[Row]) -> list[Exhibit]:
    by_number = {row.number: row for row in rows}
    turn = turned(material.result.rotation)
    aspect = material.result.sample_aspect_ratio
    found, pictures = [], []
    for number, why in choose_exhibits(rows, material.plan).items():
        views = material.read_pictures(number)
        part = choose_window(views)
        images = crop_pictures(views, part, turn)
        pictures += [image.picture for image in images]
        found.append((by_number[number], why, part, images))
    budget = (
        BUDGET if not isinstance(material.plan.input, LightField) else BUDGET - VIEWER_BUDGET // 2
    )
    addresses = iter(encode_jpegs(pictures, budget))
    exhibits = []
    for row, why, part, images in found:
        height, width = images[0].picture.shape[:2]
        across = material.result.rotation % 180 == 0
        whole = (part.height, part.width) == (material.plan.height, material.plan.width)
        exhibits.append(
            Exhibit(
                row=row,
                why=" and ".join(why),
                images=[Image(i.kind, i.caption, next(addresses)) for i in images],
                part=""
                if whole
                else f"a window of {part.width}x{part.height} pixels at row {part.row}, "
                f"column {part.col}, where most was borrowed",
                height=height if across else round(height * aspect),
                width=round(width * aspect) if across else width,
            )
        )
    return exhibits


def _figures(rows: list[Row], *, truth: bool) -> list[SummaryRow]:
    def line(name: str, ours: str, plain: str | None, form: str, meaning: str) -> SummaryRow | None:
        value = mean_figure(rows, ours)
        other = mean_figure(rows, plain) if plain else None
        if value is None:
            return None
        return SummaryRow(
            name, format(value, form), "" if other is None else format(other, form), meaning
        )

    lines = [
        line("PSNR, dB", "psnr", "bicubic_psnr", ".2f", "against the ground truth; higher"),
        line("SSIM", "ssim", "bicubic_ssim", ".4f", "against the ground truth; higher, at most 1"),
        line(
            "VMAF", "vmaf", "bicubic_vmaf", ".1f", "against the ground truth; higher, at most 100"
        ),
        line(
            "Downscale consistency, dB",
            "consistency",
            None,
            ".2f",
            "the result reduced again, against the input; low: it shows something else",
        ),
        line(
            "Agreement with the reference",
            "agreement",
            "bicubic_agreement",
            ".2f",
            "correlation of fine detail with the moved reference; 1 = the same detail",
        ),
        line(
            "Temporal error, levels",
            "temporal",
            "bicubic_temporal",
            ".2f",
            "change that motion does not explain; close to plain up-sampling is calm",
        ),
        line("Borrowed, levels", "borrowed", None, ".2f", "mean distance from plain up-sampling"),
    ]
    return [line for line in lines if line is not None]


def _facts(rows: list[Row], record: RunRecord | None, *, truth: bool) -> list[Highlight]:
    """Return what stands above the pictures, the most telling first."""

    def against(name: str, plain: str, form: str, unit: str, what: str) -> Iterator[Highlight]:
        ours, theirs = mean_figure(rows, name), mean_figure(rows, plain)
        if ours is not None and theirs is not None:
            both = f"{format(ours, form)} against {format(theirs, form)}"
            yield Highlight(
                format(ours - theirs, f"+{form}") + unit, f"{what} over bicubic: {both}"
            )

    found: list[Highlight] = []
    if truth:
        found += against("psnr", "bicubic_psnr", ".2f", " dB", "PSNR")
        found += against("ssim", "bicubic_ssim", ".4f", "", "SSIM")
        found += against("vmaf", "bicubic_vmaf", ".1f", "", "VMAF")
    else:
        found.append(
            Highlight(f"{mean_figure(rows, 'consistency') or 0:.1f} dB", "downscale consistency")
        )
        agreement, plain = mean_figure(rows, "agreement"), mean_figure(rows, "bicubic_agreement")
        if agreement is not None and plain is not None:
            meaning = f"agreement with the reference (bicubic {plain:.2f})"
            found.append(Highlight(f"{agreement:.2f}", meaning))
    if record is not None and record.seconds > 0:
        speed = record.frames / record.seconds
        found.append(Highlight(f"{speed:.2g} fps", f"{record.engine} on {record.device}"))
    return found


def _charts(plan: Plan, rows: list[Row], exhibits: list[Exhibit], *, truth: bool) -> list[Chart]:
    times = [row.seconds for row in rows]
    switches = [stretch.begin for stretch in _stretches(plan)][1:]
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


def _stretches(plan: Plan) -> list[Stretch]:
    found = []
    numbered = enumerate(plan.reference_map)
    most = max((abs(c.seconds) for c in plan.reference_map if c.seconds is not None), default=0.0)
    for (ref_pts, why), group in groupby(numbered, key=lambda nc: (nc[1].ref_pts, nc[1].why)):
        members = list(group)
        away = [abs(c.seconds) for _, c in members if c.seconds is not None]
        farthest = max(away, default=None)
        found.append(
            Stretch(
                first=members[0][0],
                last=members[-1][0],
                begin=plan.input.seconds(members[0][1].pts),
                end=plan.input.seconds(members[-1][1].pts),
                reference=None if ref_pts is None else plan.reference.clip.seconds(ref_pts),
                farthest=farthest,
                why=why,
                nearness=1 - (farthest or 0.0) / most if most else 1.0,
            )
        )
    return found

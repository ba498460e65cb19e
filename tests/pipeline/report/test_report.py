"""The report as a file: its contents, that it loads nothing, and refused arguments."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.assembly.record import format_command
from pipeline.cli.main import main
from pipeline.measuring.clips import measure_frames
from pipeline.pairing.rules import spread_evenly
from pipeline.report.capture import draw_capture, draw_kernel
from pipeline.report.chart import Curve, choose_ticks, draw_chart
from pipeline.report.exhibits import choose_exhibits
from pipeline.report.pictures import MOST_HEIGHT, MOST_WIDTH, choose_window, encode_jpegs
from pipeline.report.rows import (
    FinishedRun,
    FramePictures,
    Row,
    measure_rows,
)
from pipeline.schema.plan_file import read_plan
from pipeline.schema.reference_map import ReferenceChoice
from pipeline.schema.settings import RunSettings
from tests.support.finished import finished_run, run_pipeline


class Page(HTMLParser):
    """Collect what a page would load, and whether its tags are balanced."""

    void = frozenset({"meta", "link", "img", "input", "line", "polyline", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag not in self.void:
            self.open.append(tag)
        self.loads += [str(named[n]) for n in ("src", "href", "srcset", "data") if n in named]
        if tag == "img":
            self.images.append(named)
        if named.get("id"):
            self.ids.append(str(named["id"]))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def page() -> tuple[str, Page]:
    text = (finished_run() / "report.html").read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(text)
    return text, parsed


def test_the_page_is_whole_and_loads_nothing() -> None:
    text, parsed = page()
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert all(load.startswith(("data:", "#")) for load in parsed.loads)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_every_picture_is_described_and_can_be_opened() -> None:
    _, parsed = page()
    kinds = {str(image["alt"]).split(", ")[1].split(" ")[0].strip(":") for image in parsed.images}
    assert kinds == {"bicubic", "result", "reference", "original", "borrowed", "weights"}
    for image in parsed.images:
        data = base64.b64decode(str(image["src"]).partition(",")[2])
        with Image.open(io.BytesIO(data)) as opened:
            is_kernel = str(image["alt"]).startswith("kernel, ")
            assert opened.size == ((192, 192) if is_kernel else (128, 96))


def test_the_measured_kernel_is_drawn_and_described() -> None:
    text, _ = page()
    plan = read_plan(finished_run() / "out.plan.json")
    assert plan.capture is not None
    assert f"The kernel was measured on {len(plan.capture.pairs)} frames that the" in text
    assert f"matches the input with a PSNR of {plan.capture.fits_db:.1f} dB" in text

    means = np.pad(np.full((2, 2), 0.25), 3)
    means[0, 0] = -0.0625
    drawn = draw_kernel(means)
    assert drawn.shape == (192, 192, 3)
    inside, outside, negative = drawn[100, 100], drawn[50, 50], drawn[10, 10]
    assert tuple(outside) == (255, 255, 255)
    assert tuple(inside) == (20, 90, 200)
    # a quarter of the weight is drawn with half of the strength
    assert negative == pytest.approx(np.array([237, 182, 137]), abs=1)


def test_a_report_on_a_bicubic_run_draws_no_kernel() -> None:
    assert draw_capture(None) is None


def test_the_page_names_the_command_the_versions_and_the_limit() -> None:
    text, _ = page()
    assert re.search(r"pipeline run \S*lr\.mkv .*--engine torch", text)
    assert "torch 2." in text
    assert "limited by <strong>" in text
    assert "nearest" in text


def test_figures_are_those_of_evaluate() -> None:
    folder = finished_run()
    plan = read_plan(folder / "out.plan.json")
    with FinishedRun(plan, folder / "out.mkv", str(folder / "hr.mkv")) as material:
        rows = measure_rows(material)
    expected = list(measure_frames(str(folder / "out.mkv"), str(folder / "hr.mkv")))
    assert [row.number for row in rows] == [frame.frame for frame in expected]
    assert [row.psnr for row in rows] == pytest.approx([frame.psnr for frame in expected])
    assert [row.ssim for row in rows] == pytest.approx([frame.ssim for frame in expected])


def test_a_report_without_ground_truth_shows_consistency(tmp_path: Path) -> None:
    made = tmp_path / "page.html"
    run_pipeline("report", finished_run() / "out.plan.json", "-o", made)
    text = made.read_text(encoding="utf-8")
    assert "Downscale consistency" in text
    assert "SSIM" not in text
    assert 'data-kind="original"' not in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{f}/none.mkv"], "cannot read a plan from"),
        (["{f}/out.mkv", "-o", "{t}/page.pdf"], "ends in .html"),
        (["{f}/out.mkv", "-o", "{t}/no/page.html"], "does not exist; create it first"),
        (["{f}/out.mkv", "-o", "{f}/report.html"], "already exists"),
        (["{f}/hr.mkv", "--plan", "{f}/out.plan.json", "-o", "{t}/p.html"], "24 frames"),
        (["{f}/out.mkv", "--ground-truth", "{f}/lr.mkv", "-o", "{t}/p.html"], "ground truth is"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    given = [a.format(f=finished_run(), t=tmp_path) for a in arguments]
    result = CliRunner().invoke(main, ["report", *given])
    assert result.exit_code == 2, (result.output, result.exception)
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_refuses_an_impossible_report_before_it_works(tmp_path: Path) -> None:
    folder = finished_run()
    given = ["run", str(folder / "lr.mkv"), "--ref-stream", str(folder / "hr.mkv")]
    given += ["-o", str(tmp_path / "o.mkv"), "--report"]
    pages = {
        tmp_path / "no" / "page.html": "does not exist",
        folder / "report.html": "already exists; try another name, or --force to replace it\n",
    }
    for page, words in pages.items():
        refused = CliRunner().invoke(main, [*given, str(page)])
        assert refused.exit_code == 2
        assert words in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_report_of_a_url_is_refused_before_the_run(tmp_path: Path) -> None:
    given = [str(finished_run() / "lr.mkv"), "--ref-stream", str(finished_run() / "hr.mkv")]
    given += ["--report", str(tmp_path / "page.html"), "-o", "s3://bucket/out.mkv"]
    result = CliRunner().invoke(main, ["run", *given])
    assert result.exit_code == 2, (result.output, result.exception)
    assert "leave --report out" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_names_of_files_cannot_break_the_page(tmp_path: Path) -> None:
    folder, evil = finished_run(), "<img src=x onerror=alert(1)>&.mkv"
    for name, copy in (("out.mkv", evil), ("out.plan.json", f"{Path(evil).stem}.plan.json")):
        (tmp_path / copy).write_bytes((folder / name).read_bytes())
    run_pipeline("report", tmp_path / evil, "-o", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_the_plan_beside_the_output_holds_the_record() -> None:
    plan = read_plan(finished_run() / "out.plan.json")
    assert plan.record is not None
    assert plan.record.frames == 15
    assert set(plan.record.busy) == {"decode", "infer", "encode"}
    assert plan.digest() == plan.model_copy(update={"record": None}).digest()


def test_the_command_holds_all_settings() -> None:
    settings = RunSettings(input="a b.mkv", ref_stream="r.mkv", crop_grid="2x3", force=True, crf=12)
    assert format_command(settings) == (
        "pipeline run 'a b.mkv' --crf 12.0 --crop-grid 2x3 --force --ref-stream r.mkv"
    )


def test_the_command_has_the_spelling_of_every_option() -> None:
    settings = RunSettings(
        input="a.mkv",
        output="o.mkv",
        ref_view=(0, 3),
        consistent=False,
        force=False,
        max_ref_distance=1,
    )
    assert format_command(settings) == (
        "pipeline run a.mkv --no-consistent --max-ref-distance 1.0 --output o.mkv --ref-view 0,3"
    )
    again = RunSettings(input="a.mkv", consistent=True, ref_position="1,-2")
    assert format_command(again) == "pipeline run a.mkv --consistent --ref-position 1.0,-2.0"


def row(number: int, psnr: float, borrowed: float) -> Row:
    choice = ReferenceChoice(pts=number, ref_pts=0, seconds=1.0, why="nearest")
    return Row(number, float(number), choice, borrowed, 40.0, psnr, 0.9, psnr - 1, 0.8)


def test_frames_worth_looking_at() -> None:
    plan = read_plan(finished_run() / "out.plan.json")
    rows = [row(n + 1, p, b) for n, (p, b) in enumerate([(30, 1), (35, 9), (33, 2), (20, 3)])]
    assert choose_exhibits(rows, plan) == {
        3: ["median"],
        2: ["most borrowed", "best"],
        4: ["worst"],
    }
    assert choose_exhibits([row(1, 30, 1)], plan) == {
        1: ["median", "most borrowed", "worst", "best"]
    }


def test_spread_keeps_the_ends() -> None:
    assert spread_evenly(5, 9) == [0, 1, 2, 3, 4]
    assert spread_evenly(101, 3) == [0, 50, 100]


def test_large_frames_are_shown_where_most_was_borrowed() -> None:
    result = np.zeros((900, 2000, 3), np.uint8)
    plain = result.copy()
    result[700:720, 1900:1920] = 200
    part = choose_window(FramePictures(plain, plain, result, None, None))
    assert (part.height, part.width) == (MOST_HEIGHT, MOST_WIDTH)
    assert part.row <= 700 <= 719 < part.row + part.height
    assert part.col <= 1900 <= 1919 < part.col + part.width


def test_pictures_keep_their_budget() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (256, 256, 3), np.uint8)
    free = sum(map(len, encode_jpegs([noise])))
    tight = sum(map(len, encode_jpegs([noise], budget=int(free * 0.7))))
    assert tight <= free * 0.7


def test_ticks_are_round_numbers() -> None:
    assert choose_ticks(0.13, 9.7, 5) == [2, 4, 6, 8]
    assert choose_ticks(33.1, 34.9, 4) == [33.5, 34.0, 34.5]


def test_a_chart_keeps_inside_its_frame_and_breaks_at_gaps() -> None:
    curve = Curve("result", "ours", [1.0, None, 3.0, 2.0])
    drawn = draw_chart(
        "t",
        "dB",
        [0, 1, 2, 3],
        [curve],
        frames=[0, 1, 2, 3],
        digits=2,
        switches=[1.0],
        marks={2.0: "worst"},
    )
    pieces = drawn.lines[0][2]
    assert len(pieces) == 2
    points = [tuple(map(float, p.split(","))) for piece in pieces for p in piece.split()]
    assert all(drawn.left <= x <= drawn.right for x, _ in points)
    assert all(drawn.top <= y <= drawn.bottom for _, y in points)
    assert points[2][1] < points[3][1]  # 3.0 is above 2.0

"""Which report belongs to an output, so that the same command finds both finished."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.report.checks import is_page_of

TITLE = "<!doctype html>\n<title>{}: super-resolution report</title>\n"


def write(path: Path, text: str, seconds: int) -> Path:
    path.write_text(text)
    os.utime(path, (seconds, seconds))
    return path


def test_a_report_belongs_to_the_output_that_it_names_and_follows(tmp_path: Path) -> None:
    output = write(tmp_path / "a & b.mkv", "", 100)
    plan = write(tmp_path / "a & b.plan.json", "{}", 110)
    page = write(tmp_path / "a.html", TITLE.format("a &amp; b.mkv"), 120)
    assert is_page_of(page, str(output))

    os.utime(plan, (130, 130))  # the output was made again
    assert not is_page_of(page, str(output))
    os.utime(plan, (110, 110))
    write(page, TITLE.format("b.mkv"), 120)
    assert not is_page_of(page, str(output))
    write(page, "Dear all", 120)
    assert not is_page_of(page, str(output))


def test_without_an_output_a_plan_or_a_page_there_is_no_report(tmp_path: Path) -> None:
    page = write(tmp_path / "a.html", TITLE.format("a.mkv"), 120)
    output = str(tmp_path / "a.mkv")
    write(tmp_path / "a.plan.json", "{}", 110)
    assert not is_page_of(page, None)
    assert not is_page_of(page, "s3://bucket/a.mkv")
    assert not is_page_of(page, output)
    write(tmp_path / "a.mkv", "", 100)
    assert is_page_of(page, output)
    (tmp_path / "a.plan.json").unlink()
    assert not is_page_of(page, output)
    page.unlink()
    assert not is_page_of(page, output)

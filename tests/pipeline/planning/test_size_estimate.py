"""The size that `plan` expects is about the size that a run makes."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.schema.plan import Plan
from tests.support import DATA

CLIP = str(DATA / "odd/edts.mp4")


@pytest.mark.parametrize(
    ("encoder", "tolerance"),
    [
        (["--codec", "x264", "--preset", "veryfast"], 0.4),
        (["--codec", "prores", "--quality", "small"], 0.1),
    ],
    ids=["groups of frames", "frames of their own"],
)
def test_the_expected_size_is_about_right(
    encoder: list[str], tolerance: float, tmp_path: Path
) -> None:
    out = tmp_path / "out.mov"
    what = [
        CLIP,
        "--ref-stream",
        CLIP,
        "--scale",
        "2",
        "--engine",
        "bicubic",
        "--start",
        "4",
        "--end",
        "6",
    ]
    what += ["-o", str(out), *encoder]
    planned = CliRunner().invoke(main, ["plan", *what, "--json"])
    plan = Plan.model_validate_json(planned.stdout)
    assert plan.expected_bytes is not None
    # the estimate is information only, so the digest does not depend on it
    assert plan.digest() == plan.model_copy(update={"expected_bytes": None}).digest()
    done = CliRunner().invoke(main, ["run", *what, "--runner", "inline", "-q", "--json"])
    assert json.loads(done.stdout)["frames"] == 50
    with av.open(str(out)) as made:
        size = sum(packet.size for packet in made.demux(video=0))
    assert plan.expected_bytes == pytest.approx(size, rel=tolerance)


def test_the_expected_rate_is_printed_in_words(tmp_path: Path) -> None:
    what = ["plan", CLIP, "--ref-stream", CLIP, "--scale", "2", "-o", str(tmp_path / "out.mkv")]
    printed = CliRunner().invoke(main, [*what, "--end", "1", "--preset", "ultrafast"]).stdout
    (line,) = [line for line in printed.splitlines() if "Mbit/s" in line]
    assert line.startswith("  about ")
    assert float(line.split()[1]) > 0

"""Names and qualities as people say them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.errors import InputError
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import check_encoder, choose_encoding, encoder_options
from pipeline.media.write.segment import SegmentWriter
from pipeline.planning.plan import make_plan
from pipeline.schema.encoders import QUALITIES, choose_crf, find_encoder
from pipeline.schema.settings import RunSettings
from tests.support.clips import make_video, picture


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks"])
def test_less_quality_is_fewer_bytes(codec: str, tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "in.mkv", pts=[0, 1, 2])))
    sizes = []
    for word in QUALITIES:
        encoding = choose_encoding(clip, codec=codec, quality=word)
        check_encoder(encoding, 192, 128)
        file = tmp_path / f"{word}.nut"
        with SegmentWriter(file, clip, encoding, 192, 128) as writer:
            for number in range(6):
                writer.write(picture(number, 192, 128), number)
        with av.open(str(file)) as made:
            sizes.append(sum(packet.size for packet in made.demux(video=0)))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("prores", ".mov"), ("prores", ".mkv"), ("x265", ".mp4"), ("av1", ".webm"), ("vp9", ".mkv")],
)
def test_encoders_people_choose_come_through_in_segments(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    given = make_video(tmp_path / f"in{suffix}", **_held(suffix), colour=(1, 1, 1, 1))
    out = tmp_path / f"out{suffix}"
    arguments = ["run", str(given), "--ref-stream", str(given), "--scale", "2", "-o", str(out)]
    arguments += ["--engine", "bicubic", "--runner", "inline", "--segment", "0.12"]
    arguments += ["--codec", codec, "--quality", "high", "--json", "-q"]
    done = CliRunner().invoke(main, arguments)  # the run verifies what it made
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["segments"] == 3
    made = probe(str(out))
    assert made.codec == {"x265": "hevc"}.get(codec, codec)
    assert made.colour.primaries == 1


def _held(suffix: str) -> dict[str, Any]:
    pts = {"pts": list(range(9))}
    return pts | ({"codec": "libvpx-vp9", "options": {}} if suffix == ".webm" else {})


def test_the_default_is_visually_lossless(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "in.mkv", pts=[0])))
    assert choose_encoding(clip).crf == choose_crf("libx264", "visually-lossless")


def test_names_that_people_know() -> None:
    assert [find_encoder(name) for name in ("x265", "AV1", "prores", "ffv1")] == [
        "libx265", "libsvtav1", "prores_ks", "ffv1",
    ]  # fmt: skip
    assert RunSettings(input="in", codec="hevc").codec == "libx265"


def test_prores_keeps_full_chroma_in_its_own_profile(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "in.mkv", pts=[0])))
    options = [
        encoder_options(
            choose_encoding(clip, codec="prores_ks", pix_fmt=pix_fmt, quality="high")
        ).get("profile")
        for pix_fmt in ("yuv422p10le", "yuv444p10le")
    ]
    assert options == ["standard", "4444"]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"crf": 99},
            r"--crf 99 is out of range for libx264, from 0 \(best\) to 51; try 16",
        ),
        ({"crf": -1}, r"--crf -1 is out of range for libx264, from 0"),
        (
            {"crf": 64, "codec": "av1"},
            r"--crf 64 is out of range for libsvtav1, from 0 \(best\) to 63",
        ),
        (
            {"quality": "high", "codec": "ffv1"},
            r"--quality high does not apply to ffv1, which is lossless",
        ),
        (
            {"quality": "high", "codec": "mpeg4"},
            r"--quality high does not apply to mpeg4, which has an unknown quality scale",
        ),
        ({"quality": "small", "crf": 20}, r"--crf 20 and --quality small are mutually"),
    ],
)
def test_an_unsupported_quality_is_a_one_line_error(
    given: dict[str, object], line: str, tmp_path: Path
) -> None:
    video = str(make_video(tmp_path / "in.mkv", pts=[0, 1]))
    settings = RunSettings.model_validate(
        {"input": video, "ref_stream": video, "scale": "2", **given}
    )
    with pytest.raises(InputError, match=line):
        make_plan(settings)

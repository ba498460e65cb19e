from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from jobs.media.cut import cut_beginning
from pipeline.errors import InputError, StageError
from pipeline.media.join import verify
from pipeline.media.join.capabilities import container_notes, default_output_path
from pipeline.media.join.remux import join_segments
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import choose_encoding
from pipeline.media.write.segment import SegmentWriter
from pipeline.schema.encoding import Encoding
from tests.support import DATA
from tests.support.clips import (
    CLOSED,
    FAST,
    find_differences,
    make_segments,
    make_video,
    picture,
    read_packets,
    read_seconds,
    remake_video,
)
from tests.support.commands import invoke

REAL = ["rotate-buck-bunny.mp4", "sar_2x1.mp4", "edts.mp4", "nasa_13013.mp4", "no_duration.webm"]


@pytest.mark.parametrize("name", REAL)
def test_real_files_come_through(tmp_path: Path, name: str) -> None:
    path = DATA / "odd" / name
    out = remake_video(path, tmp_path, length=100)
    # held against libav itself, not against the code under test
    assert read_seconds(out) == read_seconds(path)
    video = probe(str(path)).stream_index
    before = {k: v for k, v in read_packets(path).items() if k[0] != video}
    after = {k: v for k, v in read_packets(out).items() if k[0] != video}
    assert list(after) == list(before)
    assert after == before
    with av.open(str(path)) as one, av.open(str(out)) as two:
        a, b = one.streams.video[0], two.streams.video[0]
        assert (a.sample_aspect_ratio or 1) == b.sample_aspect_ratio
        assert next(one.decode(a)).rotation == next(two.decode(b)).rotation
        for tag in ("colorspace", "color_range", "color_primaries", "color_trc"):
            assert getattr(a.codec_context, tag) == getattr(b.codec_context, tag)
        for s, t in zip(one.streams, two.streams, strict=True):
            assert s.metadata.get("language") == t.metadata.get("language")
            assert s.disposition == t.disposition
    assert find_differences(probe(str(path)), out) == []


def test_ten_bits_stay_ten_bits(tmp_path: Path) -> None:
    path = DATA / "odd/h265_10bits.mp4"
    out = remake_video(path, tmp_path)
    assert read_seconds(out) == read_seconds(path)
    with av.open(str(out)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
        assert next(container.decode(video=0)).format.name == "yuv420p10le"
    assert find_differences(probe(str(path)), out) == []


@pytest.mark.parametrize(
    "font", ["Open Sans.ttf", "Ελληνικά.otf", "../../evil.ttf", "\x1b]0;evil\x07", "a" * 5000, ""]
)
def test_attachments_may_have_any_name(tmp_path: Path, font: str) -> None:
    path = make_video(tmp_path / "in.mkv", extras=True, font=font)
    clip = probe(str(path))
    (info,) = [info for info in clip.other_streams if info.type == "attachment"]
    assert info.codec == "unknown"
    out = remake_video(path, tmp_path)
    with av.open(str(out)) as container:
        (copy,) = [stream for stream in container.streams if stream.type == "attachment"]
        assert copy.metadata.get("filename", "") == font
    assert find_differences(clip, out) == []
    shown = invoke("probe", path)
    assert shown.exit_code == 0
    assert "attachment unknown" in shown.output


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_sound_subtitles_chapters_and_fonts_come_along(tmp_path: Path, suffix: str) -> None:
    path = make_video(tmp_path / f"in{suffix}", extras=True)
    out = remake_video(path, tmp_path)
    with av.open(str(path)) as one, av.open(str(out)) as two:
        assert two.metadata["title"] == "a title"
        assert [c["metadata"] for c in two.chapters()] == [{"title": "first"}, {"title": "second"}]
        assert [c["start"] * c["time_base"] for c in two.chapters()] == [0, Fraction(4, 5)]
        languages = [s.metadata.get("language") for s in two.streams if s.type == "audio"]
        assert languages == [s.metadata.get("language") for s in one.streams if s.type == "audio"]
        assert languages[1] == "fra"
        fonts = [s.data for s in two.streams if s.type == "attachment"]
        assert fonts == [s.data for s in one.streams if s.type == "attachment"]
        assert len(fonts) == (suffix == ".mkv")
    before, after = read_packets(path), read_packets(out)
    assert {k for k in before if k[1] != "data"} == {k for k in after if k[1] != "data"}
    for key in before:
        if key[1] in ("audio", "subtitle"):
            assert after[key] == before[key]
    assert find_differences(probe(str(path)), out) == []


def test_cover_art_comes_along(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.mp4", cover=True)
    out = remake_video(path, tmp_path)
    with av.open(str(out)) as container:
        art = container.streams.video[1]
        assert art.disposition & Disposition.attached_pic
    assert read_packets(out)[1, "video"] == read_packets(path)[1, "video"]
    assert find_differences(probe(str(path)), out) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize(
    ("pts", "time_base"),
    [
        ([0, 1, 2, 50, 51, 52, 53, 700, 701, 702, 800, 5000, 5001], Fraction(1, 1000)),
        ([77, 78, 79, 80, 81, 82, 99], Fraction(1, 90000)),
        (list(range(1001, 30 * 1001, 1001)), Fraction(1, 30000)),
        ([5], Fraction(1, 25)),
    ],
    ids=["variable", "late", "ntsc", "single"],
)
def test_times_are_exact(tmp_path: Path, pts: list[int], time_base: Fraction, suffix: str) -> None:
    path = make_video(tmp_path / "in.mp4", pts=pts, time_base=time_base)
    out = remake_video(path, tmp_path, name=f"out{suffix}", length=4)
    assert read_seconds(out) == read_seconds(path)
    assert read_seconds(out)[0] == pts[0] * time_base
    clip, made = probe(str(path)), probe(str(out))
    assert made.time_base == clip.time_base
    assert scan(made).end_pts == scan(clip).end_pts
    assert find_differences(clip, out) == []


def test_matroska_rounds_to_its_tick_and_says_so(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "in.mp4", pts=list(range(0, 30030, 1001)), time_base=Fraction(1, 30000)
    )
    out = remake_video(path, tmp_path, name="out.mkv")
    clip = probe(str(path))
    for made, wanted in zip(read_seconds(out), read_seconds(path), strict=True):
        assert abs(made - wanted) <= Fraction(1, 2000)
    assert find_differences(clip, out) == []
    assert container_notes(clip, out, FAST) == [
        ".mkv stores times in steps of 1 ms; frame times are rounded to the nearest step"
    ]
    assert container_notes(clip, tmp_path / "out.mp4", FAST) == []


def test_matroska_keeps_the_end_of_a_variable_rate(tmp_path: Path) -> None:
    pts = [0, 40, 80, 81, 500, 520, 1000, 3000]
    path = make_video(tmp_path / "in.mkv", pts=pts, time_base=Fraction(1, 1000))
    out = remake_video(path, tmp_path, length=3)
    assert read_seconds(out) == read_seconds(path)
    assert find_differences(probe(str(path)), out) == []


def test_transport_stream_stays_one(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.ts")
    out = remake_video(path, tmp_path)
    assert out.name == "in_x2.ts"
    assert read_seconds(out) == read_seconds(path)
    assert find_differences(probe(str(path)), out) == []


def test_matroska_ends_when_the_input_does_to_within_its_steps(tmp_path: Path) -> None:
    # the last frame starts 0.34 ms early there, and what it lasts is read 0.67 ms short
    path = tmp_path / "in.mp4"
    path.write_bytes(cut_beginning(DATA / "odd" / "rotate-buck-bunny.mp4", 8, "mp4"))
    out = remake_video(path, tmp_path, name="out.mkv")
    assert find_differences(probe(str(path)), out) == []


def test_decode_times_rise_across_segment_borders(tmp_path: Path) -> None:
    out = remake_video(make_video(tmp_path / "in.mp4"), tmp_path, length=7)
    with av.open(str(out)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert all(a.dts < b.dts for a, b in pairwise(packets))  # type: ignore[operator]
    assert all(p.dts <= p.pts for p in packets)  # type: ignore[operator]
    keys = [p.pts * p.time_base for p in packets if p.is_keyframe]
    assert keys == [Fraction(n, 25) for n in range(0, 40, 7)]


def test_sound_lies_beside_its_picture_in_the_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.mp4", extras=True)
    out = remake_video(path, tmp_path)
    with av.open(str(out)) as container:
        places = sorted(
            (p.pos, p.dts * p.time_base)
            for p in container.demux()
            if p.size and p.dts is not None and p.stream.type in ("video", "audio")
        )
    assert max(abs(a[1] - b[1]) for a, b in pairwise(places)) < 1


def test_a_part_of_the_input_takes_its_part_of_the_sound(tmp_path: Path) -> None:
    path = make_video(tmp_path / "in.mp4", extras=True)
    clip = probe(str(path))
    index = scan(clip)
    files = make_segments(clip, FAST, tmp_path, length=10)[1:3]
    out = tmp_path / "out.mp4"
    join_segments(clip, files, out, FAST)
    assert read_seconds(out) == [Fraction(n, 25) for n in range(10, 30)]
    part = type(index)(pts=index.pts[10:30], keys=[], end_pts=index.pts[30])
    assert verify.find_differences(clip, part, out, 96, 64) == []
    before, after = read_packets(path)[1, "audio"], read_packets(out)[1, "audio"]
    assert 0 < len(after) < len(before)
    assert b"".join(after) in b"".join(before)
    with av.open(str(out)) as container:
        assert len(container.chapters()) == 2


def test_default_output_names(tmp_path: Path) -> None:
    mp4 = probe(str(make_video(tmp_path / "a.mp4")))
    assert default_output_path(mp4, "x2", FAST) == tmp_path / "a_x2.mp4"
    ffv1 = Encoding(codec="ffv1", crf=None, preset=None, pix_fmt="bgr0")
    webm_name = probe(str(DATA / "odd/no_duration.webm"))
    assert default_output_path(webm_name, "x4", ffv1).suffix == ".mkv"
    avi = probe(str(make_video(tmp_path / "a.avi", codec="mpeg4", options={})))
    assert default_output_path(avi, "x2", FAST) == tmp_path / "a_x2.mkv"
    webm = probe(str(DATA / "odd/no_duration.webm"))
    assert default_output_path(webm, "x2", FAST).name == "no_duration_x2.mkv"
    cv2.imwrite(str(tmp_path / "p.png"), picture(0))
    one = probe(str(tmp_path / "p.png"))
    assert default_output_path(one, "x2", ffv1) == tmp_path / "p_x2.png"
    folder = probe(str(tmp_path))
    assert default_output_path(folder, "x2", ffv1) == tmp_path.with_name(f"{tmp_path.name}_x2")


def test_what_a_container_cannot_hold_is_named(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "in.mkv", extras=True)))
    notes = container_notes(clip, tmp_path / "out.mp4", FAST)
    assert any("subtitle subrip (eng)" in note for note in notes)
    assert any("attachment" in note for note in notes)
    assert len(notes) == 2
    out = remake_video(tmp_path / "in.mkv", tmp_path, name="out.mp4")
    assert find_differences(clip, out) == []


def test_what_is_lost_of_the_picture_is_named(tmp_path: Path) -> None:
    video = make_video(tmp_path / "in.mkv", codec="ffv1", options={}, pix_fmt="yuva420p")
    assert "transparency" in container_notes(probe(str(video)), tmp_path / "out.mkv", FAST)[0]
    rgba = np.dstack([picture(0), picture(0)[..., 0]])
    cv2.imwrite(str(tmp_path / "a.png"), rgba)
    assert (
        "transparency"
        in container_notes(probe(str(tmp_path / "a.png")), tmp_path / "o.png", FAST)[0]
    )
    hdr = {"x265-params": "log-level=none:pools=1:max-cll=1000,400"}
    path = make_video(
        tmp_path / "hdr.mp4",
        codec="libx265",
        options=hdr,
        pix_fmt="yuv420p10le",
        colour=(9, 1, 9, 16),
    )
    assert container_notes(probe(str(path)), tmp_path / "out.mp4", FAST) == [
        "libx264 does not write the mastering display and content light level, only the colour "
        "tags; try --codec libx265 to keep them"
    ]


def test_unknown_container_is_refused(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "in.mp4")))
    for name in ("out.xyz", "out", "out.ts"):
        with pytest.raises(InputError, match=r"expected one of .*\.mp4"):
            container_notes(clip, tmp_path / name, FAST)


def test_segments_of_two_encoders_are_refused(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "in.mp4")))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = make_segments(clip, FAST, tmp_path / "a")
    two = make_segments(clip, FAST.model_copy(update={"preset": "ultrafast"}), tmp_path / "b")
    with pytest.raises(StageError, match="2 different encoder headers"):
        join_segments(clip, [one[0], *two[1:]], tmp_path / "out.mp4", FAST)
    with pytest.raises(StageError, match="contain the same frame"):
        join_segments(clip, [*one, one[1]], tmp_path / "out.mp4", FAST)


def test_memory_does_not_grow_with_the_packets(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    path = make_video(tmp_path / "in.mp4", pts=list(range(120)), options=CLOSED)
    clip = probe(str(path))
    encoding = Encoding(codec="ffv1", crf=None, preset=None, pix_fmt="bgr0", threads=1)
    files = []
    for start in range(0, 120, 20):
        files.append(tmp_path / f"{start}.nut")
        with SegmentWriter(files[-1], clip, encoding, 256, 256) as writer:
            for pts in scan(clip).pts[start : start + 20]:
                rgb = noise.integers(0, 255, (256, 256, 3), np.uint8)
                writer.write(rgb, pts)
    code = (
        "import sys; from resource import *; from pathlib import Path;"
        "from pipeline.media.join.remux import join_segments;"
        "from pipeline.schema.clip import VideoClip; from pipeline.schema.encoding import Encoding;"
        "clip = VideoClip.model_validate_json(sys.argv[1]); out = Path(sys.argv[3]);"
        "encoding = Encoding.model_validate_json(sys.argv[2]); files = sys.argv[4:];"
        "join_segments(clip, files[:1], out, encoding);"
        "before = getrusage(RUSAGE_SELF).ru_maxrss;"
        "join_segments(clip, files, out, encoding);"
        "print(getrusage(RUSAGE_SELF).ru_maxrss - before)"
    )
    arguments = [clip.model_dump_json(), encoding.model_dump_json(), str(tmp_path / "out.mkv")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, *map(str, files)],
        check=True,
        capture_output=True,
        text=True,
    )
    grown = int(done.stdout) * 1024  # Linux counts in KiB
    assert (tmp_path / "out.mkv").stat().st_size > 20_000_000
    assert grown < 5_000_000


@pytest.mark.parametrize("depth", [8, 16])
def test_stills_become_pictures_of_the_same_names(tmp_path: Path, depth: int) -> None:
    (tmp_path / "in").mkdir()
    factor, dtype = (1, np.uint8) if depth == 8 else (257, np.uint16)
    for number in range(3):
        rgb = picture(number).astype(dtype) * dtype(factor)
        cv2.imwrite(str(tmp_path / "in" / f"view_{number}.tiff"), rgb[..., ::-1])
    clip = probe(str(tmp_path / "in"))
    encoding = choose_encoding(clip)
    files = make_segments(clip, encoding, tmp_path, length=2, enlarge=2)
    out = tmp_path / "out"
    join_segments(clip, files, out, encoding)
    assert sorted(p.name for p in out.iterdir()) == [f"view_{n}.png" for n in range(3)]
    for number in range(3):
        wanted = cv2.resize(picture(number).astype(dtype) * dtype(factor), (192, 128))
        got = cv2.imread(str(out / f"view_{number}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(got[..., ::-1], wanted)
    assert verify.find_differences(clip, scan(clip), out, 192, 128) == []
    (out / "view_1.png").unlink()
    assert "view_1.png" in verify.find_differences(clip, scan(clip), out, 192, 128)[0]
    assert "192x128" in verify.find_differences(clip, scan(clip), out, 384, 256)[0]


def test_one_still_becomes_one_picture(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(1)[..., ::-1])
    clip = probe(str(tmp_path / "a.png"))
    encoding = choose_encoding(clip)
    files = make_segments(clip, encoding, tmp_path)
    join_segments(clip, files, tmp_path / "b.png", encoding)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "b.png"))[..., ::-1], picture(1))
    assert verify.find_differences(clip, scan(clip), tmp_path / "b.png", 96, 64) == []

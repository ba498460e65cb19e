"""Text subtitles are converted where the output's container cannot hold them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from pipeline.media.join.capabilities import container_notes
from pipeline.media.join.remux import join_segments
from pipeline.media.join.verify import find_differences
from pipeline.media.read.probe import probe, scan
from pipeline.media.streams import muxer_language
from tests.support.clips import FAST, HEIGHT, WIDTH, make_segments, make_video

Lines = tuple[tuple[int, int, str], ...]  # start and duration in milliseconds, text

PLAIN: Lines = ((200, 300, "Grüße"), (700, 400, "two\nlines"))
ASS_HEADER = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def encode_text(codec: str, number: int, text: str) -> bytes:
    """Return the packet of a subtitle, as FFmpeg's muxers store it."""
    if codec == "mov_text":
        plain = text.replace("<i>", "").replace("</i>", "").encode()
        box = b""
        if "<i>" in text:
            start = text.index("<i>")
            end = text.index("</i>") - 3
            style = start.to_bytes(2) + end.to_bytes(2) + b"\0\1\2\x10\xff\xff\xff\xff"
            box = (8 + 2 + len(style)).to_bytes(4) + b"styl\0\1" + style
        return len(plain).to_bytes(2) + plain + box
    if codec == "ass":
        text = text.replace("\n", r"\N").replace("<i>", r"{\i1}").replace("</i>", r"{\i0}")
        return f"{number},0,Default,,0,0,0,,{text}".encode()
    return text.encode()


def make_titled(path: Path, codec: str, lines: Lines, *, language: str = "fra") -> Path:
    """Write a video with a stream of subtitles."""
    bare = make_video(path.with_name("bare.mkv"), time_base=Fraction(1, 1000), pts=PTS)
    with av.open(str(bare)) as source, av.open(str(path), "w") as made:
        picture = source.streams.video[0]
        video = made.add_stream_from_template(picture)
        if codec == "ass":  # whose styles are in the header
            text = made.add_stream("ass")
            text.codec_context.subtitle_header = ASS_HEADER.encode()
        else:
            text = made.add_mux_stream(codec)
        text.time_base = Fraction(1, 1000)
        text.metadata["language"] = language
        packets = [packet for packet in source.demux(picture) if packet.size]
        for packet in packets:
            packet.stream = video
        for number, (start, duration, words) in enumerate(lines):
            packet = av.Packet(encode_text(codec, number, words))
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = start
            packet.duration = duration
            packets.append(packet)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            made.mux(packet)
    return path


PTS = [40 * number for number in range(40)]


def convert(path: Path, suffix: str) -> Path:
    clip = probe(str(path))
    out = path.with_name(f"out{suffix}")
    encoding = FAST if suffix != ".webm" else VP9
    join_segments(clip, make_segments(clip, encoding, path.parent), out, encoding)
    assert find_differences(clip, scan(clip), out, WIDTH, HEIGHT) == []
    return out


VP9 = FAST.model_copy(update={"codec": "libvpx-vp9", "preset": None, "crf": 40})


def read_lines(path: Path) -> tuple[str, Lines]:
    """Return the codec of the subtitles, and their lines without tags; not by the code under test.

    The tags of italics become `<i>`.
    """
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            shown = stream.codec_context.decode2(packet)
            if shown is None or not len(shown):
                continue
            text = "\n".join(
                rect.dialogue.decode().replace(r"{\i1}", "<i>").replace(r"{\i0}", "</i>")
                for rect in shown
            )
            text = text.replace(r"{\r}", "</i>")
            times = (packet.pts * packet.time_base, packet.duration * packet.time_base)
            found.append((*(int(time * 1000) for time in times), text))
        return str(stream.codec_context.codec.canonical_name), tuple(found)


@pytest.mark.parametrize(
    ("codec", "source", "target", "expected"),
    [
        ("mov_text", ".mp4", ".mkv", "subrip"),
        ("mov_text", ".mov", ".mkv", "subrip"),
        ("subrip", ".mkv", ".mp4", "mov_text"),
        ("subrip", ".mkv", ".m4v", "mov_text"),
        ("ass", ".mkv", ".mp4", "mov_text"),
        ("ass", ".mkv", ".mov", "mov_text"),
        ("webvtt", ".mkv", ".mp4", "mov_text"),
        ("mov_text", ".mp4", ".webm", "webvtt"),
        ("subrip", ".mkv", ".webm", "webvtt"),
    ],
)
def test_text_is_converted(
    tmp_path: Path, codec: str, source: str, target: str, expected: str
) -> None:
    lines = (*PLAIN, (1200, 200, "an <i>italic</i> word"))
    path = make_titled(tmp_path / f"in{source}", codec, lines)
    made = convert(path, target)
    assert read_lines(made) == (expected, lines)
    with av.open(str(made)) as container:
        assert container.streams.subtitles[0].metadata["language"] == "fra"

    encoding = VP9 if target == ".webm" else FAST
    (note,) = [n for n in container_notes(probe(str(path)), made, encoding) if "subtitle" in n]
    assert f"subtitle {codec} (fra), becomes {expected}, as {target} cannot hold {codec}" in note


@pytest.mark.parametrize(("codec", "suffix"), [("subrip", ".mkv"), ("ass", ".mkv")])
def test_text_that_fits_is_copied(tmp_path: Path, codec: str, suffix: str) -> None:
    path = make_titled(tmp_path / f"in{suffix}", codec, PLAIN)
    assert read_lines(convert(path, suffix)) == (codec, PLAIN)


def test_subtitles_that_overlap_share_a_subtitle_in_mp4(tmp_path: Path) -> None:
    lines = ((200, 600, "one"), (400, 200, "two"), (400, 600, "three"), (1200, 100, "four"))
    made = convert(make_titled(tmp_path / "in.mkv", "subrip", lines), ".mp4")
    assert read_lines(made)[1] == (
        (200, 200, "one"),
        (400, 200, "one\ntwo\nthree"),
        (600, 200, "one\nthree"),
        (800, 200, "three"),
        (1200, 100, "four"),
    )


def test_marks_of_webvtt_are_escaped(tmp_path: Path) -> None:
    path = make_titled(tmp_path / "in.mkv", "subrip", ((200, 300, "1 < 2 & <i>3</i>"),))
    made = convert(path, ".webm")
    with av.open(str(made)) as container:
        data = [bytes(packet) for packet in container.demux(subtitles=0) if packet.size]
    assert data == [b"1 &lt; 2 &amp; <i>3</i>"]


def test_drawings_and_empty_lines_are_left_out(tmp_path: Path) -> None:
    lines = ((200, 300, r"{\p1}m 0 0 l 9 9{\p0}"), (600, 100, r"{\an8}"), (800, 100, "text"))
    made = convert(make_titled(tmp_path / "in.mkv", "ass", lines), ".mp4")
    assert read_lines(made)[1] == ((800, 100, "text"),)


def test_verification_notices_another_text_or_time(tmp_path: Path) -> None:
    clip = probe(str(make_titled(tmp_path / "in.mp4", "mov_text", PLAIN)))
    made = convert(Path(clip.path), ".mkv")
    good = read_lines(made)[1]
    for number, wrong in enumerate(
        [
            (good[0], (700, 400, "other")),
            ((203, 297, good[0][2]), good[1]),
            ((200, 200, good[0][2]), good[1]),
            good[:1],
        ]
    ):
        other = replace_lines(made, tmp_path / f"wrong{number}.mkv", wrong)
        found = find_differences(clip, scan(clip), other, WIDTH, HEIGHT)
        assert found == ["the text of subtitle fra (stream 1) differs from the input's"]


def replace_lines(path: Path, out: Path, lines: Lines) -> Path:
    """Copy the video of a file, with other subtitles."""
    with av.open(str(path)) as source, av.open(str(out), "w") as made:
        video = made.add_stream_from_template(source.streams.video[0])
        text = made.add_mux_stream("subrip")
        text.time_base = Fraction(1, 1000)
        text.metadata["language"] = "fra"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                made.mux(packet)
        for start, duration, words in lines:
            packet = av.Packet(words.encode())
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = start
            packet.duration = duration
            made.mux(packet)
    return out


def test_a_part_has_its_own_subtitles(tmp_path: Path) -> None:
    path = make_titled(tmp_path / "in.mp4", "mov_text", PLAIN)
    clip = probe(str(path))
    segments = make_segments(clip, FAST, tmp_path, length=10)[1:3]
    out = tmp_path / "part.mkv"
    join_segments(clip, segments, out, FAST)
    assert read_lines(out) == ("subrip", PLAIN[1:])


@pytest.mark.parametrize(
    ("muxer", "language", "written"),
    [
        ("mp4", "deu", "deu"),
        ("mp4", "en-US", "und"),
        ("mp4", "\x1b]0", "und"),
        ("mov", "\x1b]0", "und"),
        ("matroska", "en-US", "en-US"),
        ("mp4", "", ""),
    ],
)
def test_a_language_without_a_code_in_the_container_is_unknown(
    muxer: str, language: str, written: str
) -> None:
    assert muxer_language(muxer, language) == written

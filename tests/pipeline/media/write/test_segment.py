from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import InputError, StageError
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.encoder import check_encoder, choose_encoding
from pipeline.media.write.segment import FIRST_PTS_TAG, LEAD, SegmentWriter
from pipeline.schema.clip import Clip
from pipeline.schema.encoding import Encoding
from tests.support import DATA
from tests.support.clips import HEIGHT, WIDTH, make_segments, make_video, picture

FAST = Encoding(preset="ultrafast", threads=1)


def clip_of(tmp_path: Path, **options: object) -> Clip:
    return probe(str(make_video(tmp_path / "in.mp4", **options)))  # type: ignore[arg-type]


def write(path: Path, clip: Clip, encoding: Encoding, pts: list[int]) -> Path:
    with SegmentWriter(path, clip, encoding, WIDTH, HEIGHT) as writer:
        for number, time in enumerate(pts):
            rgb = picture(number)
            deep = clip.bit_depth > 8
            writer.write(rgb.astype(np.uint16) * 257 if deep else rgb, time)
    return path


def read_back(path: Path, clip: Clip) -> list[int]:
    with av.open(str(path)) as container:
        first = int(container.metadata[FIRST_PTS_TAG])
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    return [int(time / clip.time_base) - LEAD + first for time in times]


@pytest.mark.parametrize(
    "time_base",
    [Fraction(1, 57600), Fraction(1001, 30000), Fraction(1, 30), Fraction(1, 1_000_000)],
)
@pytest.mark.parametrize("first", [0, -700, 123_456_789])
def test_times_are_exact(tmp_path: Path, time_base: Fraction, first: int) -> None:
    clip = clip_of(tmp_path).model_copy(update={"time_base": time_base})
    pts = [first + step for step in (0, 1, 2, 900, 901, 5000, 5001, 5002, 70000, 70001)]
    encoding = FAST.model_copy(update={"preset": "medium"})  # with B-frames
    assert read_back(write(tmp_path / "a.nut", clip, encoding, pts), clip) == pts


def test_same_frames_give_the_same_bits_and_headers(tmp_path: Path) -> None:
    clip = clip_of(tmp_path)
    encoding = Encoding(preset="medium", threads=3)
    one = write(tmp_path / "a.nut", clip, encoding, list(range(20)))
    two = write(tmp_path / "b.nut", clip, encoding, list(range(20)))
    assert one.read_bytes() == two.read_bytes()
    other = write(tmp_path / "c.nut", clip, encoding, list(range(500, 520)))
    headers = set()
    for path in (one, other):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            headers.add(bytes(stream.codec_context.extradata or b""))
            assert next(container.demux(stream)).is_keyframe
    assert len(headers) == 1
    # x264 states its settings in the first packet
    assert b"threads=3" in one.read_bytes()
    assert b"sliced_threads=0" in one.read_bytes()


@pytest.mark.parametrize(
    ("colour", "aspect"), [((9, 1, 9, 16), Fraction(4, 3)), ((2, 0, 2, 2), Fraction(1))]
)
def test_tags_and_aspect_are_written(
    tmp_path: Path, colour: tuple[int, int, int, int], aspect: Fraction
) -> None:
    clip = clip_of(tmp_path, colour=colour).model_copy(update={"sample_aspect_ratio": aspect})
    path = write(tmp_path / "a.nut", clip, FAST, [0, 512, 1024])
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        found = (
            context.colorspace, context.color_range, context.color_primaries, context.color_trc
        )  # fmt: skip
        assert tuple(int(tag) for tag in found) == colour
        assert stream.sample_aspect_ratio == aspect


def test_stills_are_kept_without_loss(tmp_path: Path) -> None:
    import cv2

    for dtype, factor in ((np.uint8, 1), (np.uint16, 257)):
        rgb = picture(0).astype(dtype) * dtype(factor)
        cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1])
        clip = probe(str(tmp_path / "a.png"))
        encoding = choose_encoding(clip)
        check_encoder(encoding, WIDTH, HEIGHT)
        assert encoding.codec == "ffv1"
        with SegmentWriter(tmp_path / "a.nut", clip, encoding, WIDTH, HEIGHT) as writer:
            writer.write(rgb, 0)
        with av.open(str(tmp_path / "a.nut")) as container:
            packed = "rgb24" if factor == 1 else "rgb48le"
            frame = next(container.decode(video=0)).reformat(format=packed)
            np.testing.assert_array_equal(frame.to_ndarray(), rgb)


def test_default_encoding_keeps_depth_and_chroma(tmp_path: Path) -> None:
    clip = clip_of(tmp_path)
    plain = choose_encoding(clip)
    assert (plain.codec, plain.crf, plain.preset, plain.pix_fmt) == (
        "libx264", 16, "medium", "yuv420p"
    )  # fmt: skip
    assert plain.threads > 0
    deep = choose_encoding(probe(str(DATA / "odd/h265_10bits.mp4")))
    assert (deep.codec, deep.pix_fmt) == ("libx265", "yuv420p10le")
    full = clip.model_copy(update={"pix_fmt": "yuv444p"})
    assert choose_encoding(full).pix_fmt == "yuv444p"
    prores = choose_encoding(clip, codec="prores_ks")
    assert (prores.crf, prores.preset, prores.pix_fmt) == (None, None, "yuv422p10le")
    check_encoder(prores, WIDTH, HEIGHT)
    chosen = choose_encoding(clip, crf=20, preset="fast", pix_fmt="yuv422p")
    assert (chosen.crf, chosen.preset, chosen.pix_fmt) == (20, "fast", "yuv422p")


def test_ten_bits_are_written_as_ten_bits(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    clip = probe(str(DATA / "odd/h265_10bits.mp4"))
    encoding = Encoding(codec="libx265", preset="ultrafast", pix_fmt="yuv420p10le", threads=1)
    pts = scan(clip).pts[:5]
    path = write(tmp_path / "a.nut", clip, encoding, pts)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert {frame.format.name for frame in frames} == {"yuv420p10le"}
    assert len(frames) == 5
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"codec": "h999"}, "there is no encoder 'h999'"),
        ({"codec": "aac"}, "aac is not a video encoder"),
        ({"pix_fmt": "gbrp16le"}, "does not support the pixel format 'gbrp16le'"),
        ({"pix_fmt": "nonsense"}, "does not support the pixel format 'nonsense'"),
        ({"preset": "warp9"}, "preset warp9"),
        ({"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, "has no crf and no preset"),
    ],
)
def test_settings_an_encoder_refuses_are_named(change: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        check_encoder(FAST.model_copy(update=change), WIDTH, HEIGHT)
    assert "\n" not in str(caught.value)


def test_odd_size_is_refused_for_half_chroma() -> None:
    with pytest.raises(InputError, match="rejects 95x64"):
        check_encoder(FAST, 95, 64)


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path / "a.nut", clip_of(tmp_path), FAST, WIDTH, HEIGHT) as writer:
        with pytest.raises(StageError, match="expected \\(64, 96, 3\\)"):
            writer.write(picture(0, 32, 32), 0)
        writer.write(picture(0), 0)


def test_closing_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    SegmentWriter(tmp_path / "a.nut", clip_of(tmp_path), FAST, WIDTH, HEIGHT).close()
    assert not (tmp_path / "a.nut").exists()


def test_segments_do_not_refer_to_each_other(tmp_path: Path) -> None:
    clip = clip_of(tmp_path)
    for file in make_segments(clip, FAST.model_copy(update={"preset": "medium"}), tmp_path):
        with av.open(str(file)) as container:
            frames = list(container.decode(video=0))
            assert not any(frame.is_corrupt for frame in frames)
            assert len(frames) in (15, 10)

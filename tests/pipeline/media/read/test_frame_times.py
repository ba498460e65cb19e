"""Packets that are not frames: every frame that can be displayed is found, with its exact time."""

from __future__ import annotations

import io
import subprocess
from array import array
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import MediaError
from pipeline.media.hdr import has_unknown_side_data, read_side_data
from pipeline.media.join.verify import find_differences
from pipeline.media.read import frame_times
from pipeline.media.read.frames import FrameReader, read_frames
from pipeline.media.read.probe import is_rate_assumed, probe, scan
from pipeline.planning.plan import make_plan
from pipeline.schema.clip import Clip, FrameIndex, VideoClip
from tests.support import DATA
from tests.support.clips import CLOSED, OPEN, make_video, picture, read_seconds
from tests.support.programs import needs
from tests.support.recordings import settings_for, texture

H265_OPEN = {
    "x265-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:pools=1:log-level=none"
}


def read_pts(clip: Clip, index: FrameIndex) -> list[int]:
    return [frame.pts for frame in read_frames(clip, expected=index.pts)]


def open_clip(path: Path) -> tuple[VideoClip, FrameIndex]:
    clip = probe(str(path))
    assert isinstance(clip, VideoClip)
    return clip, scan(clip)


def cut_packets(source: Path, target: Path, first: int) -> Path:
    """Copy the packets of a video from number `first` on."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0], opaque=True)
        for number, packet in enumerate(given.demux(given.streams.video[0])):
            if number >= first and packet.size:
                packet.stream = stream
                made.mux(packet)
    return target


def copy_with_ffmpeg(source: Path, target: Path) -> None:
    command = ["ffmpeg", "-v", "fatal", "-i", str(source), "-c", "copy", str(target)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def encode_raw(
    path: Path, frames: list[np.ndarray], codec: str, rate: Fraction, options: dict[str, str]
) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def test_two_fields_are_one_frame() -> None:
    clip, index = open_clip(DATA / "odd" / "field_coded.ts")
    assert [float(pts * clip.time_base) for pts in index.pts] == pytest.approx(
        [1.43337 + number / 29.97 for number in range(7)], abs=1e-4
    )
    assert index.end_pts - index.pts[0] == pytest.approx(7 * 3003, abs=1)
    assert clip.interlaced
    assert read_pts(clip, index) == list(index.pts)


@needs("ffmpeg")
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv", ".avi", ".h264"])
def test_two_fields_are_one_frame_in_every_container(suffix: str, tmp_path: Path) -> None:
    # in Matroska, ffmpeg stores the duration of a frame for each field
    path = tmp_path / f"fields{suffix}"
    copy_with_ffmpeg(DATA / "odd" / "field_coded.ts", path)
    clip, index = open_clip(path)
    times = [float((pts - index.pts[0]) * clip.time_base) for pts in index.pts]
    assert times == pytest.approx([number / 29.97 for number in range(7)], abs=1e-3)
    duration = float((index.end_pts - index.pts[0]) * clip.time_base)
    assert duration == pytest.approx(7 / 29.97, abs=2e-3)
    assert read_pts(clip, index) == list(index.pts)


def test_a_frame_that_is_not_coded_shows_the_one_before_it_longer() -> None:
    clip, index = open_clip(DATA / "odd" / "not_coded.avi")
    assert list(index.pts) == [0, 1, 2, 3, 6, 7, 8, 9]
    assert index.end_pts == 10
    assert read_pts(clip, index) == list(index.pts)


@pytest.mark.parametrize(
    ("codec", "options"), [("libx264", CLOSED), ("libx264", OPEN), ("libx265", H265_OPEN)]
)
@pytest.mark.parametrize("first", [5, 12, 13])
def test_a_recording_may_begin_between_key_frames(
    tmp_path: Path, codec: str, options: dict[str, str], first: int
) -> None:
    whole = make_video(tmp_path / "a.ts", codec=codec, options=options)
    part = cut_packets(whole, tmp_path / "part.ts", first)
    clip, index = open_clip(part)
    assert [pts * clip.time_base for pts in index.pts] == read_seconds(part)
    assert index.pts[0] == index.keys[0]
    with av.open(str(part)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert len(index.pts) + index.undecodable == packets
    assert read_pts(clip, index) == list(index.pts)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.h264", "libx264", OPEN),
        ("a.hevc", "libx265", H265_OPEN),
        ("a.m2v", "mpeg2video", {"bf": "2"}),
        ("a.m1v", "mpeg1video", {}),
    ],
)
def test_frames_of_a_raw_stream_are_numbered(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    clip, index = open_clip(make_video(tmp_path / name, codec=codec, options=options))
    assert list(index.pts) == list(range(40))
    assert (clip.time_base, index.end_pts) == (Fraction(1, 25), 40)
    frames = list(read_frames(clip, 20, 30, expected=index.pts))
    assert [frame.pts for frame in frames] == list(range(20, 30))
    reader = FrameReader(clip)
    for pts in (25, 3, 39):
        shown = reader.get(pts).astype(int)
        off = [np.abs(shown - picture(near)).mean() for near in (pts - 1, pts, pts + 1)]
        assert off[1] == min(off)
    reader.close()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265"), ("a.m2v", "mpeg2video")]
)
@pytest.mark.parametrize("rate", [Fraction(30), Fraction(24000, 1001)])
def test_a_raw_stream_has_the_rate_that_it_states(
    tmp_path: Path, name: str, codec: str, rate: Fraction
) -> None:
    path = tmp_path / name
    frames = [texture(number, 64, 96) for number in range(3)]
    encode_raw(path, frames, codec, rate, {"x265-params": "log-level=none"})
    clip, index = open_clip(path)
    assert (clip.frame_rate, clip.time_base, index.end_pts) == (rate, 1 / rate, 3)
    assert not is_rate_assumed(clip)


def test_a_rate_that_no_stream_states_is_assumed_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "a.hevc"
    frames = [texture(number, 64, 96) for number in range(3)]
    options = {"x265-params": "vui-timing-info=0:log-level=none"}
    encode_raw(path, frames, "libx265", Fraction(30), options)
    clip, _ = open_clip(path)
    assert (clip.frame_rate, clip.time_base) == (None, Fraction(1, 25))
    assert is_rate_assumed(clip)
    reference = tmp_path / "ref.png"
    Image.fromarray(texture(0, 128, 192)).save(reference)
    notes = make_plan(settings_for((path, reference), tmp_path / "out.mkv")).notes
    assert sum("does not state its frame rate; 25 frames" in note for note in notes) == 1


def test_a_camcorders_tape_has_the_rate_of_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "tape.dv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("dvvideo", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 720, 480, "yuv411p"
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(texture(number, 480, 720), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(str(path)).frame_rate == Fraction(30000, 1001)


def test_a_lost_frame_in_the_middle_stays_expected(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "a.ts", options=CLOSED)
    data = bytearray(cut_packets(whole, tmp_path / "part.ts", 5).read_bytes())
    # the payload of a few transport packets, far behind the first key frame
    for number in range(len(data) // 188 * 2 // 3, len(data) // 188 * 2 // 3 + 2):
        data[188 * number + 30 : 188 * (number + 1)] = bytes(158)
    (tmp_path / "part.ts").write_bytes(data)
    clip, index = open_clip(tmp_path / "part.ts")
    with av.open(clip.path) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert len(index.pts) + index.undecodable == packets


@pytest.mark.parametrize("offset", [0, 12, 20])
def test_joined_recordings_whose_times_overlap_are_refused(tmp_path: Path, offset: int) -> None:
    one = make_video(tmp_path / "1.ts", options=OPEN)
    other = make_video(
        tmp_path / "2.ts", options=OPEN, pts=[offset + number for number in range(40)]
    )
    joined = tmp_path / "joined.ts"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(MediaError, match=r"goes back in time|two frames at") as caught:
        open_clip(joined)
    assert "\n" not in str(caught.value)


def test_the_advice_for_two_frames_at_one_time_fits_the_container(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        packets = []
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            packets += stream.encode(frame.reformat(format="yuvj420p"))
        for packet, (pts, dts) in zip(packets, [(0, 0), (2, 1), (2, 2), (3, 3)], strict=True):
            packet.pts, packet.dts = pts, dts
            container.mux(packet)
    with pytest.raises(MediaError, match="-fps_mode cfr") as caught:
        open_clip(path)
    assert "convert it to MP4" not in str(caught.value)


def test_a_derived_duration_is_no_difference(tmp_path: Path) -> None:
    # milliseconds, as FLV and Matroska store them: 33 or 34 ms a frame, of 33.3 in the stream
    times = [round(number * 1000 / 30) * 90 for number in range(30)]
    path = make_video(tmp_path / "a.ts", pts=times, time_base=Fraction(1, 90000), options=CLOSED)
    clip, index = open_clip(path)
    late = FrameIndex(pts=index.pts, keys=index.keys, end_pts=index.end_pts - 60)
    assert find_differences(clip, late, path, clip.width, clip.height) == []
    far = FrameIndex(pts=index.pts, keys=index.keys, end_pts=index.end_pts + 9000)
    assert len(find_differences(clip, far, path, clip.width, clip.height)) == 1


def test_unknown_side_data_is_no_error(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    buffer = io.BytesIO()
    Image.fromarray(picture(0)).save(buffer, "JPEG", exif=exif)
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number in range(3):
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.is_keyframe = True
            container.mux(packet)
    _, index = open_clip(path)
    assert len(index.pts) == 3
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert has_unknown_side_data(frame)
        assert read_side_data(frame) == []


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le"])
def test_uncompressed_gray_has_all_levels(tmp_path: Path, pix_fmt: str) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 64, axis=0)
    path = tmp_path / ("a.avi" if pix_fmt == "gray" else "a.nut")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 64, pix_fmt
        levels = ramp if pix_fmt == "gray" else ramp.astype(np.uint16) * 257
        container.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format=pix_fmt)))
        container.mux(stream.encode(None))
    clip, index = open_clip(path)
    (frame,) = read_frames(clip, expected=index.pts)
    top = 255 if pix_fmt == "gray" else 65535
    found = frame.rgb[0, :, 0].astype(float) / top * 255
    assert np.abs(found - np.arange(256)).max() <= 1


@pytest.mark.parametrize(("codec", "name"), [("ffv1", "a.mkv"), ("magicyuv", "a.avi")])
def test_lossless_gray_without_a_range_has_all_levels(
    codec: str, name: str, tmp_path: Path
) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 64, axis=0)
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 256, 64, "gray"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(ramp, format="gray")))
        container.mux(stream.encode(None))
    clip, index = open_clip(path)
    assert clip.colour.range == 0
    (frame,) = read_frames(clip, expected=index.pts)
    assert np.abs(frame.rgb[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("ticks", [1, 2, 3, 512])
def test_a_damaged_frame_is_no_second_field(ticks: int) -> None:
    """However few ticks a frame has: a field is half of it."""
    packets = frame_times._Times(
        array("q", [ticks * n for n in range(6)]), array("q", [ticks] * 6), array("b", [1] * 6)
    )
    missing = np.array([False, False, True, False, False, False])
    assert not frame_times._find_second_fields(packets, float(ticks), missing).any()

    fields = frame_times._Times(
        array("q", [4 * n + 2 * m for n in range(3) for m in (0, 1)]),
        array("q", [2] * 6),
        array("b", [1] * 6),
    )
    second = np.array([False, True] * 3)
    assert np.array_equal(frame_times._find_second_fields(fields, 4.0, second), second)

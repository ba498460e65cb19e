from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import MediaError
from pipeline.media.read.probe import probe, scan
from tests.support import DATA
from tests.support.clips import OPEN, make_audio, make_video, picture, read_seconds

REAL = [*sorted(DATA.glob("odd/*")), DATA / "big_buck_bunny_720p.mp4"]


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.name)
def test_scan_lists_exactly_the_frames_that_the_decoder_gives(path: Path) -> None:
    clip = probe(str(path))
    index = scan(clip)
    assert [pts * clip.time_base for pts in index.pts] == read_seconds(path)
    assert set(index.keys) <= set(index.pts)
    assert index.keys[0] == index.pts[0]
    assert index.end_pts > index.pts[-1]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.ts", "libx264", OPEN),
        ("a.mkv", "libx265", {"x265-params": "open-gop=1:keyint=12:log-level=none:pools=1"}),
        ("a.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "100k"}),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("b.avi", "libx264", {"threads": "1"}),
    ],
)
def test_scan_counts_every_frame_of(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    clip = probe(str(make_video(tmp_path / name, codec=codec, options=options)))
    index = scan(clip)
    assert len(index.pts) == 40
    steps = {b - a for a, b in zip(index.pts, index.pts[1:], strict=False)}
    assert steps == {round(Fraction(1, 25) / clip.time_base)}
    assert (index.end_pts - index.pts[0]) * clip.time_base == Fraction(40, 25)


def test_scan_skips_what_an_edit_list_hides(tmp_path: Path) -> None:
    # times before 0 are cut off by the edit list which the muxer writes
    path = make_video(tmp_path / "a.mp4", pts=list(range(-5, 35)))
    clip = probe(str(path))
    assert [pts * clip.time_base for pts in scan(clip).pts] == read_seconds(path)
    assert len(scan(clip).pts) == 35


def test_probe_tells_rotation_aspect_and_clock() -> None:
    rotated = probe(str(DATA / "odd/rotate-buck-bunny.mp4"))
    assert (rotated.rotation, rotated.width, rotated.height) == (-90, 1920, 1080)
    assert rotated.time_base == Fraction(1, 57600)
    assert probe(str(DATA / "odd/sar_2x1.mp4")).sample_aspect_ratio == 2
    deep = probe(str(DATA / "odd/h265_10bits.mp4"))
    assert (deep.codec, deep.pix_fmt, deep.bit_depth) == ("hevc", "yuv420p10le", 10)
    many = probe(str(DATA / "odd/nasa_13013.mp4"))
    assert [s.type for s in many.other_streams] == [
        "audio", "subtitle", "video", "audio", "subtitle"
    ]  # fmt: skip
    assert many.other_streams[0].language == "eng"
    assert probe(str(DATA / "odd/no_duration.webm")).duration_pts is None


def test_probe_keeps_tags_and_says_when_it_guesses(tmp_path: Path) -> None:
    tagged = probe(str(make_video(tmp_path / "a.mp4", colour=(9, 2, 9, 16)))).colour
    assert (tagged.matrix, tagged.range, tagged.primaries, tagged.transfer) == (9, 2, 9, 16)
    assert (tagged.used_matrix, tagged.used_range, tagged.guessed) == ("bt2020", "full", False)
    small = probe(str(make_video(tmp_path / "b.mp4"))).colour
    assert (small.matrix, small.used_matrix, small.guessed) == (2, "bt601", True)
    large = probe(str(DATA / "big_buck_bunny_720p.mp4")).colour
    assert (large.used_matrix, large.used_range, large.guessed) == ("bt709", "limited", True)


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "a.mp4", cover=True)))
    assert (clip.codec, clip.width) == ("h264", 96)
    assert len(scan(clip).pts) == 40


def test_fingerprint_tells_a_changed_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    before = probe(str(path)).fingerprint
    assert probe(str(path)).fingerprint == before
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert probe(str(path)).fingerprint != before


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "audio", "folder", "cut header"])
def test_unusable_files_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.mp4"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no video\n" * 50)
    elif kind == "audio":
        make_audio(path)
    elif kind == "folder":
        path.mkdir()
        (path / "notes.txt").write_text("no picture")
    elif kind == "cut header":
        whole = make_video(tmp_path / "y.mp4").read_bytes()  # its index is at the end
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MediaError) as caught:
        probe(str(path))
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)
    assert caught.value.exit_status == 2


def test_truncated_video_is_refused(tmp_path: Path) -> None:
    whole = (DATA / "odd/edts.mp4").read_bytes()  # its index is at the front
    path = tmp_path / "x.mp4"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(MediaError, match=r"truncated, and lacks the data of \d+ of its \d+ frames"):
        scan(probe(str(path)))


def test_stills_come_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 9, 1, 100):
        cv2.imwrite(str(tmp_path / f"view_{number}.png"), picture(number))
    (tmp_path / "notes.txt").write_text("ignored")
    clip = probe(str(tmp_path))
    assert [Path(f).stem for f in clip.files] == ["view_1", "view_9", "view_10", "view_100"]
    assert (clip.kind, clip.time_base, clip.times) == ("stills", Fraction(1, 25), ())
    assert list(scan(clip).pts) == [0, 1, 2, 3]
    by_glob = probe(str(tmp_path / "view_1*.png"))
    assert [Path(f).stem for f in by_glob.files] == ["view_1", "view_10", "view_100"]
    assert probe(clip.files[0]).files == clip.files[:1]


def test_stills_of_two_sizes_or_depths_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    cv2.imwrite(str(tmp_path / "b.png"), picture(0, 64, 64))
    with pytest.raises(MediaError, match="64x64 with 8 bits") as refused:
        probe(str(tmp_path))
    assert str(refused.value).endswith("; enlarge all by the same factor, or move b.png elsewhere")
    cv2.imwrite(str(tmp_path / "b.png"), picture(0).astype(np.uint16) * 257)
    with pytest.raises(MediaError, match="with 16 bits"):
        probe(str(tmp_path))


def test_times_are_read_from_exif(tmp_path: Path) -> None:
    for number in range(2):
        exif = Image.Exif()
        exif.get_ifd(0x8769)[0x9003] = f"2024:05:06 07:08:{number:02d}"
        exif.get_ifd(0x8769)[0x9291] = "25"
        Image.fromarray(picture(number)).save(tmp_path / f"{number}.jpg", exif=exif)
    clip = probe(str(tmp_path))
    assert clip.times[1] - clip.times[0] == pytest.approx(1.0)
    assert clip.times[0] % 1 == pytest.approx(0.25)
    assert clip.seconds(1) == clip.times[1]


def test_importing_media_loads_no_framework() -> None:
    code = (
        "import sys, pipeline.media.read.probe, pipeline.media.join.verify;"
        "sys.exit(bool({'torch', 'ray', 'tensorrt'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_frames_at_one_time_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "doubled.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            for packet in stream.encode(frame):
                packet.pts = packet.dts = max(1, number)
                container.mux(packet)
    with pytest.raises(MediaError, match=r"two frames at 0\.040 s .*-fps_mode cfr"):
        scan(probe(str(path)))
    # a reference needs only one of them
    assert list(scan(probe(str(path)), distinct=False).pts) == [40, 80, 120]


@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_a_recording_without_its_index_is_named_as_cut_off(kept: float, tmp_path: Path) -> None:
    whole = (DATA / "big_buck_bunny_720p.mp4").read_bytes()
    at = whole.index(b"moov") - 4
    length = int.from_bytes(whole[at : at + 4], "big")
    # cameras write the index last
    data = whole[:at] + whole[at + length :]
    path = tmp_path / "a.mp4"
    path.write_bytes(data[: round(len(data) * kept)])
    with pytest.raises(MediaError, match=r"lacks its index \(moov\); .* repair it"):
        probe(str(path))

    path.write_bytes(whole[at : at + length])
    with pytest.raises(MediaError) as caught:
        probe(str(path))
    assert "moov" not in str(caught.value)


@pytest.mark.parametrize("head", [b"\x00\x00\x00\x01\x67", b"\x00\x00\x00\x01ftyp" + b"\xff" * 8])
def test_boxes_of_an_absurd_size_are_no_error_of_the_program(head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(head + bytes(40))
    with pytest.raises(MediaError):
        probe(str(path))

"""Numbered pictures of a video: pixels, order, orientation and times, read by other programs."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import OpenEXR
import pytest

from pipeline.errors import InputError, MediaError, StageError
from pipeline.media.join import sequence
from pipeline.media.join.sequence import turn_upright
from pipeline.media.pictures import exr, numbered
from pipeline.media.pictures.numbered import SIDECAR, find_foreign_file, picture_name, split_pattern
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.media.write.segment import SegmentWriter
from pipeline.schema.clip import Clip
from pipeline.schema.encoding import Encoding
from tests.support import DATA
from tests.support.clips import make_segments, make_video

TURNS = {
    "as it is": (1, 0, 0, 1), "mirrored": (-1, 0, 0, 1), "upside down": (1, 0, 0, -1),
    "90": (0, 1, -1, 0), "180": (-1, 0, 0, -1), "270": (0, -1, 1, 0),
    "mirrored 90": (0, 1, 1, 0), "mirrored 270": (0, -1, -1, 0),
}  # fmt: skip


def lossless(clip: Clip) -> Encoding:
    deep = clip.bit_depth > 8
    return Encoding(
        codec="ffv1", crf=None, preset=None, pix_fmt="gbrp16le" if deep else "bgr0", threads=1
    )


def written(clip: Clip, folder: Path, pattern: str) -> tuple[Path, list[Path]]:
    segments = make_segments(clip, lossless(clip), folder)
    out = folder / "assembled"
    sequence.write_sequence(clip, segments, out, scan(clip), pattern)
    return out, segments


def compared(clip: Clip, out: Path, segments: list[Path], pattern: str) -> list[str]:
    return sequence.find_differences(
        clip, scan(clip), out, clip.width, clip.height, pattern, [str(s) for s in segments]
    )


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """Return a clip of variable rate on a 1/90000 s clock, finer than milliseconds."""
    path = tmp_path_factory.mktemp("clip") / "a.mkv"
    pts = [7, 8, 10, 11, 20, 21, 22, 30]
    return probe(str(make_video(path.with_suffix(".mp4"), pts=pts, time_base=Fraction(1, 90000))))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_pictures_hold_the_frames_in_order(clip: Clip, tmp_path: Path, suffix: str) -> None:
    out, segments = written(clip, tmp_path, f"a_%03d{suffix}")
    frames = [frame.rgb for frame in read_frames(clip)]
    assert sorted(p.name for p in out.iterdir()) == [
        *(f"a_{n:03d}{suffix}" for n in range(1, len(frames) + 1)), SIDECAR,
    ]  # fmt: skip
    for number, frame in enumerate(frames, 1):
        bgr = cv2.imread(str(out / f"a_{number:03d}{suffix}"), cv2.IMREAD_UNCHANGED)
        assert bgr is not None
        assert bgr.dtype == np.uint8
        np.testing.assert_array_equal(bgr[..., ::-1], frame)
    assert compared(clip, out, segments, f"a_%03d{suffix}") == []


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_ten_bits_become_sixteen(tmp_path: Path, suffix: str) -> None:
    clip = probe(str(DATA / "odd/h265_10bits.mp4"))
    out, segments = written(clip, tmp_path, f"%d{suffix}")
    for number, frame in enumerate(read_frames(clip), 1):
        bgr = cv2.imread(str(out / f"{number}{suffix}"), cv2.IMREAD_UNCHANGED)
        assert bgr is not None
        assert bgr.dtype == np.uint16
        np.testing.assert_array_equal(bgr[..., ::-1], frame.rgb)
    assert compared(clip, out, segments, f"%d{suffix}") == []


@pytest.mark.parametrize(("dtype", "kind"), [(np.uint8, np.float16), (np.uint16, np.float32)])
def test_exr_holds_every_value_for_any_reader(tmp_path: Path, dtype: type, kind: type) -> None:
    largest = np.iinfo(dtype).max
    values = np.arange(largest + 1, dtype=dtype)
    side = round(len(values) ** 0.5)
    random = np.random.default_rng(0)
    planes = [values, values[::-1], random.permutation(values)]
    rgb = np.ascontiguousarray(np.stack(planes, -1).reshape(side, side, 3)[:, : side - 3])
    exr.save_exr(tmp_path / "a.exr", rgb)
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        held = file.channels()["RGB"].pixels
    assert held.dtype == kind
    assert (held.min(), held.max()) == (0, 1)
    np.testing.assert_array_equal(np.rint(held.astype(np.float64) * largest), rgb)
    again = exr.load_exr(tmp_path / "a.exr")
    assert again.dtype == dtype
    np.testing.assert_array_equal(again, rgb)


@pytest.mark.parametrize("damage", [b"", b"nothing", None])
def test_a_damaged_exr_is_reported(tmp_path: Path, damage: bytes | None) -> None:
    file = tmp_path / "a.exr"
    exr.save_exr(file, np.zeros((16, 16, 3), np.uint8))
    file.write_bytes(file.read_bytes()[:-40] if damage is None else damage)
    with pytest.raises(MediaError, match="OpenEXR"):
        exr.load_exr(file)


def test_times_are_exact(clip: Clip, tmp_path: Path) -> None:
    out, _ = written(clip, tmp_path, "%04d.png")
    sidecar = json.loads((out / SIDECAR).read_text())
    with av.open(clip.path) as container:
        frames = list(container.decode(video=0))
        exact = [Fraction(f.pts or 0) * (f.time_base or 0) for f in frames]
        assert [Fraction(p) * Fraction(sidecar["time_base"]) for p in sidecar["pts"]] == exact
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert sidecar["end_pts"] == frames[0].pts + stream.duration
    assert probe(str(out)).times == tuple(float(seconds) for seconds in exact)


@pytest.mark.parametrize("name", TURNS)
def test_upright_is_where_the_matrix_puts_pixels(name: str) -> None:
    a, b, c, d = TURNS[name]
    rgb = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8).astype(np.uint8)
    placed = {
        (a * x + c * y, b * x + d * y): rgb[y, x] for y in range(5) for x in range(7)
    }  # fmt: skip
    left, top = (min(place[axis] for place in placed) for axis in (0, 1))
    made = turn_upright(rgb, [n << 16 for n in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30])
    assert len(placed) == made.shape[0] * made.shape[1]
    for (x, y), pixel in placed.items():
        np.testing.assert_array_equal(made[y - top, x - left], pixel)


def test_a_turn_by_no_quarter_changes_nothing() -> None:
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert turn_upright(rgb, [46341, 46341, 0, -46341, 46341, 0, 0, 0, 1 << 30]) is rgb
    assert turn_upright(rgb, None) is rgb


def test_a_turned_phone_video_is_upright_as_in_opencv(tmp_path: Path) -> None:
    whole = probe(str(DATA / "odd/rotate-buck-bunny.mp4"))
    assert whole.rotation
    index = scan(whole)
    short = index.__class__(pts=index.pts[:2], keys=index.keys[:1], end_pts=index.pts[2])
    segment = tmp_path / "s.nut"
    with SegmentWriter(segment, whole, lossless(whole), whole.width, whole.height) as writer:
        for frame in read_frames(whole, index.pts[0], index.pts[2]):
            writer.write(frame.rgb, frame.pts)
    out = tmp_path / "out"
    sequence.write_sequence(whole, [segment], out, short, "%d.png")
    shown = cv2.VideoCapture(whole.path)
    for number in (1, 2):
        there, bgr = shown.read()
        assert there
        picture = cv2.imread(str(out / f"{number}.png"))
        assert picture is not None
        assert picture.shape == bgr.shape
        # OpenCV interpolates chroma differently
        assert np.abs(picture.astype(int) - bgr).mean() < 2
    size = whole.width, whole.height
    assert sequence.find_differences(whole, short, out, *size, "%d.png", [segment]) == []
    with pytest.raises(InputError, match="upright pictures of a rotated or mirrored video"):
        numbered.check_comparable(out, "a report")


def _lose(out: Path) -> None:
    (out / "000003.png").unlink()


def _add(out: Path) -> None:
    (out / "000099.png").write_bytes((out / "000001.png").read_bytes())


def _exchange(out: Path) -> None:
    first, second = out / "000001.png", out / "000002.png"
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)


def _flip(out: Path) -> None:
    rgb = cv2.imread(str(out / "000004.png"))
    assert rgb is not None
    rgb[5, 5, 1] ^= 1
    cv2.imwrite(str(out / "000004.png"), rgb)


def _deepen(out: Path) -> None:
    cv2.imwrite(str(out / "000002.png"), np.zeros((64, 96, 3), np.uint16))


def _cut(out: Path) -> None:
    (out / "000005.png").write_bytes((out / "000005.png").read_bytes()[:200])


def _retime(out: Path) -> None:
    sidecar = json.loads((out / SIDECAR).read_text())
    sidecar["pts"][2] += 1
    (out / SIDECAR).write_text(json.dumps(sidecar))


def _forget(out: Path) -> None:
    (out / SIDECAR).unlink()


DAMAGE = {
    _lose: "it has 7 pictures, expected 8",
    _add: "it has 9 pictures, expected 8",
    _exchange: "the pixels of 000001.png differ from those of its frame",
    _flip: "the pixels of 000004.png differ from those of its frame",
    _deepen: "000002.png is 96x64 with 16 bits, expected 96x64 with 8 bits",
    _cut: "000005.png cannot be read back",
    _retime: "sequence.json differs from the input in times",
    _forget: "sequence.json",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_verification_finds_what_is_wrong(clip: Clip, tmp_path: Path, damage: object) -> None:
    out, segments = written(clip, tmp_path, "%06d.png")
    assert compared(clip, out, segments, "%06d.png") == []
    damage(out)  # type: ignore[operator]
    found = compared(clip, out, segments, "%06d.png")
    assert DAMAGE[damage] in "; ".join(found)  # type: ignore[index]


def test_segments_with_other_frames_are_refused(clip: Clip, tmp_path: Path) -> None:
    segments = make_segments(clip, lossless(clip), tmp_path, length=4)
    with pytest.raises(StageError, match="differ from the plan from picture 5 on"):
        sequence.write_sequence(clip, segments[:1], tmp_path / "out", scan(clip), "%d.png")


def test_patterns_are_those_of_ffmpeg(tmp_path: Path) -> None:
    folder = tmp_path / "100%d"
    assert split_pattern(str(folder / "%06d.png")) == (folder, "%06d.png")
    assert [picture_name("a%%_%04d.exr", n) for n in (0, 9, 99999)] == [
        "a%_0001.exr", "a%_0010.exr", "a%_100000.exr",
    ]  # fmt: skip
    assert picture_name("%d.png", 11) == "12.png"
    for other in ("out.mp4", "100%.mkv", "a%04d.mkv", "out.png", "100%%.png"):
        assert split_pattern(str(tmp_path / other)) is None


@pytest.mark.parametrize("name", ["%d_%d.png", "100% %d.png", "%s%03d.tif", "%03d.jpg"])
def test_what_is_no_pattern_is_refused(tmp_path: Path, name: str) -> None:
    says = "numbered pictures cannot be written as|must have exactly one number"
    with pytest.raises(InputError, match=says):
        split_pattern(str(tmp_path / name))


def test_the_working_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for name in ("%06d.png", "../%06d.png"):
        with pytest.raises(InputError, match="contains the current folder"):
            split_pattern(name)


def test_only_a_sequence_may_be_replaced(tmp_path: Path) -> None:
    for name in ("a.1.png", "a.22.png", SIDECAR):
        (tmp_path / name).write_bytes(b"")
    assert find_foreign_file(tmp_path, "a.%03d.png") is None
    assert find_foreign_file(tmp_path, "%03d.png") == "a.1.png"
    (tmp_path / "ax1.png").write_bytes(b"")
    assert find_foreign_file(tmp_path, "a.%03d.png") == "ax1.png"
    (tmp_path / "ax1.png").unlink()
    (tmp_path / "a.3.png").symlink_to(tmp_path / "a.1.png")
    assert find_foreign_file(tmp_path, "a.%03d.png") == "a.3.png"

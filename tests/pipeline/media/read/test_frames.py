from __future__ import annotations

import ctypes
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import MediaError, StageError
from pipeline.media.container import release_memory
from pipeline.media.read.frames import FrameReader, read_frames
from pipeline.media.read.probe import probe, scan
from pipeline.schema.clip import Clip
from tests.support import DATA
from tests.support.clips import CLOSED, OPEN, make_video, picture

X265 = {"x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:log-level=none:pools=1"}
KINDS = [
    ("closed.mp4", "libx264", CLOSED),
    ("open.mp4", "libx264", OPEN),
    ("open.ts", "libx264", OPEN),
    ("open.mkv", "libx265", X265),
    ("bframes.avi", "libx264", {"threads": "1", "g": "12"}),
    ("hidden.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k"}),
]


def likeness(rgb: np.ndarray, number: int) -> float:
    return float(np.abs(rgb.astype(float) - picture(number)).mean())


@pytest.mark.parametrize(("name", "codec", "options"), KINDS, ids=[k[0] for k in KINDS])
def test_every_range_holds_the_frames_of_a_full_read(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    clip = probe(str(make_video(tmp_path / name, codec=codec, options=options)))
    pts = list(scan(clip).pts)
    whole = {frame.pts: frame.rgb for frame in read_frames(clip, expected=pts)}
    assert list(whole) == pts
    for number, time in enumerate(pts):
        # nearer to its own picture than to its neighbours': none is lost, doubled or swapped
        assert likeness(whole[time], number) < likeness(whole[time], number + 1)
        assert likeness(whole[time], number) < likeness(whole[time], number - 1)
    for start in range(0, 40, 7):
        wanted = pts[start : start + 5]
        end = pts[start + 5] if start + 5 < len(pts) else None
        frames = list(read_frames(clip, wanted[0], end, expected=wanted, threads=2))
        assert [frame.pts for frame in frames] == wanted
        for frame in frames:
            np.testing.assert_array_equal(frame.rgb, whole[frame.pts])


def test_range_without_expectation_is_the_same(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "a.mp4", options=OPEN)))
    pts = list(scan(clip).pts)
    assert [f.pts for f in read_frames(clip, pts[11], pts[20])] == pts[11:20]


def test_variable_rate_and_late_start_keep_their_times(tmp_path: Path) -> None:
    times = [900, 1000, 1003, 2500, 2600, 2777, 5000, 5001]
    base = Fraction(1, 1000)
    clip = probe(str(make_video(tmp_path / "a.mp4", pts=times, time_base=base)))
    got = [f.pts * clip.time_base for f in read_frames(clip, expected=scan(clip).pts)]
    assert got == [time * base for time in times]


def test_ten_bits_come_as_full_scale_uint16() -> None:
    clip = probe(str(DATA / "odd/h265_10bits.mp4"))
    frame = next(read_frames(clip))
    assert (frame.rgb.dtype, frame.rgb.shape) == (np.uint16, (200, 200, 3))
    assert frame.rgb.max() > 60000


def damage(path: Path, number: int) -> Path:
    """Overwrite the data of packet `number` of an MP4, in decoding order."""
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        place, size = packets[number].pos, packets[number].size
    assert place is not None
    data = bytearray(path.read_bytes())
    data[place + 4 : place + size] = bytes([0]) * (size - 4)
    path.write_bytes(bytes(data))
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Clip:
    # no B-frames, only key frames: exactly one frame is lost
    path = make_video(tmp_path / "a.mp4", options={**CLOSED, "g": "1"})
    return probe(str(damage(path, 20)))


def test_damaged_frame_stops_with_its_time(damaged: Clip) -> None:
    pts = list(scan(damaged).pts)
    assert len(pts) == 40
    frames: list[int] = []
    says = rf"pts {pts[20]} \(0.800 s\).*--on-error conceal"
    with pytest.raises(StageError, match=says) as caught:
        frames.extend(frame.pts for frame in read_frames(damaged, expected=pts))
    assert frames == pts[:20]
    assert "\n" not in str(caught.value)


def test_damaged_frame_stops_even_when_nobody_counts(damaged: Clip) -> None:
    with pytest.raises(StageError, match="cannot be decoded"):
        list(read_frames(damaged))


def test_damaged_frame_is_concealed_by_the_one_before(damaged: Clip) -> None:
    pts = list(scan(damaged).pts)
    frames = list(read_frames(damaged, expected=pts, on_error="conceal"))
    assert [frame.pts for frame in frames] == pts
    assert [frame.pts for frame in frames if frame.concealed] == [pts[20]]
    np.testing.assert_array_equal(frames[20].rgb, frames[19].rgb)


def test_concealment_at_the_start_of_a_segment_is_the_same(damaged: Clip) -> None:
    pts = list(scan(damaged).pts)
    whole = list(read_frames(damaged, expected=pts, on_error="conceal"))
    part = list(read_frames(damaged, pts[20], pts[23], expected=pts[20:23], on_error="conceal"))
    assert [(f.pts, f.concealed) for f in part] == [(f.pts, f.concealed) for f in whole[20:23]]
    for frame, other in zip(part, whole[20:23], strict=True):
        np.testing.assert_array_equal(frame.rgb, other.rgb)


def test_concealment_at_the_end_and_at_the_start_of_the_file(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", options={**CLOSED, "g": "1"})
    clip = probe(str(damage(damage(path, 39), 0)))
    pts = list(scan(clip).pts)
    frames = list(read_frames(clip, expected=pts, on_error="conceal"))
    assert [frame.pts for frame in frames if frame.concealed] == [pts[0], pts[39]]
    np.testing.assert_array_equal(frames[0].rgb, frames[1].rgb)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("name", ["open.mp4", "open.ts"])
def test_single_frames_in_any_order_are_those_of_a_full_read(
    tmp_path: Path, name: str, apart: bool
) -> None:
    clip = probe(str(make_video(tmp_path / name, options=OPEN)))
    pts = list(scan(clip).pts)
    whole = {frame.pts: frame.rgb for frame in read_frames(clip)}
    reader = FrameReader(clip, apart=apart)
    for number in (0, 3, 4, 30, 31, 12, 39, 0, 39):
        np.testing.assert_array_equal(reader.get(pts[number]), whole[pts[number]])
    with pytest.raises(StageError, match="no frame at pts"):
        reader.get(pts[39] + 1)
    reader.close()


def test_rising_order_decodes_each_frame_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.media.read.decoder import Decoder

    clip = probe(str(make_video(tmp_path / "a.mp4", options={**CLOSED, "g": "100"})))
    starts: list[int | None] = []
    frames = Decoder.frames

    def counted(self: Decoder, start_pts: int | None, *, back: int = 0) -> object:
        starts.append(start_pts)
        return frames(self, start_pts, back=back)

    monkeypatch.setattr(Decoder, "frames", counted)
    reader = FrameReader(clip, cache=2)
    for pts in scan(clip).pts[::3]:
        reader.get(pts)
        reader.get(pts)
    reader.close()
    assert len(starts) == 1


def test_a_far_frame_is_reached_by_seeking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.media.read import frames as module

    clip = probe(str(make_video(tmp_path / "a.mp4")))
    pts = list(scan(clip).pts)
    reader = FrameReader(clip)
    reader.get(pts[0])
    steps: list[int] = []
    monkeypatch.setattr(
        module.FrameReader,
        "_advance",
        lambda self, at, wrapped=module.FrameReader._advance: steps.append(at) or wrapped(self, at),
    )
    reader.get(pts[38])
    assert reader._position == pts[38]
    assert len(steps) == 1
    reader.close()


@pytest.mark.parametrize(("apart", "times"), [(False, 2), (True, 1)])
def test_frames_apart_need_the_file_open_once(tmp_path: Path, apart: bool, times: int) -> None:
    clip = probe(str(make_video(tmp_path / "a.mp4")))
    pts = list(scan(clip).pts)
    reader = FrameReader(clip, apart=apart)
    reader.get(pts[0])
    reader.get(pts[38])
    held = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert sum(link.resolve() == Path(clip.path).resolve() for link in held) == times
    reader.close()


def test_memory_that_was_freed_goes_back_to_the_system() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    chunks = [libc.malloc(64 << 10) for _ in range(2000)]
    for chunk in chunks:
        ctypes.memset(chunk, 1, 64 << 10)
    full = resident_mb()
    # the last one stays, and holds all below it
    for chunk in chunks[:-1]:
        libc.free(chunk)
    release_memory()
    assert resident_mb() < full - 100
    libc.free(chunks[-1])


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def test_cache_is_bounded(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "a.mp4")))
    reader = FrameReader(clip, cache=3)
    pts = list(scan(clip).pts)
    for time in pts[:10]:
        reader.get(time)
    assert list(reader._cache) == pts[7:10]
    reader.close()


@pytest.mark.parametrize(
    ("suffix", "dtype"), [("png", np.uint8), ("png", np.uint16), ("tiff", np.uint16)]
)
def test_stills_keep_their_depth_exactly(tmp_path: Path, suffix: str, dtype: type) -> None:
    pictures = [(picture(n).astype(dtype) * (257 if dtype is np.uint16 else 1)) for n in range(3)]
    for number, rgb in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{number}.{suffix}"), rgb[..., ::-1])
    clip = probe(str(tmp_path))
    assert clip.bit_depth == np.iinfo(dtype).bits
    frames = list(read_frames(clip, 1, 3))
    assert [frame.pts for frame in frames] == [1, 2]
    for frame in frames:
        np.testing.assert_array_equal(frame.rgb, pictures[frame.pts])
    np.testing.assert_array_equal(FrameReader(clip).get(0), pictures[0])


@pytest.mark.parametrize(("white", "kind"), [(1023, ">u2"), (65535, ">u2"), (101, "u1")])
def test_ppm_of_any_white_has_the_whole_range(tmp_path: Path, white: int, kind: str) -> None:
    raw = np.random.default_rng(0).integers(0, white, (4, 6, 3), endpoint=True)
    raw[0, 0] = 0, white // 2, white
    head = f"P6\n# JPEG Pleno\n6 4\n{white}\n".encode()
    (tmp_path / "000_000.ppm").write_bytes(head + raw.astype(kind).tobytes())
    clip = probe(str(tmp_path / "000_000.ppm"))
    limit = 255 if kind == "u1" else 65535
    assert clip.bit_depth == (8 if limit == 255 else 16)
    (frame,) = read_frames(clip)
    np.testing.assert_array_equal(frame.rgb, np.floor(raw * (limit / white) + 0.5))


def test_grey_and_transparent_stills_become_rgb(tmp_path: Path) -> None:
    grey = picture(0)[..., 0]
    cv2.imwrite(str(tmp_path / "a.png"), grey)
    np.testing.assert_array_equal(
        next(read_frames(probe(str(tmp_path / "a.png")))).rgb, np.stack([grey] * 3, -1)
    )
    cv2.imwrite(str(tmp_path / "b.png"), np.dstack([picture(0), grey]))
    assert next(read_frames(probe(str(tmp_path / "b.png")))).rgb.shape == (64, 96, 3)


def test_a_picture_changed_after_probing_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    clip = probe(str(tmp_path))
    cv2.imwrite(str(tmp_path / "a.png"), picture(0, 32, 32))
    with pytest.raises(StageError, match=r"a\.png is 32x32, expected 96x64"):
        list(read_frames(clip))


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4")
    clip = probe(str(path))
    path.unlink()
    with pytest.raises(MediaError, match=r"a\.mp4 does not exist"):
        list(read_frames(clip))


def test_real_variable_rate_file_reads_in_rising_order() -> None:
    clip = probe(str(DATA / "odd/no_duration.webm"))
    frames = list(read_frames(clip, 1000, 2000))
    assert frames
    assert all(1000 <= frame.pts < 2000 for frame in frames)
    assert all(a.pts < b.pts for a, b in pairwise(frames))

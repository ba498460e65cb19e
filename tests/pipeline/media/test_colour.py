"""Conversions against the matrices of BT.601, BT.709 and BT.2020 computed in numpy."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import MediaError
from pipeline.media.colour import FromRgb, ToRgb, describe_colour, output_colour
from pipeline.media.join.capabilities import colour_notes
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from tests.support import DATA
from tests.support.clips import make_video

# H.273 matrix -> the weights of red and blue in luma.
WEIGHTS = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
H, W = 48, 80
ROWS, COLUMNS = np.mgrid[0:H, 0:W].astype(float)


def to_yuv(rgb: NDArray[Any], matrix: int, full: bool, bits: int) -> NDArray[np.float64]:
    """Convert RGB of 0..1, ... x 3, to unrounded code values of Y'CbCr."""
    red, blue = WEIGHTS[matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue])
    cb = (rgb[..., 2] - luma) / (2 * (1 - blue))
    cr = (rgb[..., 0] - luma) / (2 * (1 - red))
    unit = 2 ** (bits - 8)
    if full:
        top, middle = 2**bits - 1, 2 ** (bits - 1)
        return np.stack([luma * top, cb * top + middle, cr * top + middle], -1)
    return np.stack([luma * 219 + 16, cb * 224 + 128, cr * 224 + 128], -1) * unit


def to_rgb(yuv: NDArray[Any], matrix: int, full: bool, bits: int) -> NDArray[np.float64]:
    """Convert code values of Y'CbCr, ... x 3, to RGB of 0..1: the inverse of `to_yuv`."""
    red, blue = WEIGHTS[matrix]
    unit = 2 ** (bits - 8)
    if full:
        luma, cb, cr = np.moveaxis((yuv - [0, 128 * unit, 128 * unit]) / (2**bits - 1), -1, 0)
    else:
        shifted = yuv / unit - [16, 128, 128]
        luma, cb, cr = np.moveaxis(shifted / [219, 224, 224], -1, 0)
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    return np.stack([r, (luma - red * r - blue * b) / (1 - red - blue), b], -1)


def gradient() -> NDArray[np.float64]:
    """Return smooth RGB of 0..1 that uses much of the range in all three channels."""
    red = 0.1 + 0.8 * COLUMNS / W
    green = 0.9 - 0.7 * ROWS / H
    blue = 0.2 + 0.6 * (ROWS + COLUMNS) / (H + W)
    return np.stack([red, green, blue], -1)


def frame_of(planes: list[NDArray[Any]], pix_fmt: str) -> av.VideoFrame:
    frame = av.VideoFrame(W, H, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        dtype = np.uint16 if "10" in pix_fmt or "12" in pix_fmt else np.uint8
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        rows[:, : plane.width] = np.round(values)
    return frame


def planes_of(frame: av.VideoFrame) -> list[NDArray[np.float64]]:
    dtype = np.uint16 if max(c.bits for c in frame.format.components) > 8 else np.uint8
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        found.append(rows[:, : plane.width].astype(float))
    return found


def colour_of(pix_fmt: str, matrix: int, full: bool) -> Any:
    return describe_colour(pix_fmt, W, H, matrix=matrix, colour_range=2 if full else 1)


def left_sited(samples: NDArray[Any]) -> NDArray[Any]:
    """Sample the gradient at the sites of left 4:2:0 chroma: even columns, between rows."""
    between = (samples[0::2] + samples[1::2]) / 2
    return between[:, 0::2]


CASES = [(m, full) for m in (1, 5, 6, 9) for full in (False, True)]


@pytest.mark.parametrize(("matrix", "full"), CASES)
@pytest.mark.parametrize(
    ("pix_fmt", "bits"), [("yuv444p", 8), ("yuv444p10le", 10), ("yuv444p12le", 12)]
)
def test_decoding_follows_the_matrix(matrix: int, full: bool, pix_fmt: str, bits: int) -> None:
    rgb = gradient()
    yuv = to_yuv(rgb, matrix, full, bits)
    frame = frame_of([yuv[..., i] for i in range(3)], pix_fmt)
    got = ToRgb(colour_of(pix_fmt, matrix, full))(frame)
    assert got.dtype == (np.uint8 if bits == 8 else np.uint16)
    expected = to_rgb(np.round(yuv), matrix, full, bits)
    error = got / np.iinfo(got.dtype).max - expected
    assert np.abs(error).max() * (2**bits - 1) <= 0.6
    assert np.abs(error.mean((0, 1))).max() * 255 <= 0.05


@pytest.mark.parametrize(("matrix", "full"), CASES)
@pytest.mark.parametrize(("pix_fmt", "bits"), [("yuv420p", 8), ("yuv420p10le", 10)])
def test_encoding_follows_the_matrix(matrix: int, full: bool, pix_fmt: str, bits: int) -> None:
    rgb = gradient()
    steps, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
    codes = np.round(rgb * steps).astype(dtype)
    frame = FromRgb(colour_of(pix_fmt, matrix, full), pix_fmt)(codes)
    assert frame.format.name == pix_fmt
    assert (int(frame.colorspace), int(frame.color_range)) == (matrix, 2 if full else 1)
    luma, cb, cr = planes_of(frame)
    yuv = to_yuv(codes / steps, matrix, full, bits)
    assert np.abs(luma - yuv[..., 0]).max() <= 0.6
    inside = np.s_[3:-3, 3:-3]
    for got, index in ((cb, 1), (cr, 2)):
        assert np.abs(got - left_sited(yuv[..., index]))[inside].max() <= 1.0


LOSSLESS = {
    "libx264": {"crf": "0"},
    "libx265": {"x265-params": "lossless=1:log-level=none"},
    "libvpx-vp9": {"lossless": "1"},
    "ffv1": {},
}
UNSIGNALLED = [(codec, "yuv420p", {}, "left") for codec in LOSSLESS]
SIGNALLED = [
    ("libx264", "yuv420p", {"x264-params": f"chromaloc={number}"}, location)
    for number, location in enumerate(("left", "center", "topleft", "top"))
]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "options", "location"),
    [*UNSIGNALLED, *SIGNALLED, ("ffv1", "yuv422p", {}, "left"), ("ffv1", "yuv444p", {}, "")],
)
def test_chroma_is_taken_where_the_stream_has_it(
    tmp_path: Path, codec: str, pix_fmt: str, options: dict[str, str], location: str
) -> None:
    """The errors of the location next to the true one are ten times as large."""
    yuv = to_yuv(gradient(), 1, False, 8)
    rows, columns = (yuv[::2] + yuv[1::2]) / 2, (yuv[:, ::2] + yuv[:, 1::2]) / 2
    sampled = {
        "left": rows[:, ::2] if pix_fmt == "yuv420p" else yuv[:, ::2],
        "center": (columns[::2] + columns[1::2]) / 2,
        "topleft": yuv[::2, ::2],
        "top": columns[::2],
        "": yuv,
    }[location]
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=LOSSLESS[codec] | options)
        stream.width, stream.height, stream.pix_fmt = W, H, pix_fmt
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        frame = frame_of([yuv[..., 0], sampled[..., 1], sampled[..., 2]], pix_fmt)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    clip = probe(str(path))
    assert clip.colour.chroma == location
    got = next(iter(read_frames(clip))).rgb
    assert np.abs((got - gradient() * 255)[4:-4, 4:-4].mean((0, 1))).max() < 0.1


def test_chroma_that_is_not_signalled_in_a_container_is_on_the_left(tmp_path: Path) -> None:
    """Matroska cannot hold every codec, from whose header the location is read."""
    path = make_video(tmp_path / "v.avi", codec="cinepak", options={}, pts=[0], pix_fmt="rgb24")
    assert probe(str(path)).colour.chroma == ""
    for name in ("r10k", "v210"):
        path = make_video(tmp_path / f"{name}.mov", codec=name, options={}, pts=[0],
                          pix_fmt={"r10k": "gbrp10le", "v210": "yuv422p10le"}[name])  # fmt: skip
        assert probe(str(path)).colour.chroma == {"r10k": "", "v210": "left"}[name]


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_there_and_back_is_within_one_level(pix_fmt: str) -> None:
    bits = 10 if "10" in pix_fmt else 8
    codes = np.round(gradient() * (255 if bits == 8 else 65535))
    rgb = codes.astype(np.uint8 if bits == 8 else np.uint16)
    colour = colour_of(pix_fmt, 1, False)
    read = colour.model_copy(update={"chroma": "left"})
    back = ToRgb(read)(FromRgb(colour, pix_fmt)(rgb)).astype(float)
    worst = np.abs(back - codes)[4:-4, 4:-4].max() / (1 if bits == 8 else 257)
    assert worst <= (2.0 if bits == 8 else 1.0)


@pytest.mark.parametrize(
    ("pix_fmt", "dtype"), [("bgr0", np.uint8), ("gbrp", np.uint8), ("gbrp16le", np.uint16)]
)
def test_rgb_formats_lose_nothing(pix_fmt: str, dtype: Any) -> None:
    rgb = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (H, W, 3), dtype, True)
    colour = describe_colour(pix_fmt, W, H)
    assert (colour.used_matrix, colour.used_range, colour.guessed) == ("rgb", "full", False)
    np.testing.assert_array_equal(ToRgb(colour)(FromRgb(colour, pix_fmt)(rgb)), rgb)


def test_grey_becomes_equal_channels() -> None:
    frame = frame_of([np.full((H, W), 126.0)], "gray")
    got = ToRgb(describe_colour("gray", W, H, colour_range=1))(frame)
    assert got.shape == (H, W, 3)
    assert np.abs(got - (126 - 16) / 219 * 255).max() <= 1


@pytest.mark.parametrize(
    ("size", "matrix", "colour_range", "pix_fmt", "used"),
    [
        ((640, 480), 2, 0, "yuv420p", ("bt601", "limited", True)),
        ((960, 720), 2, 0, "yuv420p", ("bt709", "limited", True)),
        ((1280, 544), 2, 0, "yuv420p", ("bt709", "limited", True)),
        ((640, 480), 2, 0, "yuvj420p", ("bt601", "full", True)),
        ((640, 480), 1, 0, "yuv420p", ("bt709", "limited", True)),
        ((1920, 1080), 6, 1, "yuv420p", ("bt601", "limited", False)),
        ((640, 480), 6, 0, "yuvj420p", ("bt601", "full", False)),
    ],
)
def test_untagged_streams_get_the_usual_guess(
    size: tuple[int, int], matrix: int, colour_range: int, pix_fmt: str, used: tuple[object, ...]
) -> None:
    colour = describe_colour(pix_fmt, *size, matrix=matrix, colour_range=colour_range)
    assert (colour.used_matrix, colour.used_range, colour.guessed) == used
    assert (colour.matrix, colour.range) == (matrix, colour_range)


def test_unknown_matrix_is_refused() -> None:
    with pytest.raises(MediaError, match="colour matrix 14 is not supported"):
        describe_colour("yuv420p", W, H, matrix=14)


def test_output_tags_follow_the_pixel_format() -> None:
    tagged = describe_colour("yuv420p", W, H, matrix=6, colour_range=1, primaries=6, transfer=1)
    assert output_colour(tagged, "yuv420p10le") == tagged
    assert output_colour(tagged, "bgr0").matrix == 0
    rgb = describe_colour("gbrp", W, H)
    made = output_colour(rgb, "yuv444p")
    assert (made.matrix, made.range, made.used_matrix) == (1, 1, "bt709")


def test_frames_with_gaps_between_rows_come_contiguous() -> None:
    # 854 columns are padded to 864 in memory
    with av.open(str(DATA / "odd/edts.mp4")) as container:
        frame = next(container.decode(video=0))
    got = ToRgb(describe_colour("yuv420p", 854, 480, matrix=1, colour_range=1))(frame)
    assert got.shape == (480, 854, 3)
    assert got.flags.c_contiguous


def test_a_size_change_is_converted_by_its_own_size() -> None:
    colour = colour_of("yuv420p", 1, False)
    convert = FromRgb(colour, "yuv420p")
    for height, width in ((48, 80), (32, 64)):
        rgb = np.full((height, width, 3), 200, np.uint8)
        luma = planes_of(convert(rgb))[0]
        assert luma.shape == (height, width)
        assert np.abs(luma - (200 / 255 * 219 + 16)).max() <= 1


def test_an_untagged_output_of_a_size_that_players_read_otherwise_is_noted(tmp_path: Path) -> None:
    clip = probe(str(make_video(tmp_path / "in.mp4", pts=[0, 1])))
    assert clip.colour.guessed
    assert colour_notes(clip, 854, 480) == []
    (note,) = colour_notes(clip, 1280, 720)
    assert note.startswith(
        "the colours are untagged and remain bt601, but at 1280x720 players assume bt709"
    )
    tagged = probe(str(make_video(tmp_path / "tagged.mp4", pts=[0, 1], colour=(6, 1, 6, 6))))
    assert colour_notes(tagged, 1280, 720) == []

"""The size of the output that --scale and --size mean, and the sizes that are refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from pipeline.errors import InputError, PairingError
from pipeline.planning.output_size import align_size, choose_size
from pipeline.schema.clip import Grid, LightField, Stills, VideoClip, View
from pipeline.schema.frame_size import (
    expect_size,
    find_network_scale,
    find_pixel_aspect,
    match_pixel_aspect,
)
from pipeline.schema.settings import PairingSettings


def clip(width: int, height: int, *, aspect: str = "1", rotation: int = 0) -> VideoClip:
    """Return a video of frames of this size."""
    return VideoClip(
        path="/data/clip.mkv",
        container="matroska",
        stream_index=0,
        codec="h264",
        pix_fmt="yuv420p",
        bit_depth=8,
        width=width,
        height=height,
        rotation=rotation,
        sample_aspect_ratio=Fraction(aspect),
        time_base=Fraction(1, 25),
        size_bytes=1,
        fingerprint="00",
    )


def choose(lr: VideoClip, ref: VideoClip, **settings: Any) -> tuple[int, int, int]:
    """Return the scale, and the width and height for 4:2:0 video."""
    size = align_size(choose_size(lr, ref, PairingSettings(**settings)), "yuv420p")
    return size.scale, size.width, size.height


HD, FULL_HD, UHD = clip(1280, 720), clip(1920, 1080), clip(3840, 2160)


@pytest.mark.parametrize(("times", "scale"), [(1.4, 2), (2, 2), (3, 4), (4, 4), (7, 8), (12, 8)])
def test_without_options_the_scale_of_the_network_nearest_to_the_reference_decides(
    times: float, scale: int
) -> None:
    ref = clip(round(320 * times), round(180 * times))
    assert choose(clip(320, 180), ref) == (scale, 320 * scale, 180 * scale)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_scales_of_the_network_are_outputs_of_their_own(scale: int) -> None:
    lr, ref = clip(213, 121), clip(213 * 8, 121 * 8)
    assert choose(lr, ref, scale=scale) == (scale, 213 * scale, 121 * scale)


@pytest.mark.parametrize(
    ("scale", "made"),
    [
        ("3", (4, 1920, 1080)),
        ("1.5", (2, 960, 540)),
        ("2.25", (4, 1440, 810)),
        ("1", (2, 640, 360)),
        ("5", (8, 3200, 1800)),
        ("7.9", (8, 5056, 2844)),
    ],
)
def test_other_scales_take_the_next_scale_of_the_network(
    scale: str, made: tuple[int, int, int]
) -> None:
    assert choose(clip(640, 360), UHD, scale=scale) == made


@pytest.mark.parametrize(
    ("lr", "name", "made"),
    [
        (HD, "1080p", (2, 1920, 1080)),
        (HD, "reference", (4, 3840, 2160)),
        (HD, "4k", (4, 3840, 2160)),
        (HD, "1920x1080", (2, 1920, 1080)),
        (HD, "720p", (2, 1280, 720)),
        # the input's own size is rounded
        (clip(854, 480), "1080p", (4, 1920, 1080)),
        (clip(854, 480), "3840x2160", (8, 3840, 2160)),
        (clip(426, 240), "480p", (2, 854, 480)),
        (clip(426, 240), "854x480", (2, 854, 480)),
        (clip(427, 241), "723p", (4, 1286, 722)),
        (clip(120, 68), "240p", (4, 426, 240)),
        # other proportions
        (clip(640, 480), "1080p", (4, 1440, 1080)),
        (clip(1000, 420), "840p", (2, 2000, 840)),
        (clip(333, 333), "1000p", (4, 1000, 1000)),
        # an upright recording is measured by its width, whether it is stored so or turned
        (clip(720, 1280), "1080p", (2, 1080, 1920)),
        (clip(1280, 720, rotation=90), "1080p", (2, 1920, 1080)),
        (clip(1280, 720, rotation=-90), "1080x1920", (2, 1920, 1080)),
        (clip(1280, 720, rotation=90), "1920x1080", (2, 1920, 1080)),
        # pixels that are not square become square where the size has the display's proportions
        (clip(720, 576, aspect="64/45"), "1080p", (4, 1920, 1080)),
        (clip(720, 576, aspect="16/15"), "1080p", (2, 1440, 1080)),
        (clip(720, 576, aspect="16/15"), "1440x1152", (2, 1440, 1152)),
        (clip(1440, 1080, aspect="4/3"), "1080p", (2, 1920, 1080)),
        (clip(720, 480, aspect="8/9"), "1080p", (4, 1440, 1080)),
    ],
)
def test_names_mean_sizes(lr: VideoClip, name: str, made: tuple[int, int, int]) -> None:
    assert choose(lr, UHD, size=name) == made


@pytest.mark.parametrize(
    ("lr", "size", "aspect"),
    [
        (HD, (1920, 1080), 1),
        (clip(720, 576, aspect="64/45"), (1440, 1152), Fraction(64, 45)),
        (clip(720, 576, aspect="64/45"), (1350, 1080), Fraction(64, 45)),
        (clip(720, 576, aspect="64/45"), (1920, 1080), 1),
        (clip(720, 576, aspect="64/45"), (1440, 1080), None),
        (clip(1440, 1080, aspect="4/3"), (1920, 1080), 1),
        (HD, (1920, 1088), None),
    ],
)
def test_a_size_decides_the_aspect_of_its_pixels(
    lr: VideoClip, size: tuple[int, int], aspect: Fraction | None
) -> None:
    assert find_pixel_aspect(lr, *size) == aspect
    kept = lr.sample_aspect_ratio if aspect is None else aspect
    assert match_pixel_aspect(lr, *size).sample_aspect_ratio == kept


def test_a_turned_reference_gives_the_size_of_the_stored_frames() -> None:
    lr = clip(640, 360, rotation=90)
    assert choose(lr, clip(1080, 1920), size="reference") == (4, 1920, 1080)


@pytest.mark.parametrize(
    ("lr", "ref", "size", "words"),
    [
        (HD, UHD, "1920x800", r"1920x800 does not have the proportions of the input \(1280x720\)"),
        (HD, UHD, "1920x800", "try --size 1422x800"),
        (HD, UHD, "800x1920", "is not 1 to 8 times|proportions .*; try --size 1280x720"),
        (HD, UHD, "640x360", "1 to 8 times the size of .*; try --size 1280x720"),
        (clip(160, 90), UHD, "4k", r"2160p \(3840x2160\) .*; try --size 1280x720"),
        (HD, clip(4000, 3000), "reference", r"\(4000x3000\) .*try --size 4000x2250"),
        (HD, clip(1440, 1080), "reference", "proportions .*; try --size 1440x810"),
        (
            clip(720, 480, aspect="8/9"),
            UHD,
            "480p",
            r"pixel aspect ratio of 8/9\); try --size 720x540",
        ),
        (clip(720, 576, aspect="64/45"), UHD, "1440x1080", r"64/45\); try --size 1440x810"),
        (HD, UHD, "99999x99999", "try --size 10240x5760"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_the_nearest_that_does(
    lr: VideoClip, ref: VideoClip, size: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as refused:
        choose(lr, ref, size=size)
    assert "\n" not in str(refused.value)
    proposed = str(refused.value).rpartition(" ")[2]
    scale, width, height = choose(lr, clip(8 * lr.width, 8 * lr.height), size=proposed)
    assert f"{width}x{height}" == proposed
    assert scale in (2, 4, 8)


def test_a_size_and_a_scale_are_refused_together() -> None:
    with pytest.raises(InputError, match="--size 1080p and --scale 3 are mutually exclusive"):
        choose(HD, UHD, size="1080p", scale=3)


def test_an_exact_size_that_the_encoder_refuses_is_not_changed() -> None:
    size = choose_size(clip(427, 241), UHD, PairingSettings(size="1281x723"))
    assert (size.width, size.height) == (1281, 723)
    assert align_size(size, "gbrp") == size
    assert align_size(size, "no such format") == size
    with pytest.raises(InputError, match=r"--size 1281x723 does .*2x2; try --size 1280x722"):
        align_size(size, "yuv420p")
    with pytest.raises(InputError, match=r"multiples of 2x1; try --size 1280x723"):
        align_size(size, "yuv422p10le")


def test_other_sizes_are_rounded_with_a_note() -> None:
    lr = clip(427, 241)
    size = align_size(choose_size(lr, UHD, PairingSettings(scale="3")), "yuv420p")
    assert (size.width, size.height, size.mark) == (1280, 722, "x3")
    resized, rounded = size.list_notes(lr, "auto")
    assert "works at x4 (1708x964), and its result is resized to 1280x722" in resized
    assert "1280x722 instead of 1281x723" in rounded
    assert size.list_notes(lr, "bicubic") == (rounded,)

    odd = align_size(choose_size(lr, clip(1281, 723), PairingSettings(size="reference")), "yuv420p")
    assert odd.mark == "1280x722"
    assert choose_size(lr, UHD, PairingSettings(scale="4")).list_notes(lr, "auto") == ()


def test_a_reference_that_is_too_small_for_the_size_is_refused() -> None:
    lr, small = clip(640, 360), clip(960, 540)
    with pytest.raises(PairingError, match=r"1.5 times .*, but --scale 8 needs one about 8 times"):
        choose(lr, small, scale=8)
    with pytest.raises(
        PairingError, match=r"--size 2160p needs one about 6 times .*; try --size reference"
    ):
        choose(lr, small, size="4k")
    assert choose(lr, small, scale=3) == (4, 1920, 1080)
    with pytest.raises(PairingError, match="swapped"):
        choose(small, lr, size="reference")
    with pytest.raises(PairingError, match=r"about 2, 4 or 8 times .*--size reference"):
        choose(lr, clip(768, 432))
    assert choose(lr, lr, size="reference") == (2, 640, 360)
    with pytest.raises(InputError, match="at least 16x16"):
        choose(clip(14, 14), small, size="28x28")


def test_a_reference_of_the_inputs_size_must_be_enlarged() -> None:
    lr = clip(640, 360)
    with pytest.raises(PairingError, match=r"has the input's size 640x360; enlarge it, or choose"):
        choose(lr, lr)
    with pytest.raises(PairingError, match=r"has the input's size 640x360"):
        choose(lr.model_copy(update={"rotation": 90}), clip(360, 640))
    names = ("path", "codec", "pix_fmt", "bit_depth", "width", "height", "time_base", "size_bytes")
    shared = {name: getattr(lr, name) for name in names}
    keys = Stills(**shared, fingerprint="00", files=("a.png", "b.png"))
    with pytest.raises(PairingError, match=r"not been enlarged yet .* by the same factor, 2 to 8"):
        choose_size(lr, keys, PairingSettings())


def test_light_fields_have_the_size_of_the_network() -> None:
    shared = {name: getattr(HD, name) for name in ("codec", "pix_fmt", "bit_depth", "size_bytes")}
    views = LightField(
        **shared,
        path="/data/views",
        width=100,
        height=80,
        time_base=Fraction(1),
        fingerprint="00",
        grid=Grid(layout="folder", views=(View(row=0, col=0), View(row=0, col=1))),
    )
    ref = clip(400, 320)
    size = choose_size(views, ref, PairingSettings(size="reference"))
    assert (size.scale, size.width, size.height) == (4, 400, 320)
    for settings in ({"scale": "3"}, {"size": "200p"}, {"size": "300x240"}):
        with pytest.raises(InputError, match=r"for a light field, which .* by 2, 4 or 8"):
            choose_size(views, ref, PairingSettings(**settings))


def test_an_output_of_unknown_settings_is_expected_in_its_own_size_if_possible() -> None:
    assert expect_size(HD, 1920, 1080) == (1920, 1080)
    assert expect_size(HD, 2560, 1438) == (2560, 1438)
    assert expect_size(HD, 2560, 1400) == (2560, 1440)
    assert expect_size(HD, 1279, 600) == (1280, 720)
    assert expect_size(HD, 0, 0) == (1280, 720)


def test_the_network_never_enlarges_less_than_the_output_beyond_rounding() -> None:
    for height in range(360, 8 * 360 + 1, 12):
        scale = find_network_scale(clip(640, 360), height * 16 // 9, height)
        assert scale is not None
        assert scale * 360 * 1.01 >= height
        assert scale == 2 or scale * 360 / 2 * 1.01 < height
    assert find_network_scale(clip(640, 360), 5200, 2925) is None
    assert find_network_scale(clip(640, 360), 620, 349) is None

"""`enhance` gives VapourSynth the frames of `Enhancer`, in any order and format."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline import Enhancer
from pipeline.arrays.vapoursynth import enhance
from pipeline.arrays.vapoursynth.choose import BLOCK
from tests.pipeline.arrays.conftest import RATE, SIZE, Recorded
from tests.pipeline.arrays.vapoursynth.conftest import MakeClip, read_frame
from tests.support import ROOT


@pytest.fixture(scope="module")
def lr(recorded: Recorded, make_clip: MakeClip) -> Any:
    return make_clip(recorded.small)


@pytest.fixture(scope="module")
def hr(recorded: Recorded, make_clip: MakeClip) -> Any:
    return make_clip(recorded.sharp)


def enlarge(picture: np.ndarray) -> np.ndarray:
    """Return a picture in the size of the sharp ones, without any detail."""
    return cv2.resize(picture, SIZE, interpolation=cv2.INTER_CUBIC)


def test_frames_are_those_of_the_enhancer_in_any_order(
    recorded: Recorded, lr: Any, hr: Any
) -> None:
    # the cut is at 8; the reference at 10 does not serve the frames before it
    small, keys = recorded.small[6:20], (0, 4, 10)
    lr, hr = lr[6:20], hr[6:20]
    # the bits depend a little on the number of frames in a batch
    enhancer = Enhancer("fast", "torch", batch=1)
    references = [(key, recorded.sharp[6 + key]) for key in keys]
    expected = list(enhancer.video(small, references, rate=RATE))

    made = enhance(lr, {key: hr[key] for key in reversed(keys)}, engine="torch")
    assert (made.width, made.height, made.num_frames) == (*SIZE, len(expected))
    assert (made.format.name, made.fps) == ("RGB24", lr.fps)
    for number in (13, 2, 7, 8, 0, 5):
        frame = made.get_frame(number)
        assert np.array_equal(read_frame(frame), expected[number]), number
        assert frame.props["Number"] == 6 + number
    assert made.get_frame(5).props["_DurationDen"] == RATE

    # several frames at a time
    again = enhance(lr, hr.std.SelectEvery(len(hr), keys), keys, engine="torch")
    for number, frame in enumerate(again.frames(prefetch=4)):
        assert np.array_equal(read_frame(frame), expected[number]), number


def test_one_frame_is_that_of_frame(recorded: Recorded, lr: Any, hr: Any) -> None:
    made = enhance(lr, {3: hr[3]}, engine="torch", ref_count=1)
    expected = Enhancer(engine="torch").frame(recorded.small[6], recorded.sharp[3])
    assert np.array_equal(read_frame(made.get_frame(6)), expected)


def test_frames_without_a_reference_are_enlarged_plainly(
    recorded: Recorded, lr: Any, hr: Any
) -> None:
    made = enhance(lr, {0: hr[0]}, engine="torch", max_ref_distance=0.2)
    # too far away, and after the cut
    for number in (6, 13, 14, 27):
        plain = enlarge(recorded.small[number])
        assert np.array_equal(read_frame(made.get_frame(number)), plain), number
    assert not np.array_equal(read_frame(made.get_frame(5)), enlarge(recorded.small[5]))


def test_cuts_are_found_in_every_block(recorded: Recorded, make_clip: MakeClip) -> None:
    # shots of 14 frames; no reference shows those that begin at 70 and 98
    order = [number % 28 for number in range(4 * BLOCK + 5)]
    small = [recorded.small[number] for number in order]
    shown = [start for start in range(0, len(order), 14) if start not in (70, 98)]
    references = {start: make_clip([recorded.sharp[order[start]]]) for start in shown}
    made = enhance(make_clip(small), references, engine="torch")
    for number in (70, 76, 83, 98, 111):
        assert np.array_equal(read_frame(made.get_frame(number)), enlarge(small[number])), number
    for number in (69, 85, BLOCK, 3 * BLOCK, 97, 113):
        changed = read_frame(made.get_frame(number))
        assert not np.array_equal(changed, enlarge(small[number])), number


def test_scripts_are_lazy(vs: Any, lr: Any, hr: Any) -> None:
    requested = []

    def note(n: int, f: Any) -> Any:
        requested.append(n)
        return f

    watched = vs.core.std.ModifyFrame(lr, lr, note)
    made = enhance(watched, vs.core.std.ModifyFrame(hr, hr, note)[::14], [0, 14], engine="bicubic")
    assert requested == []
    made.get_frame(2)
    assert requested != []


@pytest.mark.parametrize(
    ("name", "props"),
    [
        ("YUV420P8", {}),
        ("YUV420P10", {"_Matrix": 9, "_Range": 1, "_ChromaLocation": 2, "_Transfer": 16}),
        ("YUV422P16", {"_Matrix": 1}),
        ("YUV444PS", {"_Matrix": 1}),
        ("GRAY8", {}),
        ("RGB48", {}),
        ("RGBS", {}),
    ],
)
def test_formats_and_properties_stay(
    name: str, props: dict[str, int], vs: Any, recorded: Recorded, lr: Any, hr: Any
) -> None:
    wanted = getattr(vs, name)
    tags = {} if name.startswith("RGB") else {"matrix": props.get("_Matrix", 6)}
    if "_Range" in props:
        tags |= {"range": props["_Range"], "chromaloc": props["_ChromaLocation"]}

    def convert(clip: Any) -> Any:
        converted = clip.resize.Bicubic(format=wanted, **tags)
        if not props and tags:
            converted = converted.std.RemoveFrameProps("_Matrix")
        return converted.std.SetFrameProps(**props) if props else converted

    small, sharp = convert(lr), convert(hr)
    made = enhance(small, {3: sharp[3]}, engine="torch")
    frame = made.get_frame(4)
    assert (frame.width, frame.height, frame.format.id) == (*SIZE, wanted)
    kept = dict(small.get_frame(4).props) | props | {"Number": 4}
    assert {key: frame.props[key] for key in kept} == kept
    if tags:
        assert frame.props["_Matrix"] == tags["matrix"]

    # the colours are those of the RGB clip, within what the format loses
    back = made.resize.Bicubic(format=vs.RGB24, range_s="full")
    result = read_frame(back.get_frame(4)).astype(float)
    expected = Enhancer(engine="torch").frame(recorded.small[4], recorded.sharp[3]).astype(float)
    if name == "GRAY8":
        weights = np.array([0.299, 0.587, 0.114])
        expected = np.repeat((expected @ weights)[..., None], 3, axis=2)
    assert np.abs(result - expected).mean() < (3.5 if "42" in name else 1)
    assert np.abs((result - expected).mean(axis=(0, 1))).max() < 1


def test_the_result_may_have_another_format(vs: Any, lr: Any, hr: Any) -> None:
    yuv = lr.resize.Bicubic(format=vs.YUV420P8, matrix=1)
    made = enhance(yuv, {0: hr[0]}, engine="bicubic", format=vs.RGB48)
    frame = made.get_frame(1)
    assert frame.format.name == "RGB48"
    assert frame.props["_Matrix"] == 0
    turned = enhance(lr, {0: hr[0]}, engine="bicubic", format=vs.YUV444P8).get_frame(1)
    assert (turned.format.name, turned.props["_Range"]) == ("YUV444P8", 0)


def test_fields_are_refused(vs: Any, lr: Any, hr: Any) -> None:
    fields = lr.std.SetFrameProps(_FieldBased=2)
    with pytest.raises(vs.Error, match="frame 1 is interlaced, expected progressive frames"):
        enhance(fields, {0: hr[0]}, engine="bicubic").get_frame(1)


def check_line(vs: Any, line: str, *args: Any, **options: Any) -> None:
    with pytest.raises(vs.Error, match=re.escape(line)) as raised:
        enhance(*args, **options)
    assert str(raised.value).startswith("enhance: ")
    assert "\n" not in str(raised.value)


def test_mistakes_are_one_line(vs: Any, lr: Any, hr: Any) -> None:
    one = hr[0]
    check_line(vs, "the clip must be a vapoursynth.VideoNode, not str", "clip.mkv", {0: one})
    check_line(
        vs, "the reference of frame 0 must be a vapoursynth.VideoNode, not str", lr, {0: "key.png"}
    )
    check_line(vs, "the references must be a vapoursynth.VideoNode, not list", lr, [one])
    check_line(vs, "there are no references", lr, {})
    for number in (-1, 28, 0.5, True, "0"):
        check_line(vs, f"a reference has the frame number {number!r}", lr, {number: one})
    check_line(vs, "expected 0 to 27", lr, one, [-3])
    check_line(vs, "there are two references for frame 3", lr, hr[:2], [3, 3])
    check_line(vs, "found no frame numbers for 2 references", lr, hr[:2])
    check_line(vs, "found 1 frame number for 2 references", lr, hr[:2], [0])
    check_line(vs, "`frames` cannot be combined with a dict", lr, {0: one}, [0])

    narrow = one.std.Crop(right=64)
    proportions = "128x128, but must have the same proportions as the frames, which are 48x32"
    check_line(vs, proportions, lr, {0: narrow})
    check_line(vs, "smaller than the input", lr, {0: one.resize.Bicubic(36, 24)})
    check_line(
        vs, "the references have different sizes (128x128 and 192x128)", lr, {0: one, 1: narrow}
    )
    varying = vs.core.std.Splice([lr, hr], mismatch=True)
    check_line(vs, "the clip must not change format or size", varying, {0: one})
    check_line(vs, "12x8", lr.resize.Bicubic(12, 8), {0: one})

    yuv = lr.resize.Bicubic(format=vs.YUV420P8, matrix=1)
    check_line(vs, "the result would be 51x34, but", yuv, {0: one}, size="51x34")
    check_line(vs, "the format -7 is not a VapourSynth format", lr, {0: one}, format=-7)
    check_line(vs, "engine 'warp9'", lr, {0: one}, engine="warp9")
    far = "-1 is not a valid value for --max-ref-distance"
    check_line(vs, far, lr, {0: one}, max_ref_distance=-1)


def test_a_missing_vapoursynth_is_one_line() -> None:
    code = (
        "import sys; sys.modules['vapoursynth'] = None\n"
        "from pipeline import InputError\n"
        "from pipeline.arrays.vapoursynth import enhance\n"
        "try: enhance(None, {})\n"
        "except InputError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith("VapourSynth is not installed in this Python")
    assert done.stdout.count("\n") == 1

"""`Enhancer` enhances arrays and tensors as `pipeline run` enhances files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from pipeline import Enhancer, InputError, PairingError
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.runs.run import run
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import RunSettings
from tests.pipeline.arrays.conftest import RATE, SIZE, Recorded


@pytest.mark.parametrize(("count", "deep"), [(None, False), (3, True)])
def test_the_bits_are_those_of_a_run(
    recorded: Recorded, tmp_path: Path, count: int | None, deep: bool
) -> None:
    settings = RunSettings(
        input=str(recorded.deep_file if deep else recorded.small_file),
        ref_stream=str(recorded.keys_file),
        output=str(tmp_path / "out.mkv"),
        engine="torch",
        runner="inline",
        codec="ffv1",
        capture="bicubic",
        adapt="off",
        ref_count=count,
    )
    done = run(settings)
    written = [frame.rgb for frame in read_frames(probe(done.output))]
    plan = read_plan(Path(done.reference_map))
    assert len(plan.cuts) == 1
    assert plan.reference.affine is None
    if count is None:
        used = {len(choice.references) for choice in plan.reference_map}
        assert used == {1, 2}

    enhancer = Enhancer("fast", "torch", ref_count=count)
    frames = iter(recorded.deep if deep else recorded.small)
    made = list(enhancer.video(frames, recorded.references, rate=RATE))
    assert len(made) == len(written)
    for number, (ours, theirs) in enumerate(zip(made, written, strict=True)):
        assert ours.dtype == (np.uint16 if deep else np.uint8)
        assert np.array_equal(ours, theirs), number


@pytest.fixture(scope="module")
def quick() -> Enhancer:
    """Return an enhancer that needs no network."""
    return Enhancer(engine="bicubic")


def test_the_engine_stays_between_calls(recorded: Recorded, quick: Enhancer) -> None:
    list(quick.video(recorded.small[:3], recorded.references))
    first = quick.engine
    assert first is not None
    assert first.name == "bicubic"
    quick.frame(recorded.small[5], recorded.sharp[0])
    assert quick.engine is first


def test_one_frame_borrows_from_all_its_references(recorded: Recorded) -> None:
    enhancer = Enhancer(engine="torch")
    small, sharp = recorded.small[3], recorded.sharp

    def measure_error(made: np.ndarray) -> float:
        return float(np.square(made.astype(float) - sharp[3]).mean())

    plain = cv2.resize(small, (192, 128), interpolation=cv2.INTER_CUBIC)
    one = enhancer.frame(small, sharp[0])
    two = enhancer.frame(small, [sharp[0], sharp[6]])
    assert measure_error(one) < 0.7 * measure_error(plain)
    assert measure_error(two) < measure_error(one)


def test_nearer_references_weigh_more_if_distances_are_known(recorded: Recorded) -> None:
    enhancer = Enhancer(engine="torch", batch=1)
    small, sharp = recorded.small[:5], recorded.sharp
    *_, expected, _ = enhancer.video(small, [(0, sharp[0]), (4, sharp[4])], rate=RATE)
    made = enhancer.frame(small[3], [sharp[4], sharp[0]], distances=[1, 3])
    assert np.array_equal(made, expected)
    assert not np.array_equal(made, enhancer.frame(small[3], [sharp[4], sharp[0]]))


def test_results_have_the_wanted_size(recorded: Recorded) -> None:
    sharp = recorded.sharp[0]
    enhancer = Enhancer(engine="bicubic", scale=3)
    result = enhancer.frame(recorded.small[0], sharp)
    width, height = SIZE[0] * 3 // 4, SIZE[1] * 3 // 4
    plain = cv2.resize(recorded.small[0], (width, height), interpolation=cv2.INTER_CUBIC)
    assert np.array_equal(result, plain)

    named = Enhancer(engine="torch", size=f"{height}p").frame(recorded.small[0], sharp)
    assert named.shape == (height, width, 3)
    before, after = (
        np.square(each.astype(float) - cv2.resize(sharp, (width, height), interpolation=3)).mean()
        for each in (plain, named)
    )
    assert after < before


def test_frames_leave_as_soon_as_their_references_are_known(
    recorded: Recorded, quick: Enhancer
) -> None:
    taken: list[int] = []

    def count_frames():  # type: ignore[no-untyped-def]
        for number, frame in enumerate(recorded.small):
            taken.append(number)
            yield frame

    made = quick.video(count_frames(), [(0, recorded.sharp[0]), (8, recorded.sharp[8])])
    assert taken == []
    next(made)
    assert len(taken) < 16


def test_frames_may_share_one_buffer(recorded: Recorded, quick: Enhancer) -> None:
    def refill():  # type: ignore[no-untyped-def]
        buffer = np.empty_like(recorded.small[0])
        for frame in recorded.small:
            buffer[:] = frame
            yield buffer

    ours = list(quick.video(refill(), recorded.references))
    expected = list(quick.video(recorded.small, recorded.references))
    assert np.array_equal(ours, expected)


def test_times_in_seconds_mean_the_same_as_numbers(recorded: Recorded) -> None:
    enhancer = Enhancer(engine="torch", ref_count=1)
    frames = recorded.small[:4]
    numbered = [(0, recorded.sharp[0]), (3, recorded.sharp[3])]
    # names of key frames state milliseconds, and the order of references is free
    timed = [(3 * 1001 / 30000 + 0.0004, recorded.sharp[3]), (0.0, recorded.sharp[0])]
    ours = list(enhancer.video(frames, timed, rate=29.97002997))
    theirs = list(enhancer.video(frames, numbered, rate=30))
    assert np.array_equal(ours, theirs)


FORMS = {
    "uint16": lambda rgb: rgb.astype(np.uint16) * 257,
    "float32": lambda rgb: (rgb / 255).astype(np.float32),
    "big-endian": lambda rgb: (rgb.astype(np.uint16) * 257).astype(">u2"),
    "tensor": lambda rgb: torch.from_numpy(rgb),
    "planar tensor": lambda rgb: torch.from_numpy(rgb).permute(2, 0, 1),
    "deep tensor": lambda rgb: torch.from_numpy(rgb.astype(np.uint16) * 257),
    "planar float tensor": lambda rgb: torch.from_numpy(rgb).permute(2, 0, 1) / 255,
    "half tensor": lambda rgb: torch.from_numpy(rgb).half() / 255,
    "bfloat16 tensor": lambda rgb: torch.from_numpy(rgb).bfloat16() / 255,
    "view": lambda rgb: np.asfortranarray(rgb),
}
if torch.cuda.is_available():
    FORMS["tensor on a GPU"] = lambda rgb: torch.from_numpy(rgb).permute(2, 0, 1).cuda() / 255


@pytest.mark.parametrize("name", FORMS)
def test_a_result_has_the_form_of_its_frame(name: str, recorded: Recorded, quick: Enhancer) -> None:
    convert = FORMS[name]
    given = convert(recorded.small[0])
    expected = quick.frame(recorded.small[0], recorded.sharp[0]) / 255
    # references may have another form
    for reference in (recorded.sharp[0], convert(recorded.sharp[0])):
        made = quick.frame(given, reference)
        assert type(made) is type(given)
        assert made.dtype == given.dtype
        values = torch.as_tensor(np.asarray(made, float) if "tensor" not in name else made.cpu())
        if "tensor" in name:
            assert made.device == given.device
            assert made.is_contiguous()
        if "planar" in name or "GPU" in name:
            values = values.permute(1, 2, 0)
        top = {"uint8": 255, "uint16": 65535}.get(str(given.dtype).split(".")[-1], 1)
        top = 65535 if name == "big-endian" else top
        least = 0.02 if "float16" in name else 0.005
        assert np.abs(values.double().numpy() / top - expected).max() < least


def test_float_frames_keep_more_than_8_bits(quick: Enhancer) -> None:
    ramp = np.linspace(0.2, 0.21, 64 * 64, dtype=np.float32).reshape(64, 64, 1).repeat(3, axis=2)
    made = quick.frame(ramp, np.zeros((128, 128, 3), np.uint8))
    assert len(np.unique(made)) > 500


def test_frames_without_an_end_need_little_memory(recorded: Recorded, quick: Enhancer) -> None:
    def repeat():  # type: ignore[no-untyped-def]
        while True:
            yield recorded.small[0]

    made = quick.video(repeat(), [(0, recorded.sharp[0])])
    for _ in range(200):
        assert next(made).shape == (128, 192, 3)


SMALL = np.zeros((32, 48, 3), np.uint8)
SHARP = np.zeros((128, 192, 3), np.uint8)


@pytest.mark.parametrize(
    ("frames", "references", "rate", "line"),
    [
        ([SMALL], [], None, "there are no references; pass a sharp picture"),
        ([SMALL], [SHARP], None, "reference 0 is of type ndarray, expected a pair"),
        ([SMALL], {0: SHARP}, None, "reference 0 is of type int, expected a pair"),
        ([SMALL], [(True, SHARP)], None, "reference 0 has the time True, expected a pair"),
        ([SMALL], [(-1, SHARP)], None, "reference 0 has the time -1, expected a pair"),
        ([SMALL], [(float("nan"), SHARP)], 25, "reference 0 has the time nan, expected a pair"),
        ([SMALL], [("0", SHARP)], 25, "reference 0 has the time '0', expected a pair"),
        ([SMALL], [(0.5, SHARP)], None, "a reference is at 0.5 seconds, but the frame rate is"),
        ([SMALL], [(0, SHARP)], 0, "the rate is 0, expected 0.01 to 1000 frames per"),
        ([SMALL], [(0, SHARP)], 1e-5, "the rate is 1e-05"),
        ([SMALL], [(0, SHARP)], "25", "the rate is '25'"),
        ([SMALL], [(0, "key.png")], None, "reference 0 is of type str, expected an H x W"),
        ([SMALL], [(0, SHARP[0])], None, r"reference 0 is .* 192 x 3 \(uint8\).*repeat the grey"),
        ([SMALL], [(0, SHARP.astype(np.int32))], None, r"an array of 128 x 192 x 3 \(int32\)"),
        ([SMALL], [(0, SMALL[:20, :30])], None, "smaller than the input"),
        (
            [SMALL],
            [(0, SMALL)],
            None,
            "input's size 48x32; enlarge it, or choose another, 2, 4 or 8",
        ),
        ([SMALL], [(0, SHARP[:64])], None, "192x64, but must .* same proportions .* 48x32"),
        ([SMALL[:8, :12]], [(0, SHARP)], None, "input is only 12x8, but must be at least 16x16"),
        ([None], [(0, SHARP)], None, "frame 0 is of type NoneType"),
        ([[[0]]], [(0, SHARP)], None, "frame 0 is of type list.*numpy.asarray"),
        ([SMALL[None]], [(0, SHARP)], None, r"frame 0 is .* 1 x 32 x 48 x 3 \(uint8\).*one by one"),
        ([SMALL, SMALL[:16]], [(0, SHARP)], None, "frame 1 is 48x16 with 8 bits"),
        ([SMALL, SMALL.astype(np.uint16)], [(0, SHARP)], None, "frame 1 is 48x32 with 16 bits"),
        ([SMALL.astype(float) + 255], [(0, SHARP)], None, "frame 0 has values from 255 to 255"),
        ([SMALL.astype(float) + np.nan], [(0, SHARP)], None, "frame 0 has values from nan to nan"),
        ([np.zeros((32, 48, 4), np.uint8)], [(0, SHARP)], None, "remove the alpha channel"),
        ([SMALL[:0]], [(0, SHARP)], None, r"frame 0 is an array of 0 x 48 x 3 \(uint8\)"),
        (
            [torch.zeros(32, 48, dtype=torch.int64)],
            [(0, SHARP)],
            None,
            r"of 32 x 48 \(torch.int64\)",
        ),
        (
            [SMALL],
            [(1000, SHARP)],
            None,
            "references are at 40 to 40 s and the frames at 0 to 0 s",
        ),
    ],
)
def test_mistakes_are_one_line(
    frames: list[object], references: object, rate: object, line: str, quick: Enhancer
) -> None:
    with pytest.raises(InputError, match=line) as raised:
        list(quick.video(frames, references, rate=rate))  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [float, int, np.float32, np.float64, np.int64])
def test_numbers_may_be_of_numpy(kind: type, recorded: Recorded) -> None:
    enhancer = Enhancer(engine="bicubic", scale=kind(4))
    times = [(kind(0), recorded.sharp[0])]
    made = list(enhancer.video(recorded.small[:2], times, rate=kind(RATE)))
    assert [frame.shape for frame in made] == [recorded.sharp[0].shape] * 2


def test_sizes_are_known_before_a_frame_is_enhanced(quick: Enhancer) -> None:
    assert quick.find_size(SMALL, SHARP) == SHARP.shape[:2]
    assert Enhancer(scale=3).find_size(SMALL, [SHARP, SHARP]) == (96, 144)


def test_mistakes_of_arguments_are_reported_before_a_frame_is_read(quick: Enhancer) -> None:
    with pytest.raises(InputError, match="no references"):
        quick.video([SMALL], [])
    with pytest.raises(InputError, match="no references"):
        quick.frame(SMALL, [])
    with pytest.raises(InputError, match="found 1 distance for 2 references"):
        quick.frame(SMALL, [SHARP, SHARP], distances=[1])
    unusable: list[Any] = [float("nan"), float("inf"), "far", None]
    for wrong in unusable:
        with pytest.raises(InputError, match=f"distance of reference 1 is {wrong!r}, expected a"):
            quick.frame(SMALL, [SHARP, SHARP], distances=[1, wrong])
    signed = list(np.array([1, -2], np.float32))
    assert quick.frame(SMALL, [SHARP, SHARP], distances=signed).shape == SHARP.shape
    with pytest.raises(PairingError, match="the same proportions"):
        quick.frame(SMALL, [SHARP, SHARP[:64]])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"engine": "warp9"}, "unknown engine 'warp9', expected one of auto"),
        ({"scale": 9}, "9 is not a valid value for --scale"),
        ({"size": "large"}, "'large' is not a valid value for --size"),
        ({"batch": 0}, "0 is not a valid value for --batch"),
        ({"ref_count": 9}, "9 is not a valid value for --ref-count"),
        ({"max_ref_distance": -1}, "-1 is not a valid value for --max-ref-distance"),
        ({"capture": "auto"}, "pipeline plan"),
    ],
)
def test_invalid_options_are_reported_at_once(options: dict[str, object], line: str) -> None:
    with pytest.raises(InputError, match=line):
        Enhancer(**options)  # type: ignore[arg-type]


def test_files_that_do_not_exist_are_reported_with_the_first_frame() -> None:
    with pytest.raises(InputError, match=r"found no model 'none\.safetensors'"):
        Enhancer("none.safetensors", "torch").frame(SMALL, SHARP)
    with pytest.raises(InputError, match=r"cannot read a capture from none\.json"):
        Enhancer(engine="bicubic", capture="none.json").frame(SMALL, SHARP)


def test_no_frames_make_no_frames(quick: Enhancer) -> None:
    assert list(quick.video([], [(0, SHARP)])) == []

"""Known kernels are measured from recordings through a real encoder."""

from __future__ import annotations

from functools import cache
from itertools import product

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossnetpp.capture.chroma import estimate_chroma_shift
from crossnetpp.capture.estimate import PicturePair, estimate_capture, list_unmoved
from crossnetpp.capture.kernels import is_sharpening_undone, measure_response
from crossnetpp.data.degradation import degrade
from crossnetpp.data.recorder import Encoder, Picture, encode_and_decode
from crossnetpp.networks.taps import join_taps, make_bicubic_taps
from tests.support import ROOT

Kernel = NDArray[np.float64]

CLIP = ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4"
EVERY = 15

LEAST_CLEAN = 44.0  # dB between the true LR and the LR that the measured kernel makes
SHIFT_ERROR = 0.06  # LR pixels
WIDTH_ERROR = 0.35  # LR pixels by which a codec at crf 20 widens a kernel at most


@cache
def read_frames() -> tuple[Picture, ...]:
    """Return every frame of a second of a real clip, cropped to its middle."""
    capture = cv2.VideoCapture(str(CLIP))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 60)
    frames = [capture.read()[1][200:520, 400:880, ::-1] for _ in range(31)]
    return tuple(np.ascontiguousarray(frame) for frame in frames)


@cache
def read_keys() -> tuple[Picture, ...]:
    return tuple(encode_and_decode(read_frames()[::EVERY], Encoder(10)))


def make_axis(name: str, scale: int, shift: float = 0.0) -> Kernel:
    """Return the weights of one axis by the textbook formulas, in HR pixels."""
    place = np.arange(4 * scale) - 2 * scale + 0.5 - shift * scale
    distance = np.abs(place) / scale
    if name == "box":
        # the share of each HR pixel that lies under the LR pixel
        low, high = np.maximum(place - 0.5, -scale / 2), np.minimum(place + 0.5, scale / 2)
        weights = np.maximum(high - low, 0)
    elif name == "bicubic":
        near = 1.5 * distance**3 - 2.5 * distance**2 + 1
        far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
        weights = np.select([distance <= 1, distance < 2], [near, far], 0.0)
    elif name == "lanczos":
        weights = np.sinc(distance) * np.sinc(distance / 3)
    else:
        weights = np.exp(-0.5 * (distance / float(name)) ** 2)
    return np.asarray(weights / weights.sum(), np.float64)


def reduce_by_sums(hr: Picture, rows: Kernel, columns: Kernel) -> Picture:
    """Return HR reduced by the weights of both axes, tap by tap; edge pixels repeat."""
    scale = len(rows) // 4
    before = 3 * scale // 2
    after = 4 * scale - before
    total = np.pad(hr.astype(np.float64), ((before, after), (before, after), (0, 0)), mode="edge")
    for axis, weights in enumerate((rows, columns)):
        length = hr.shape[axis] // scale * scale
        parts = [total.take(range(i, i + length, scale), axis) for i in range(4 * scale)]
        total = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return np.asarray(total.round().clip(0, 255), np.uint8)


def record(name: str, crf: float | None) -> list[PicturePair]:
    """Return the pairs of LR frames and key frames of a recording made with a kernel."""
    kernel = KERNELS[name]
    if crf is None:
        return [(reduce_by_sums(frame, *kernel), frame) for frame in read_frames()[::EVERY]]
    lr = [reduce_by_sums(frame, *kernel) for frame in read_frames()]
    lr = encode_and_decode(lr, Encoder(crf))[::EVERY]
    return list(zip(lr, read_keys(), strict=True))


def reduce_by_taps(hr: Picture, kernel: NDArray[np.float32]) -> Picture:
    """Return the inner part of HR reduced by any kernel, with zeros around it."""
    scale = len(kernel) // 4
    height, width = hr.shape[0] // scale, hr.shape[1] // scale
    lr = np.zeros((height, width, 3))
    for y, x in product(range(3, height - 3), range(3, width - 3)):
        top, left = scale * y - 3 * scale // 2, scale * x - 3 * scale // 2
        under = hr[top : top + 4 * scale, left : left + 4 * scale]
        lr[y, x] = np.tensordot(kernel, under, axes=((0, 1), (0, 1)))
    return np.asarray(lr.round().clip(0, 255), np.uint8)


def compute_psnr(image: Picture, truth: Picture) -> float:
    inside = (slice(3, -3), slice(3, -3))
    error = (image[inside].astype(np.float64) - truth[inside].astype(np.float64)) ** 2
    return 10 * float(np.log10(255**2 / max(error.mean(), 1e-6)))


KERNELS = {
    "bicubic": (make_axis("bicubic", 4), make_axis("bicubic", 4)),
    "means": (make_axis("box", 4), make_axis("box", 4)),
    "narrow gaussian": (make_axis("0.25", 4), make_axis("0.25", 4)),
    "gaussian": (make_axis("0.45", 4), make_axis("0.45", 4)),
    "wide gaussian": (make_axis("0.7", 4), make_axis("0.7", 4)),
    "lanczos": (make_axis("lanczos", 4), make_axis("lanczos", 4)),
    "shifted right": (make_axis("box", 4), make_axis("box", 4, 0.3)),
    "shifted up": (make_axis("0.45", 4, -0.3), make_axis("0.45", 4)),
}


def measure_box_width(kernel: Kernel) -> float:
    """Return the width of the box that passes as much white noise, in LR pixels."""
    rows, columns = kernel.sum(axis=1), kernel.sum(axis=0)
    return float(1 / (rows @ rows) + 1 / (columns @ columns)) / 2 / (len(kernel) / 4)


def find_centroid(kernel: Kernel) -> tuple[float, float]:
    place = (np.arange(len(kernel)) + 0.5) / (len(kernel) / 4) - 2
    return float(kernel.sum(axis=0) @ place), float(kernel.sum(axis=1) @ place)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_measured_from_compressed_video(name: str) -> None:
    found = estimate_capture(record(name, crf=20), 4)
    assert found.pairs == (0, 1, 2)
    assert found.dropped == {}

    frame = read_frames()[7]
    truth = reduce_by_sums(frame, *KERNELS[name])
    measured = compute_psnr(reduce_by_taps(frame, found.kernel), truth)
    plain = compute_psnr(reduce_by_sums(frame, *KERNELS["bicubic"]), truth)
    assert measured > LEAST_CLEAN
    assert measured > plain or name == "bicubic"

    assert found.fits_db is not None
    assert found.bicubic_db is not None
    assert found.fits_db >= found.bicubic_db

    kernel = np.outer(*KERNELS[name])
    assert np.abs(np.subtract(found.shift, find_centroid(kernel))).max() < SHIFT_ERROR
    assert abs(found.width - measure_box_width(kernel)) < WIDTH_ERROR
    assert found.kernel.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_is_found_exactly_without_compression(name: str) -> None:
    found = estimate_capture(record(name, crf=None), 4)
    assert np.abs(found.kernel - np.outer(*KERNELS[name])).sum() < 0.01
    assert (found.taps is None) == (name == "bicubic")
    if name == "means":
        assert found.shape == "box"


def test_taps_are_none_where_the_bicubic_kernel_stays() -> None:
    assert estimate_capture(record("bicubic", crf=None), 4).taps is None
    taps = estimate_capture(record("means", crf=None), 4).taps
    assert taps is not None
    assert taps.shape == (2, 2, 16)
    assert taps.dtype == np.float32


@pytest.mark.parametrize("scale", [2, 8])
def test_other_scales_are_measured(scale: int) -> None:
    axis = make_axis("box", scale)
    pairs = [(reduce_by_sums(f, axis, axis), f) for f in read_frames()[::EVERY]]
    found = estimate_capture(pairs, scale)
    assert np.abs(found.kernel - np.outer(axis, axis)).sum() < 0.01


def test_sixteen_bits_give_the_same_kernel() -> None:
    pairs = record("gaussian", crf=None)
    deep = [(lr.astype(np.uint16) * 257, hr.astype(np.uint16) * 257) for lr, hr in pairs]
    expected = estimate_capture(pairs, 4).kernel
    assert np.abs(estimate_capture(deep, 4).kernel - expected).max() < 1e-5


def test_one_pair_is_enough() -> None:
    found = estimate_capture(record("shifted right", crf=20)[:1], 4)
    assert found.taps is not None
    assert found.shift == pytest.approx((0.3, 0), abs=SHIFT_ERROR)


def test_a_pair_of_another_time_or_scene_is_dropped() -> None:
    frames = read_frames()
    pairs = record("means", crf=None)
    moved = (np.roll(pairs[1][0], 1, axis=1), frames[EVERY])
    found = estimate_capture([pairs[0], moved, pairs[2]], 4)
    assert found.dropped == {1: "something moved"}
    assert found.shape == "box"

    other = (pairs[0][0], np.ascontiguousarray(frames[0][::-1]))
    found = estimate_capture([*pairs, other], 4)
    assert set(found.dropped) == {3}
    assert found.pairs == (0, 1, 2)
    assert found.shape == "box"


def test_without_a_good_pair_the_bicubic_kernel_stays() -> None:
    nothing = estimate_capture([], 4)
    assert (nothing.taps, nothing.fits_db, nothing.reason) == (
        None,
        None,
        "there is no pair to measure",
    )

    frames = read_frames()
    lr, _ = record("means", crf=None)[0]
    other = estimate_capture([(lr, np.ascontiguousarray(frames[0][::-1]))], 4)
    assert other.taps is None
    assert other.reason.startswith("no pair shows the same instant in LR and HR (")
    assert np.array_equal(other.kernel, join_taps(make_bicubic_taps(4)))

    flat = np.full((120, 160, 3), 90, np.uint8)
    plain = estimate_capture([(flat, np.full((480, 640, 3), 90, np.uint8))], 4)
    assert plain.taps is None


def test_sizes_that_do_not_fit_are_refused() -> None:
    lr, hr = np.zeros((30, 40, 3), np.uint8), np.zeros((120, 164, 3), np.uint8)
    with pytest.raises(
        ValueError, match="found an HR picture of 164x120 for an LR picture of 40x30"
    ):
        estimate_capture([(lr, hr)], 4)


def test_pictures_that_fit_perfectly_or_show_one_direction_are_no_error() -> None:
    gray = np.full((96, 128, 3), 120, np.uint8)
    stripes = gray.copy()
    stripes[:, 40:80] = (200, 40, 40)
    for hr in (gray, stripes):
        found = estimate_capture([(degrade(hr, 2, "area"), hr)] * 3, 2)
        assert found.chroma_shift is None


def sharpen(picture: Picture, amount: float, sigma: float) -> Picture:
    """Return a picture after an unsharp mask, with noise of two levels."""
    values = picture.astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 2, values.shape)
    values += amount * (values - cv2.GaussianBlur(values, (0, 0), sigma)) + noise
    return np.asarray(values.round().clip(0, 255), np.uint8)


@pytest.mark.parametrize(
    ("name", "crf", "amount", "sigma"),
    [
        ("bicubic", None, 1.0, 3.0),
        ("bicubic", 20, 1.0, 3.0),
        ("bicubic", 20, 2.0, 4.0),
        ("means", 20, 1.0, 2.0),
        ("means", 20, 0.7, 8.0),
    ],
)
def test_a_kernel_does_not_undo_the_sharpening_of_key_frames(
    name: str, crf: float | None, amount: float, sigma: float
) -> None:
    pairs = [(lr, sharpen(hr, amount, sigma)) for lr, hr in record(name, crf)]
    found = estimate_capture(pairs, 4)
    assert found.taps is None
    assert found.shape == "bicubic"
    assert found.reason == "the HR pictures are sharper than any camera would record them"
    # the fit of the refused kernel tells how much the codec lost
    assert found.fits_db is not None
    assert found.bicubic_db is not None
    assert found.fits_db > found.bicubic_db


def test_a_kernel_does_not_undo_the_sharpening_of_generated_key_frames() -> None:
    pairs = []
    for lr, hr in record("bicubic", crf=20):
        large = cv2.resize(lr, hr.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        pairs.append((lr, sharpen(np.asarray(large, np.uint8), 1.0, 3.0)))
    found = estimate_capture(pairs, 4)
    assert found.taps is None
    assert found.reason == "the HR pictures are sharper than any camera would record them"


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_no_kernel_of_a_camera_is_taken_for_sharpening(scale: int) -> None:
    for name in ("box", "bicubic", "lanczos", "0.25", "0.45", "0.6", "0.7"):
        axis = make_axis(name, scale)
        assert not is_sharpening_undone(np.outer(axis, axis)), name


def test_the_response_of_means_is_that_of_a_box() -> None:
    axis = make_axis("box", 8)
    assert measure_response(np.outer(axis, axis), 0.5) == pytest.approx(np.sinc(0.5), rel=0.01)
    assert measure_response(np.outer(axis, axis), 1.0) == pytest.approx(0, abs=1e-12)


def test_pictures_too_dark_to_show_anything_give_no_capture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    hr = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), np.uint8)
    dark = np.asarray(degrade(hr, 4, "area") // 20, np.uint8)
    for count in (1, 3):
        found = estimate_capture([(dark, hr)] * count, 4)
        assert found.taps is None
        assert found.fits_db is None
        assert found.reason == "the pictures have too little texture"


def test_pictures_that_are_all_border_show_no_chroma_shift() -> None:
    lr, hr = np.zeros((4, 40, 3), np.uint8), np.zeros((16, 160, 3), np.uint8)
    kernel = join_taps(make_bicubic_taps(4))
    assert estimate_chroma_shift([(lr, hr)], kernel) is None

    # they do not disturb others
    pairs = record("means", crf=None)
    expected = estimate_chroma_shift(pairs, kernel)
    assert expected is not None
    assert estimate_chroma_shift([*pairs, (lr, hr)], kernel) == expected


def test_pairs_in_which_something_moved_are_left_out() -> None:
    still = [(0.1, 0.0), (0.12, 0.02), (0.08, -0.05)]
    assert list_unmoved(still) == [0, 1, 2]
    assert list_unmoved([*still, (0.35, 0.0)]) == [0, 1, 2]
    assert list_unmoved([(0.0, 0.9), *still]) == [1, 2, 3]
    assert list_unmoved([(0.0, 0.3), (0.0, 0.0)]) == [0, 1]

"""Known changes of colour are measured, and none where there is none."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from crossnetpp.capture.chroma import estimate_chroma_shift
from crossnetpp.capture.colour import (
    ColourTransform,
    estimate_colour,
    make_plain_transform,
    transform_picture,
)
from crossnetpp.capture.estimate import estimate_capture
from crossnetpp.data.degradation import degrade
from crossnetpp.data.recorder import Encoder, Picture, encode_and_decode
from crossnetpp.networks.taps import join_taps, make_box_taps
from tests.crossnetpp.capture.test_estimate import EVERY, read_frames, read_keys

SCALE = 4


@cache
def record(key_matrix: str = "bt709") -> tuple[tuple[Picture, Picture], ...]:
    """Return LR frames and key frames; key frames of another matrix are read as BT.709."""
    lr = [degrade(frame, SCALE, "area") for frame in read_frames()]
    keys = encode_and_decode(read_frames()[::EVERY], Encoder(10, matrix=key_matrix))
    return tuple(zip(encode_and_decode(lr, Encoder(20))[::EVERY], keys, strict=True))


def measure_error(picture: Picture, truth: Picture) -> float:
    """Return the error in levels, root mean square."""
    return float(np.sqrt(((picture.astype(np.float64) - truth) ** 2).mean()))


def test_colours_that_agree_need_no_transform() -> None:
    assert estimate_colour(record()) is None
    assert estimate_colour(record()[:1]) is None


@pytest.mark.parametrize("pairs", [1, 3])
def test_another_matrix_is_undone(pairs: int) -> None:
    found = estimate_colour(record("smpte170m")[:pairs])
    assert found is not None
    right, wrong = read_keys()[0], record("smpte170m")[0][1]
    before = measure_error(wrong, right)
    assert before > 3
    assert measure_error(transform_picture(wrong, found), right) < before / 2


@pytest.mark.parametrize("pairs", [1, 3])
def test_another_exposure_and_tone_are_undone(pairs: int) -> None:
    levels = np.arange(256) / 255
    table = np.asarray((255 * 0.85 * levels**1.2 + 6).round(), np.uint8)
    given = [(lr, table[hr]) for lr, hr in record()][:pairs]
    found = estimate_colour(given)
    assert found is not None
    changed, right = given[0][1], read_keys()[0]
    assert measure_error(changed, right) > 10
    assert measure_error(transform_picture(changed, found), right) < 2.5


def test_the_kernel_is_measured_after_the_colours() -> None:
    levels = np.arange(256) / 255
    table = np.asarray((255 * 0.6 * levels**1.5).round(), np.uint8)
    plain = estimate_capture(record(), SCALE)
    found = estimate_capture([(lr, table[hr]) for lr, hr in record()], SCALE)
    assert found.pairs == (0, 1, 2)
    assert found.colour is not None
    assert np.abs(np.subtract(found.shift, plain.shift)).max() < 0.03
    assert abs(found.width - plain.width) < 0.1
    assert found.fits_db is not None
    assert plain.fits_db is not None
    assert found.fits_db > plain.fits_db - 1


def test_a_transform_is_a_curve_for_each_channel_and_a_matrix() -> None:
    curves = make_plain_transform().curves ** np.array([[1.0], [2.0], [0.5]])
    matrix = np.array([[0.8, 0.1, 0.1], [0.0, 1.0, 0.0], [0.2, 0.0, 0.8]])
    transform = ColourTransform(curves, matrix)
    colour = np.array([[[128, 128, 128]]], np.uint8)
    # 128/255 lies close to the middle knot, where the curves have 0.5, 0.25 and sqrt(0.5)
    bent = np.array([128 / 255, (128 / 255) ** 2, (128 / 255) ** 0.5])
    expected = 255 * matrix @ bent
    assert transform_picture(colour, transform)[0, 0] == pytest.approx(expected, abs=1)
    deep = transform_picture(colour.astype(np.uint16) * 257, transform)[0, 0]
    assert deep.dtype == np.uint16
    assert deep == pytest.approx(257 * expected, abs=300)


def test_a_plain_transform_changes_nothing() -> None:
    picture = read_frames()[0]
    assert np.array_equal(transform_picture(picture, make_plain_transform()), picture)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.25, 0.0), (0.5, -0.25)])
def test_the_place_of_chroma_is_measured(shift: tuple[float, float]) -> None:
    kernel = join_taps(make_box_taps(SCALE))
    pairs = []
    for frame in read_frames()[::EVERY]:
        luma = frame.astype(np.float64) @ (0.299, 0.587, 0.114)
        chroma = frame - luma[..., None]
        # chroma that is sampled farther right shows what is there: the picture moves left
        steps = (-round(SCALE * shift[1]), -round(SCALE * shift[0]))
        moved = np.roll(chroma, steps, axis=(0, 1)) + luma[..., None]
        lr = degrade(np.asarray(moved.round().clip(0, 255), np.uint8), SCALE, "area")
        pairs.append((lr, frame))
    found = estimate_chroma_shift(pairs, kernel)
    assert found == pytest.approx(shift, abs=0.1)


def test_chroma_without_colour_has_no_place() -> None:
    gray = np.repeat(read_frames()[0][..., :1], 3, axis=2)
    pairs = [(degrade(gray, SCALE, "area"), gray)]
    assert estimate_chroma_shift(pairs, join_taps(make_box_taps(SCALE))) is None

"""Detail that a faithful LR frame confirms stays, and detail that it does not confirm goes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
import torch

from crossnetpp.networks.resample import reduce_antialiased
from crossnetpp.networks.taps import Taps, make_bicubic_taps, make_box_taps
from pipeline.execution.consistency import find_lr_error, keep_confirmed
from pipeline.media.pictures.stills import load_picture
from pipeline.pairing.upsample import upsample
from pipeline.schema.plan import Plan
from tests.support import DATA

SIDE = 128


def photograph(top: int = 100) -> np.ndarray:
    return np.ascontiguousarray(load_picture(str(DATA / "kodak_21.jpg"))[top : top + SIDE, :SIDE])


def reduce(picture: np.ndarray, scale: int, taps: Taps) -> np.ndarray:
    planes = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None]
    lr = reduce_antialiased(planes, scale, torch.from_numpy(taps))[0].permute(1, 2, 0).numpy()
    top = np.iinfo(picture.dtype).max
    return np.asarray(lr.round().clip(0, top).astype(picture.dtype))


def measure(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.square(one.astype(float) - other).mean())


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("factor", [1, 257])
def test_true_detail_stays_and_that_of_another_picture_goes(scale: int, factor: int) -> None:
    kind = np.uint8 if factor == 1 else np.uint16
    truth = photograph().astype(kind) * kind(factor)
    taps = make_box_taps(scale)
    lr = reduce(truth, scale, taps)
    plain = upsample(lr, SIDE, SIDE)

    kept = keep_confirmed(truth, lr, taps, 0.1)
    assert kept.dtype == kind
    assert measure(kept, truth) < 0.02 * measure(plain, truth)

    other = photograph(250).astype(kind) * kind(factor)
    foreign = other.astype(float) - upsample(reduce(other, scale, taps), SIDE, SIDE)
    wrong = np.clip(plain + foreign, 0, np.iinfo(kind).max).round().astype(kind)
    made = keep_confirmed(wrong, lr, taps, 0.1)
    assert measure(made, truth) < 1.1 * measure(plain, truth)
    assert measure(made, truth) < measure(wrong, truth)


def test_errors_of_the_lr_frame_do_not_count_against_detail() -> None:
    truth = photograph()
    taps = make_bicubic_taps(4)
    noise = np.random.default_rng(0).normal(0, 4, (SIDE // 4, SIDE // 4, 3))
    lr = np.clip(reduce(truth, 4, taps) + noise, 0, 255).round().astype(np.uint8)
    trusting = keep_confirmed(truth, lr, None, 0.1)
    aware = keep_confirmed(truth, lr, None, 16.0)
    assert measure(aware, truth) < measure(trusting, truth)


def test_a_frame_without_detail_is_returned_as_it_is() -> None:
    lr = cv2.resize(photograph(), (32, 32), interpolation=cv2.INTER_AREA)
    plain = upsample(lr, SIDE, SIDE)
    assert np.array_equal(keep_confirmed(plain, lr, None, 1.0), plain)


@pytest.mark.parametrize(
    ("scale", "fits", "expected"),
    [(4, None, None), (2, None, 1.0), (2, 36.0, None), (4, 48.13, 1.0), (8, 58.13, 0.1)],
)
def test_only_recordings_that_were_measured_are_trusted_fully(
    scale: int, fits: float | None, expected: float | None
) -> None:
    capture = None if fits is None else SimpleNamespace(fits_db=fits)
    plan = cast(Plan, SimpleNamespace(capture=capture, scale=scale))
    assert find_lr_error(plan) == (None if expected is None else pytest.approx(expected, rel=0.01))

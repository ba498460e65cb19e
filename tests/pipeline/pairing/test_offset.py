"""Offset and drift between two recordings, estimated from the pictures of real clips."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.errors import PairingError
from pipeline.media.read.frames import read_frames
from pipeline.media.read.probe import probe
from pipeline.pairing.offset import estimate_offset
from pipeline.pairing.thumbnails import make_thumbnail
from tests.support import ROOT

SAMPLES = {
    "monster": ROOT / "pipeline" / "samples" / "monster.mp4",
    "bunny": ROOT / "tests" / "data" / "big_buck_bunny_720p.mp4",
}


def read_first_frames(name: str, count: int) -> list[np.ndarray]:
    """Return the first frames of a sample at 180 x 120."""
    found = []
    for frame in read_frames(probe(str(SAMPLES[name]))):
        found.append(cv2.resize(frame.rgb, (180, 120), interpolation=cv2.INTER_AREA))
        if len(found) == count:
            break
    return found


@pytest.fixture(scope="module")
def monster() -> list[np.ndarray]:
    return read_first_frames("monster", 60)


@pytest.fixture(scope="module")
def bunny() -> list[np.ndarray]:
    return read_first_frames("bunny", 120)


def stack_thumbnails(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([make_thumbnail(p) for p in pictures])


def list_times(count: int) -> list[float]:
    return [i / 30 for i in range(count)]


def simulate_tele_camera(pictures: list[np.ndarray]) -> list[np.ndarray]:
    """Return the pictures of a camera with a narrower, darker and noisier view."""
    rng = np.random.default_rng(0)
    return [
        np.clip(p[8:100, 40:178] * 0.8 + 10 + rng.normal(0, 3, (92, 138, 3)), 0, 255).astype(
            np.uint8
        )
        for p in pictures
    ]


@pytest.mark.parametrize("late", [0.0, 0.4, 1.0])
def test_the_offset_of_a_second_recording_is_found(monster: list[np.ndarray], late: float) -> None:
    thumbs = stack_thumbnails(monster)
    seconds = list_times(60)
    first = round(late * 30)
    # the second camera was started `late` seconds after the first and counts from zero
    offset, drift = estimate_offset(thumbs, seconds, thumbs[first:], seconds[: 60 - first])
    assert offset == pytest.approx(late, abs=0.02)
    assert drift == 1.0


def test_unrelated_recordings_have_no_offset(
    monster: list[np.ndarray], bunny: list[np.ndarray]
) -> None:
    a, b = stack_thumbnails(monster), stack_thumbnails(bunny[:60])
    seconds = list_times(60)
    with pytest.raises(PairingError, match="cannot align the reference"):
        estimate_offset(a, seconds, b, seconds)


def test_drift_of_a_long_recording_is_found() -> None:
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(1500, 576)).astype(np.float32).cumsum(0)
    steps -= steps.mean(1, keepdims=True)
    thumbs = (steps / np.linalg.norm(steps, axis=1, keepdims=True)).astype(np.float16)
    lr_seconds = [i / 25 for i in range(1500)]
    # the reference's clock runs 1 % fast and started 2 s earlier
    picks = list(range(0, 1500, 12))
    ref_seconds = [(lr_seconds[i] + 2.0) * 1.01 for i in picks]
    offset, drift = estimate_offset(thumbs, lr_seconds, thumbs[picks], ref_seconds)
    errors = [
        abs(drift * t + offset - lr_seconds[i]) for t, i in zip(ref_seconds, picks, strict=True)
    ]
    assert drift == pytest.approx(1 / 1.01, abs=2e-3)
    assert max(errors) < 0.2


def test_the_offset_survives_another_view_and_colours(monster: list[np.ndarray]) -> None:
    offset, drift = estimate_offset(
        stack_thumbnails(monster),
        list_times(60),
        stack_thumbnails(simulate_tele_camera(monster[20:])),
        list_times(40),
    )
    assert (offset, drift) == (pytest.approx(20 / 30, abs=0.02), 1.0)


def test_an_input_that_is_a_part_of_the_reference_is_found(bunny: list[np.ndarray]) -> None:
    offset, _ = estimate_offset(
        stack_thumbnails(bunny[70:110]), list_times(40), stack_thumbnails(bunny), list_times(120)
    )
    assert offset == pytest.approx(-70 / 30, abs=0.02)


def test_a_few_key_frames_are_enough(monster: list[np.ndarray]) -> None:
    keys = [3, 19, 38, 55]
    seconds = [number / 30 + 5.5 for number in keys]
    offset, _ = estimate_offset(
        stack_thumbnails(monster),
        list_times(60),
        stack_thumbnails([monster[k] for k in keys]),
        seconds,
    )
    assert offset == pytest.approx(-5.5, abs=0.02)


def test_unrelated_key_frames_have_no_offset(
    monster: list[np.ndarray], bunny: list[np.ndarray]
) -> None:
    with pytest.raises(PairingError, match="cannot align the reference"):
        estimate_offset(
            stack_thumbnails(monster),
            list_times(60),
            stack_thumbnails(bunny[::12]),
            [0.0, 0.5, 1.0, 1.5, 2.0],
        )


def test_one_picture_has_no_offset(monster: list[np.ndarray]) -> None:
    with pytest.raises(PairingError, match="fewer than two pictures"):
        estimate_offset(
            stack_thumbnails(monster), list_times(60), stack_thumbnails(monster[:1]), [0.0]
        )


@pytest.mark.parametrize("ppm", [0, 300])
def test_clocks_that_drift_apart_over_minutes_are_followed(ppm: int) -> None:
    rng = np.random.default_rng(0)
    pace = np.abs(rng.normal(size=(6000, 1))) + 0.05
    path = (pace * rng.normal(size=(6000, 576))).astype(np.float32).cumsum(0) / 20
    thumbs = (path / np.linalg.norm(path, axis=1, keepdims=True)).astype(np.float16)
    lr_seconds = list_times(6000)
    # the second clock started 4 s later and runs fast
    ref_seconds = [(t - 4.0) * (1 + ppm * 1e-6) for t in lr_seconds[120:]]
    offset, drift = estimate_offset(thumbs, lr_seconds, thumbs[120:], ref_seconds)
    for number in (0, 2000, 5879):
        at = drift * ref_seconds[number] + offset
        assert at == pytest.approx(lr_seconds[120 + number], abs=0.02)

"""Recordings through real encoders, compared with independent computations."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crossnetpp.data.recorder import (
    CAPTURES,
    Capture,
    Encoder,
    Picture,
    encode_and_decode,
    record_clip,
)
from tests.support import ROOT

CLIP = ROOT / "pipeline" / "samples" / "monster.mp4"
BT601 = (0.299, 0.114)  # luma weights of red and blue
BT709 = (0.2126, 0.0722)


def read_frames(count: int, height: int = 128, width: int = 192) -> list[Picture]:
    """Return the first frames of a real clip, cropped."""
    capture = cv2.VideoCapture(str(CLIP))
    frames = [capture.read()[1][200 : 200 + height, 200 : 200 + width] for _ in range(count)]
    return [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]


def compute_psnr(image: Picture, truth: Picture) -> float:
    error = (image.astype(np.float64) - truth.astype(np.float64)) ** 2
    return 10 * float(np.log10(255**2 / error.mean()))


def average_blocks(frame: Picture, scale: int) -> np.ndarray:
    height, width = frame.shape[:2]
    blocks = frame.reshape(height // scale, scale, width // scale, scale, 3)
    return blocks.astype(np.float64).mean((1, 3))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_sensor_averages_pixels_and_keeps_its_key_frames(scale: int) -> None:
    frames = read_frames(17)
    recorded = record_clip(frames, scale, CAPTURES["sensor"])
    assert list(recorded.keys) == [0, 15]
    assert all(np.array_equal(recorded.keys[n], frames[n]) for n in recorded.keys)
    assert len(recorded.lr) == len(frames)
    for lr, frame in zip(recorded.lr, frames, strict=True):
        assert np.abs(lr - average_blocks(frame, scale)).max() <= 0.501


def test_the_encoder_loses_more_with_a_higher_crf() -> None:
    frames = read_frames(20)
    lossless = record_clip(frames, 4, CAPTURES["sensor"]).lr
    losses = []
    for name in ("recorded", "recorded28"):
        recorded = record_clip(frames, 4, CAPTURES[name], every=8)
        assert list(recorded.keys) == [0, 8, 16]
        for number, key in recorded.keys.items():
            assert 38 < compute_psnr(key, frames[number]) < 50
        losses.append(np.mean([compute_psnr(*p) for p in zip(recorded.lr, lossless, strict=True)]))
    assert losses[0] > losses[1] + 2


def test_frames_keep_their_order() -> None:
    # B-frames are stored out of order
    wide = read_frames(1, 128, 280)[0]
    frames = [np.ascontiguousarray(wide[:, 4 * i : 4 * i + 192]) for i in range(20)]
    made = encode_and_decode(frames, Encoder(20))
    for number, picture in enumerate(made):
        assert int(np.argmax([compute_psnr(picture, frame) for frame in frames])) == number


def test_the_seed_decides_every_bit() -> None:
    frames = read_frames(6)
    capture = Capture("area", 2.0, Encoder(20), 1.0, Encoder(10))
    first, again, other = (record_clip(frames, 4, capture, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.lr, again.lr)
    assert np.array_equal(first.keys[0], again.keys[0])
    assert not np.array_equal(first.lr, other.lr)
    assert not np.array_equal(first.keys[0], other.keys[0])


def test_noise_has_its_spread() -> None:
    frames = [np.full((256, 256, 3), 120, np.uint8)]
    recorded = record_clip(frames, 2, Capture("area", noise=3.0, key_noise=5.0))
    # rounding adds a variance of 1/12
    assert recorded.lr[0].std() == pytest.approx(np.sqrt(9 + 1 / 12), rel=0.03)
    assert recorded.keys[0].std() == pytest.approx(np.sqrt(25 + 1 / 12), rel=0.03)


def test_odd_sizes_are_cropped_back() -> None:
    frames = read_frames(3, 121, 179)
    made = encode_and_decode(frames, Encoder(10))
    assert {picture.shape for picture in made} == {(121, 179, 3)}
    assert min(compute_psnr(*pair) for pair in zip(made, frames, strict=True)) > 36


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_another_matrix_shifts_the_colours_as_computed(codec: str) -> None:
    colour = np.array([200.0, 30.0, 60.0])
    flat = [np.full((64, 64, 3), colour, np.uint8)]
    quality = 2 if codec == "mpeg4" else 5

    right = encode_and_decode(flat, Encoder(quality, codec, "bt601", "bt601"))[0]
    assert np.abs(right[32, 32] - colour).max() <= 3

    red, blue = BT601
    luma = red * colour[0] + (1 - red - blue) * colour[1] + blue * colour[2]
    cb = (colour[2] - luma) / (2 * (1 - blue))
    cr = (colour[0] - luma) / (2 * (1 - red))
    red, blue = BT709
    r = luma + 2 * (1 - red) * cr
    b = luma + 2 * (1 - blue) * cb
    expected = np.array([r, (luma - red * r - blue * b) / (1 - red - blue), b])
    wrong = encode_and_decode(flat, Encoder(quality, codec, "bt601", "bt709"))[0]
    assert np.abs(wrong[32, 32] - expected).max() <= 3
    assert np.abs(expected - colour).max() > 8


def test_chroma_stays_where_it_was() -> None:
    # A blue ramp of constant luma, whose centre of change must not move
    x = np.arange(128)
    rise = 1 / (1 + np.exp(-(x - 63.5) / 6))
    blue = 60 + 120 * rise
    grey = 110 - (blue - 60) * BT709[1] / (1 - BT709[1])
    row = np.stack((grey, grey, blue), -1).round().astype(np.uint8)
    picture = np.broadcast_to(row, (64, 128, 3)).copy()

    made = encode_and_decode([picture], Encoder(1))[0].astype(np.float64)
    before, after = (np.diff(image[32, :, 2].astype(np.float64)) for image in (picture, made))
    centre = [(d * (x[:-1] + 0.5)).sum() / d.sum() for d in (before, after)]
    assert centre[1] == pytest.approx(centre[0], abs=0.15)  # centred chroma would move it by 0.5


def test_a_clip_without_frames_stays_empty() -> None:
    assert record_clip([], 4, CAPTURES["recorded"]) == ([], {})
